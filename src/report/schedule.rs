//! Whose turn it is: each organization's comes once a period, at once where there is more to do, and later and later where
//! it comes to nothing. Without IO and clock.
//!
//! A turn that takes longer than a quick one may is broken off, and had again on the patient side, whose connections are
//! others: what one transaction stored is taken in by one, so it may take minutes, and no number of those may hold up
//! organizations whose turns are quick. There an organization stays for as long as its turns take that long.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{ReportError, Turn};
use crate::tenant::OrganizationId;

/// After a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a statement of a quick turn may take, and reading its slice. A slice takes a third of it, and those who wait for
/// a turn that is broken off have theirs in time all the same.
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
    /// For those whose last turn was broken off there, or took as long.
    Patient,
}

/// Every organization's next turn.
#[derive(Debug)]
pub(super) struct Schedule {
    period: Duration,
    turns: HashMap<OrganizationId, Standing>,
    /// Those whose turn is not under way, the one that is due first in front.
    quick: BTreeSet<(Instant, OrganizationId)>,
    patient: BTreeSet<(Instant, OrganizationId)>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Of one that is under way: when it began.
    due: Instant,
    failures: u32,
    patience: Duration,
    /// Since when something waits.
    waiting_since: Option<Instant>,
    /// When a turn last found out what there was to do.
    looked_at: Instant,
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
        Self { period, turns: HashMap::new(), quick: BTreeSet::new(), patient: BTreeSet::new() }
    }

    /// From now on these have turns, and no others.
    pub(super) fn keep(&mut self, organizations: &HashSet<OrganizationId>, now: Instant) {
        self.turns.retain(|id, _| organizations.contains(id));
        self.quick.retain(|(_, id)| organizations.contains(id));
        self.patient.retain(|(_, id)| organizations.contains(id));
        for id in organizations {
            self.turns.entry(*id).or_insert_with(|| {
                self.quick.insert((now, *id));
                Standing {
                    due: now,
                    failures: 0,
                    patience: QUICK_PATIENCE,
                    waiting_since: None,
                    looked_at: now,
                }
            });
        }
    }

    fn queue(&mut self, side: Side) -> &mut BTreeSet<(Instant, OrganizationId)> {
        match side {
            Side::Quick => &mut self.quick,
            Side::Patient => &mut self.patient,
        }
    }

    /// The one of a side that has been due for longest.
    pub(super) fn next(&mut self, side: Side, now: Instant) -> Next {
        let idle = now + self.period;
        let queue = self.queue(side);
        match queue.first() {
            Some((due, _)) if *due > now => return Next::Wait(*due),
            Some(_) => {}
            None => return Next::Wait(idle),
        }
        let Some((_, organization)) = queue.pop_first() else { return Next::Wait(idle) };
        let Some(standing) = self.turns.get_mut(&organization) else { return Next::Wait(now) };
        // A turn that takes long does not put off the next one.
        standing.due = now;
        Next::Turn { organization, patience: standing.patience }
    }

    /// What a turn came to.
    pub(super) fn done(&mut self, id: OrganizationId, outcome: &Result<Turn, ReportError>, now: Instant) {
        let period = self.period;
        let Some(standing) = self.turns.get_mut(&id) else { return };
        // It may have gone and come back meanwhile, and stand in a queue already.
        let queued = (standing.due, id);
        match outcome {
            Ok(turn) => {
                standing.failures = 0;
                standing.looked_at = now;
                if now.saturating_duration_since(standing.due) < QUICK_PATIENCE {
                    standing.patience = QUICK_PATIENCE;
                }
                // Those that are due come first: it goes on behind them.
                standing.due = if turn.has_more { now } else { standing.due + period };
                standing.waiting_since = turn.behind.map(|behind| now.checked_sub(behind).unwrap_or(now));
            }
            // Whoever is at work on it takes it in.
            Err(ReportError::Busy | ReportError::Superseded) => standing.due = now + period.min(FIRST_PAUSE),
            // The reporter waits by itself.
            Err(ReportError::Server(_) | ReportError::NoConnection(_)) => standing.due = now,
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
        let (side, due) = (standing.side(), standing.due);
        self.quick.remove(&queued);
        self.patient.remove(&queued);
        self.queue(side).insert((due, id));
    }

    /// Where its next turn is had.
    pub(super) fn side(&self, id: OrganizationId) -> Side {
        self.turns.get(&id).map_or(Side::Quick, Standing::side)
    }

    /// Whether its last turn came to nothing.
    pub(super) fn is_failing(&self, id: OrganizationId) -> bool {
        self.turns.get(&id).is_some_and(|standing| standing.failures > 0)
    }

    /// For how long the oldest of what waits has been waiting. Where nobody has looked for two periods something may have
    /// been, since the end of the first.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let waiting = self.turns.values().filter_map(|standing| {
            let unseen = standing.looked_at + self.period;
            standing.waiting_since.or((unseen + self.period < now).then_some(unseen))
        });
        waiting.min().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::store::PoolError;

    const PERIOD: Duration = Duration::from_secs(10);
    const NOTHING: Turn = Turn { added: 0, has_more: false, behind: None };

    fn organizations() -> [OrganizationId; 2] {
        [1, 2].map(|n| OrganizationId(Uuid::from_u128(n)))
    }

    fn schedule(organizations: &[OrganizationId], now: Instant) -> Schedule {
        let mut schedule = Schedule::new(PERIOD);
        schedule.keep(&organizations.iter().copied().collect(), now);
        schedule
    }

    fn turn(schedule: &mut Schedule, now: Instant) -> Option<OrganizationId> {
        match schedule.next(Side::Quick, now) {
            Next::Turn { organization, .. } => Some(organization),
            Next::Wait(_) => None,
        }
    }

    #[test]
    fn each_has_its_turn_once_a_period() {
        let start = Instant::now();
        let mut schedule = schedule(&organizations(), start);
        let mut had: Vec<_> = std::iter::from_fn(|| turn(&mut schedule, start)).collect();
        had.sort();
        assert_eq!(had, organizations());
        for id in had {
            schedule.done(id, &Ok(NOTHING), start + Duration::from_secs(3));
        }
        assert_eq!(schedule.next(Side::Quick, start), Next::Wait(start + PERIOD), "not 10 s later still");
        assert!(turn(&mut schedule, start + PERIOD).is_some());
    }

    #[test]
    fn who_has_more_to_do_goes_on_behind_those_that_are_due() {
        let start = Instant::now();
        let mut schedule = schedule(&organizations(), start);
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
        let mut now = Instant::now();
        let mut schedule = schedule(&organizations()[..1], now);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Next::Turn { organization, .. } = schedule.next(Side::Quick, now) else {
                panic!("it is due")
            };
            schedule.done(organization, &Err(ReportError::unreadable("broken")), now);
            assert!(schedule.is_failing(organization));
            let due = now + Duration::from_secs(pause);
            assert_eq!(schedule.next(Side::Quick, now), Next::Wait(due));
            now = due;
        }
        assert!(schedule.lag(now) > Duration::from_secs(100), "what waits is told");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let now = Instant::now();
        let mut schedule = schedule(&organizations(), now);
        let gone = turn(&mut schedule, now).expect("a turn");
        schedule.done(gone, &Err(ReportError::unreadable("dropped")), now);
        schedule.keep(&organizations().into_iter().filter(|id| *id != gone).collect(), now);
        assert_eq!(schedule.lag(now + PERIOD), Duration::ZERO);
        assert!(turn(&mut schedule, now).is_some_and(|left| left != gone));
        schedule.done(gone, &Ok(NOTHING), now);
        assert_eq!(turn(&mut schedule, now + PERIOD), None, "it is gone, and the other is under way");
    }

    #[test]
    fn who_goes_and_comes_back_during_a_turn_is_due_once() {
        let start = Instant::now();
        let mut schedule = schedule(&organizations()[..1], start);
        let id = turn(&mut schedule, start).expect("a turn");
        schedule.keep(&HashSet::new(), start);
        schedule.keep(&[id].into(), start);
        assert_eq!(turn(&mut schedule, start), Some(id));
        schedule.done(id, &Ok(NOTHING), start);
        schedule.done(id, &Ok(NOTHING), start);
        assert_eq!(turn(&mut schedule, start + 2 * PERIOD), Some(id));
        assert_eq!(turn(&mut schedule, start + 2 * PERIOD), None);
    }

    #[test]
    fn where_nobody_looks_what_may_wait_is_told() {
        let start = Instant::now();
        let mut schedule = schedule(&organizations()[..1], start);
        let id = turn(&mut schedule, start).expect("a turn");
        schedule.done(id, &Ok(NOTHING), start);
        let mut now = start + PERIOD;
        for _ in 0..3 {
            assert_eq!(turn(&mut schedule, now), Some(id));
            schedule.done(id, &Err(ReportError::NoConnection(PoolError::TimedOut)), now);
            assert_eq!(schedule.lag(now), now.saturating_duration_since(start + PERIOD));
            now += PERIOD + Duration::from_secs(1);
        }
        schedule.done(id, &Ok(NOTHING), now);
        assert_eq!(schedule.lag(now), Duration::ZERO);
    }

    #[test]
    fn whose_turns_take_long_stays_among_those_until_one_does_not() {
        let start = Instant::now();
        let mut schedule = schedule(&organizations()[..1], start);
        let id = turn(&mut schedule, start).expect("a turn");
        let mut now = start + QUICK_PATIENCE;
        schedule.done(id, &Err(ReportError::TooLong(None)), now);
        for seconds in [4, 4, 1] {
            assert_eq!(turn(&mut schedule, now), None);
            assert!(matches!(schedule.next(Side::Patient, now), Next::Turn { .. }));
            schedule.done(id, &Ok(NOTHING), now + Duration::from_secs(seconds));
            now += PERIOD;
        }
        assert_eq!(turn(&mut schedule, now), Some(id), "it is quick again");
    }
}
