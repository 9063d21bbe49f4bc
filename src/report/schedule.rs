//! Whose turn it is: each organization's comes once a period, at once where there is more to do, and later and later where
//! it comes to nothing. Without IO and clock.
//!
//! A turn that takes longer than a quick one may is broken off, and had again on the patient side, whose connections are
//! others: what one transaction stored is taken in by one, so it may take minutes, and no number of those may hold up
//! organizations whose turns are quick.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{ReportError, Turn};
use crate::tenant::OrganizationId;

/// After a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a statement of a quick turn may take, and reading its slice: a few times what a slice does, and short enough that reports of others are
/// no later than they may be.
const QUICK_PATIENCE: Duration = Duration::from_secs(3);
/// How much longer it is given each time that it takes too long.
const MORE_PATIENCE: u32 = 8;
/// As long as a statement is given where it never ends sooner.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1800);

/// Which connections a turn is had on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// For those who are known for nothing else.
    Quick,
    /// For those whose last turn was broken off there.
    Patient,
}

/// Every organization's next turn.
#[derive(Debug)]
pub(super) struct Schedule {
    period: Duration,
    turns: HashMap<OrganizationId, Standing>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    due: Instant,
    under_way: bool,
    failures: u32,
    patience: Duration,
    /// Since when something waits.
    waiting_since: Option<Instant>,
}

impl Standing {
    fn side(&self) -> Side {
        if self.patience > QUICK_PATIENCE { Side::Patient } else { Side::Quick }
    }
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This organization's turn, whose statements may take so long.
    Turn { organization: OrganizationId, patience: Duration },
    /// Nothing until then.
    Wait(Instant),
}

impl Schedule {
    pub(super) fn new(period: Duration) -> Self {
        Self { period, turns: HashMap::new() }
    }

    /// The one of a side that has been due for longest, of those that there are.
    pub(super) fn next(&mut self, side: Side, organizations: &[OrganizationId], now: Instant) -> Next {
        if self.turns.len() > organizations.len() {
            self.turns.retain(|id, _| organizations.contains(id));
        }
        for id in organizations {
            self.turns.entry(*id).or_insert(Standing {
                due: now,
                under_way: false,
                failures: 0,
                patience: QUICK_PATIENCE,
                waiting_since: None,
            });
        }
        let is_free = |entry: &(&OrganizationId, &mut Standing)| !entry.1.under_way && entry.1.side() == side;
        let free = self.turns.iter_mut().filter(is_free);
        match free.min_by_key(|(_, standing)| standing.due) {
            Some((id, standing)) if standing.due <= now => {
                standing.under_way = true;
                // A turn that takes long does not put off the next one.
                standing.due = now;
                Next::Turn { organization: *id, patience: standing.patience }
            }
            Some((_, standing)) => Next::Wait(standing.due),
            None => Next::Wait(now + self.period),
        }
    }

    /// What a turn came to.
    pub(super) fn done(&mut self, id: OrganizationId, outcome: &Result<Turn, ReportError>, now: Instant) {
        let period = self.period;
        let Some(standing) = self.turns.get_mut(&id) else { return };
        standing.under_way = false;
        match outcome {
            Ok(turn) => {
                standing.failures = 0;
                standing.patience = QUICK_PATIENCE;
                // Those that are due come first: it goes on behind them.
                standing.due = if turn.has_more { now } else { standing.due + period };
                standing.waiting_since = turn.behind.map(|behind| now.checked_sub(behind).unwrap_or(now));
            }
            // Whoever is at work on it takes it in.
            Err(ReportError::Busy | ReportError::Superseded) => standing.due = now + period.min(FIRST_PAUSE),
            // The reporter waits by itself.
            Err(ReportError::Server(_) | ReportError::NoConnection) => standing.due = now,
            // No failure yet: the patient side goes on with it.
            Err(ReportError::TooLong(_)) if standing.side() == Side::Quick => {
                standing.patience *= MORE_PATIENCE;
                standing.due = now;
                standing.waiting_since.get_or_insert(now);
            }
            Err(error) => {
                if matches!(error, ReportError::TooLong(_)) {
                    standing.patience = (standing.patience * MORE_PATIENCE).min(LONGEST_PATIENCE);
                }
                let pause = FIRST_PAUSE * 2_u32.saturating_pow(standing.failures.min(16));
                standing.failures = standing.failures.saturating_add(1);
                standing.due = now + pause.min(LONGEST_PAUSE);
                standing.waiting_since.get_or_insert(now);
            }
        }
    }

