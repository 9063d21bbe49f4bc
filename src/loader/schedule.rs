//! Whose turn it is, and who is slow.
//!
//! Turns go by organization, to the one that was given the least so far, counted in bytes (start-time fair queuing): an
//! organization that comes back after a pause begins at the present turn, and one that sends much waits as long as what
//! it was given would have served the others. So a light organization is next whenever a writer is free, however many
//! heavy ones wait.
//!
//! There are two sides. A task that takes longer than its size explains moves, with its connection, to the slow side, and
//! what is known to be slow is only served there: so no number of slow schemas takes the writers of the others.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::partition::LaneKey;

/// A lane of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LaneId {
    /// Which partition.
    pub(super) partition: i32,
    /// Whose lane.
    pub(super) key: LaneKey,
}

/// Where a lane is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// With the others.
    Fast,
    /// Beside them.
    Slow,
}

/// A transaction costs as much as so many bytes, however little it carries.
const TURN_BYTES: u64 = 16 * 1024;
/// Organizations that have nothing waiting are forgotten when so many are remembered, and twice as many as last time.
const LEAST_SWEEP: usize = 1024;

/// One organization's turns.
#[derive(Clone, Debug, Default)]
struct Share {
    /// Bytes that it was given, or that the others were when it came back.
    given: u64,
    is_slow: bool,
    /// Its lanes that want a writer.
    lanes: VecDeque<LaneId>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    shares: HashMap<LaneKey, Share>,
    fast: BTreeSet<(u64, LaneKey)>,
    slow: BTreeSet<(u64, LaneKey)>,
    waiting: HashSet<LaneId>,
    slow_organizations: usize,
    /// What those whose turn it was last had been given.
    present: u64,
    sweep_at: usize,
}

impl Schedule {
    /// The lane wants a writer.
    pub(super) fn enqueue(&mut self, lane: LaneId) {
        if !self.waiting.insert(lane) {
            return;
        }
        let present = self.present;
        let share = self.shares.entry(lane.key).or_default();
        share.lanes.push_back(lane);
        if share.lanes.len() == 1 {
            share.given = share.given.max(present);
            self.line_up(lane.key);
        }
    }

    /// The lane whose turn it is on this side.
    pub(super) fn next(&mut self, side: Side) -> Option<LaneId> {
        let (given, key) = self.line(side).pop_first()?;
        self.present = self.present.max(given);
        let lane = self.shares.get_mut(&key)?.lanes.pop_front()?;
        self.waiting.remove(&lane);
        self.line_up(key);
        Some(lane)
    }

    /// Whether a lane waits on this side.
    pub(super) fn has_waiting(&self, side: Side) -> bool {
        match side {
            Side::Fast => !self.fast.is_empty(),
            Side::Slow => !self.slow.is_empty(),
        }
    }

    /// The organization was given a transaction with so many bytes.
    pub(super) fn charge(&mut self, key: LaneKey, bytes: usize) {
        self.change(key, |share| share.given += TURN_BYTES + bytes as u64);
        self.sweep();
    }

    /// Whether the organization is served on the slow side.
    pub(super) fn is_slow(&self, key: LaneKey) -> bool {
        self.shares.get(&key).is_some_and(|share| share.is_slow)
    }

    /// How many are.
    pub(super) fn slow_organizations(&self) -> usize {
        self.slow_organizations
    }

    /// From now on it is, or is not.
    pub(super) fn set_slow(&mut self, key: LaneKey, is_slow: bool) {
        if self.is_slow(key) == is_slow {
            return;
        }
        match is_slow {
            true => self.slow_organizations += 1,
            false => self.slow_organizations -= 1,
        }
        self.change(key, |share| share.is_slow = is_slow);
    }

    fn change(&mut self, key: LaneKey, change: impl FnOnce(&mut Share)) {
        let share = self.shares.entry(key).or_default();
        self.fast.remove(&(share.given, key));
        self.slow.remove(&(share.given, key));
        change(share);
        self.line_up(key);
    }

    fn line_up(&mut self, key: LaneKey) {
        let Some(share) = self.shares.get(&key).filter(|share| !share.lanes.is_empty()) else { return };
        let (given, side) = (share.given, if share.is_slow { Side::Slow } else { Side::Fast });
        self.line(side).insert((given, key));
    }

