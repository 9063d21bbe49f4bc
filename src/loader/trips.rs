//! When many schemas are slow at once, it is the server.
//!
//! A lock or a statement that took too long is one organization's trouble, and its records are held. But a server whose
//! disk stands still does that to all of them, and holding everything would make it worse. Not for ever, though: most of
//! the organizations may be locked on a server that is well, and then their records are held in the end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::partition::LaneKey;

/// Fewer organizations than this say nothing about the server.
const FEWEST: usize = 10;
/// What happened within this time happened at once: somewhat more than the longest statement takes.
const AT_ONCE: Duration = Duration::from_secs(15);
/// For so long at a time it is the server; then it is each of them.
const LONGEST_BLAME: Duration = Duration::from_secs(30);
/// After so long without a time-out it may be the server again. Longer than any that is held waits for its next drain.
const FORGIVEN: Duration = Duration::from_secs(60);
/// A transaction that passed so lately says that the server is well.
const LATELY: Duration = Duration::from_secs(2);

/// Which organizations' transactions passed lately, and which took too long.
#[derive(Clone, Debug, Default)]
pub(super) struct Trips {
    lately: HashMap<LaneKey, Tried>,
    sweep_at: usize,
    /// The last two of different organizations that passed.
    passed: [Option<(LaneKey, Instant)>; 2],
    blamed: Option<Blamed>,
}

/// Time-outs that most organizations had.
#[derive(Clone, Copy, Debug)]
struct Blamed {
    since: Instant,
    last: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Instant,
    has_tripped: bool,
}

impl Trips {
    /// A transaction of this organization went through.
    pub(super) fn passed(&mut self, key: LaneKey, now: Instant) {
        self.tried(key, false, now);
        if self.passed[0].is_some_and(|(last, _)| last != key) {
            self.passed[1] = self.passed[0];
        }
        self.passed[0] = Some((key, now));
    }

    /// A transaction of this organization took too long.
    pub(super) fn tripped(&mut self, key: LaneKey, now: Instant) {
        self.tried(key, true, now);
    }

    /// Whether it is the server: most of at least ten organizations tripped, and not for too long already.
    pub(super) fn are_servers(&mut self, now: Instant) -> bool {
        if !self.are_most(now) {
            return false;
        }
        let is_going_on = |blamed: &Blamed| now.saturating_duration_since(blamed.last) < FORGIVEN;
        let since = self.blamed.filter(is_going_on).map_or(now, |blamed| blamed.since);
        self.blamed = Some(Blamed { since, last: now });
        now.saturating_duration_since(since) < LONGEST_BLAME
    }

    fn are_most(&mut self, now: Instant) -> bool {
        self.lately.retain(|_, tried| now.saturating_duration_since(tried.at) < AT_ONCE);
        let tripped = self.lately.values().filter(|tried| tried.has_tripped).count();
        tripped >= FEWEST && tripped * 2 > self.lately.len()
    }

    /// Whether a transaction of another organization went through lately.
    pub(super) fn others_pass(&self, key: LaneKey, now: Instant) -> bool {
        let mut others = self.passed.iter().flatten().filter(|(other, _)| *other != key);
        others.any(|(_, at)| now.saturating_duration_since(*at) < LATELY)
    }

    fn tried(&mut self, key: LaneKey, has_tripped: bool, at: Instant) {
        self.lately.insert(key, Tried { at, has_tripped });
        if self.lately.len() > self.sweep_at.max(1024) {
            self.lately.retain(|_, tried| at.saturating_duration_since(tried.at) < AT_ONCE);
            self.sweep_at = self.lately.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::tenant::OrganizationId;

    fn organization(n: u128) -> LaneKey {
        LaneKey::Organization(OrganizationId(Uuid::from_u128(n)))
    }

    #[test]
    fn nine_slow_schemas_are_nine_slow_schemas() {
        let (mut trips, now) = (Trips::default(), Instant::now());
        for _ in 0..5 {
            (0..9).for_each(|n| trips.tripped(organization(n), now));
            assert!(!trips.are_most(now));
        }
        trips.tripped(organization(9), now);
        assert!(trips.are_most(now));
    }

    #[test]
    fn ten_among_many_that_pass_are_ten_slow_schemas() {
        let (mut trips, now) = (Trips::default(), Instant::now());
        (0..20).for_each(|n| trips.passed(organization(n), now));
        (0..10).for_each(|n| trips.tripped(organization(n), now));
        assert!(!trips.are_most(now));
        trips.tripped(organization(10), now);
        assert!(trips.are_most(now), "eleven of twenty are most of them");
    }

    #[test]
    fn it_is_the_server_for_half_a_minute_and_then_each_of_them_until_they_are_well_again() {
        let (mut trips, mut now) = (Trips::default(), Instant::now());
        let begun = now;
        let mut trip = |now| {
            (0..10).for_each(|n| trips.tripped(organization(n), now));
            trips.are_servers(now)
        };
        while now < begun + LONGEST_BLAME {
            assert!(trip(now));
            now += Duration::from_secs(5);
        }
        for _ in 0..20 {
            assert!(!trip(now), "it is the same trouble");
            now += Duration::from_secs(30);
        }
        assert!(trip(now + FORGIVEN), "another one");
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let (mut trips, now) = (Trips::default(), Instant::now());
        (0..9).for_each(|n| trips.tripped(organization(n), now));
        trips.tripped(organization(9), now + AT_ONCE);
        assert!(!trips.are_most(now + AT_ONCE));
    }

    #[test]
    fn what_one_organization_passes_says_nothing_about_itself() {
        let (mut trips, now) = (Trips::default(), Instant::now());
        (0..3).for_each(|_| trips.passed(organization(1), now));
        assert!(!trips.others_pass(organization(1), now));
        assert!(trips.others_pass(organization(2), now));
        assert!(!trips.others_pass(organization(2), now + LATELY));
    }
}