    /// Where its next turn is had.
    pub(super) fn side(&self, id: OrganizationId) -> Side {
        self.turns.get(&id).map_or(Side::Quick, Standing::side)
    }

    /// Whether its last turn came to nothing.
    pub(super) fn is_failing(&self, id: OrganizationId) -> bool {
        self.turns.get(&id).is_some_and(|standing| standing.failures > 0)
    }

    /// For how long the oldest of what waits has been waiting.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let waiting = self.turns.values().filter_map(|standing| standing.waiting_since);
        waiting.min().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);
    const NOTHING: Turn = Turn { added: 0, has_more: false, behind: None };

    fn organizations() -> [OrganizationId; 2] {
        [1, 2].map(|n| OrganizationId(Uuid::from_u128(n)))
    }

    fn turn(schedule: &mut Schedule, now: Instant) -> Option<OrganizationId> {
        match schedule.next(Side::Quick, &organizations(), now) {
            Next::Turn { organization, .. } => Some(organization),
            Next::Wait(_) => None,
        }
    }

    #[test]
    fn each_has_its_turn_once_a_period() {
        let (mut schedule, start) = (Schedule::new(PERIOD), Instant::now());
        let mut had: Vec<_> = std::iter::from_fn(|| turn(&mut schedule, start)).collect();
        had.sort();
        assert_eq!(had, organizations());
        for id in had {
            schedule.done(id, &Ok(NOTHING), start + Duration::from_secs(3));
        }
        assert_eq!(
            schedule.next(Side::Quick, &organizations(), start),
            Next::Wait(start + PERIOD),
            "not 10 s later still"
        );
        assert!(turn(&mut schedule, start + PERIOD).is_some());
    }

    #[test]
    fn who_has_more_to_do_goes_on_behind_those_that_are_due() {
        let (mut schedule, start) = (Schedule::new(PERIOD), Instant::now());
        let first = turn(&mut schedule, start).expect("a turn");
        let later = start + Duration::from_secs(1);
        schedule.done(first, &Ok(Turn { has_more: true, behind: Some(PERIOD), ..NOTHING }), later);
        assert_eq!(schedule.lag(later), PERIOD);
        let second = turn(&mut schedule, later).expect("a turn");
        assert_ne!(second, first);
        assert_eq!(turn(&mut schedule, later), Some(first), "at once");
        schedule.done(first, &Ok(NOTHING), later);
        assert_eq!(schedule.lag(later), Duration::ZERO);
    }

    #[test]
    fn whose_schema_fails_waits_longer_each_time() {
        let (mut schedule, mut now) = (Schedule::new(PERIOD), Instant::now());
        let only = [organizations()[0]];
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Next::Turn { organization, .. } = schedule.next(Side::Quick, &only, now) else {
                panic!("it is due")
            };
            schedule.done(organization, &Err(ReportError::Unreadable("broken")), now);
            assert!(schedule.is_failing(organization));
            let due = now + Duration::from_secs(pause);
            assert_eq!(schedule.next(Side::Quick, &only, now), Next::Wait(due));
            now = due;
        }
        assert!(schedule.lag(now) > Duration::from_secs(100), "what waits is told");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let (mut schedule, now) = (Schedule::new(PERIOD), Instant::now());
        let gone = turn(&mut schedule, now).expect("a turn");
        schedule.done(gone, &Err(ReportError::Unreadable("dropped")), now);
        let left: Vec<_> = organizations().into_iter().filter(|id| *id != gone).collect();
        schedule.next(Side::Quick, &left, now);
        assert_eq!(schedule.lag(now + PERIOD), Duration::ZERO);
    }
}