    fn line(&mut self, side: Side) -> &mut BTreeSet<(u64, LaneKey)> {
        match side {
            Side::Fast => &mut self.fast,
            Side::Slow => &mut self.slow,
        }
    }

    fn sweep(&mut self) {
        if self.shares.len() < self.sweep_at.max(LEAST_SWEEP) {
            return;
        }
        let present = self.present;
        self.shares.retain(|_, share| share.is_slow || !share.lanes.is_empty() || share.given > present);
        self.sweep_at = self.shares.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::tenant::OrganizationId;

    fn lane(n: u128) -> LaneId {
        LaneId { partition: 0, key: LaneKey::Organization(OrganizationId(Uuid::from_u128(n))) }
    }

    fn served(schedule: &mut Schedule, lane: LaneId, bytes: usize) {
        schedule.charge(lane.key, bytes);
        schedule.enqueue(lane);
    }

    #[test]
    fn a_light_organization_is_next_whenever_a_writer_is_free_however_many_heavy_ones_wait() {
        let mut schedule = Schedule::default();
        (1..=8).for_each(|n| schedule.enqueue(lane(n)));
        for _ in 0..8 {
            let heavy = schedule.next(Side::Fast).expect("all wait");
            served(&mut schedule, heavy, 8 << 20);
        }
        schedule.enqueue(lane(100));
        assert_eq!(schedule.next(Side::Fast), Some(lane(100)));
        served(&mut schedule, lane(100), 1_000);
        assert_eq!(schedule.next(Side::Fast), Some(lane(100)), "it was given next to nothing");
    }

    #[test]
    fn heavy_organizations_are_given_the_same() {
        let mut schedule = Schedule::default();
        (1..=3).for_each(|n| schedule.enqueue(lane(n)));
        let mut given = HashMap::new();
        for turn in 0..600 {
            let next = schedule.next(Side::Fast).expect("all wait");
            let bytes = if next == lane(1) { 1 << 20 } else { 1 << 18 };
            *given.entry(next).or_insert(0) += TURN_BYTES + bytes as u64;
            served(&mut schedule, next, bytes);
            assert!(turn < 10 || given.len() == 3);
        }
        let (most, least) = (given.values().max().expect("three"), given.values().min().expect("three"));
        assert!(most - least <= 2 << 20, "{given:?}");
    }

    #[test]
    fn whoever_was_away_does_not_make_up_for_it() {
        let mut schedule = Schedule::default();
        schedule.enqueue(lane(1));
        for _ in 0..100 {
            let next = schedule.next(Side::Fast).expect("it waits");
            served(&mut schedule, next, 1 << 20);
        }
        schedule.enqueue(lane(2));
        let turns: Vec<_> = (0..10)
            .map(|_| {
                let next = schedule.next(Side::Fast).expect("both wait");
                served(&mut schedule, next, 1 << 20);
                next
            })
            .collect();
        assert!(turns.iter().filter(|turn| **turn == lane(1)).count() >= 4, "{turns:?}");
    }

    #[test]
    fn what_is_slow_waits_on_its_own_side_only() {
        let mut schedule = Schedule::default();
        (1..=3).for_each(|n| schedule.enqueue(lane(n)));
        schedule.set_slow(lane(2).key, true);
        assert_eq!([(); 3].map(|()| schedule.next(Side::Fast)), [Some(lane(1)), Some(lane(3)), None]);
        assert_eq!(schedule.next(Side::Slow), Some(lane(2)));
        schedule.set_slow(lane(2).key, false);
        schedule.enqueue(lane(2));
        assert_eq!(schedule.next(Side::Slow), None);
        assert_eq!(schedule.next(Side::Fast), Some(lane(2)));
    }

    #[test]
    fn a_lane_waits_once_and_those_of_one_organization_take_turns() {
        let mut schedule = Schedule::default();
        let other = LaneId { partition: 1, ..lane(1) };
        [lane(1), lane(1), other].into_iter().for_each(|lane| schedule.enqueue(lane));
        assert_eq!([(); 3].map(|()| schedule.next(Side::Fast)), [Some(lane(1)), Some(other), None]);
    }
}
