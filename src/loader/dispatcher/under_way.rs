//! Work that writers are at: how long each may take, and what is done where it takes longer.

use std::time::{Duration, Instant};

use super::super::lane::{Refused, Told};
use super::super::partition::LaneKey;
use super::super::schedule::{LaneId, Side};
use super::Dispatcher;

/// A time-out may be the server's: so long it is waited for what the others say.
pub(super) const DOUBT: Duration = Duration::from_millis(200);
/// Work that takes too long, and keeps its place all the same, is judged again after so long.
const JUDGE_AGAIN: Duration = Duration::from_millis(100);
/// Work that is over within this time makes room when it takes too long, but leaves its organization where it is: any may
/// meet with a short delay, and the line beside the others may be long.
const TOLERATED: Duration = Duration::from_secs(1);
/// Where nothing passes for anybody, only one is given up in so long.
const TRY_ANOTHER: Duration = Duration::from_millis(250);

/// Work that a writer is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub(super) lane: LaneId,
    pub(super) reading: u64,
    /// `None`: it was given up, and nobody waits for its end.
    pub(super) side: Option<Side>,
    pub(super) begun: Instant,
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) is_measured: bool,
    /// It took too long, and keeps its place until then at least.
    pub(super) left_until: Option<Instant>,
}

/// What is to be done about work that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Overdue {
    /// Nothing: it goes on beside the others.
    Moved(u64),
    /// Its transaction is to be cancelled: there is no room beside the others. [`Told::PutBack`] ends it.
    GiveUp(u64),
}

/// What became of what took too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::loader) struct TookLong {
    /// Work that goes on.
    pub(in crate::loader) overdue: Vec<Overdue>,
    /// Most organizations timed out, with this reason: it is the server, and people should hear of it.
    pub(in crate::loader) is_servers: Option<String>,
}

/// A time-out that is not judged yet.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) until: Instant,
    work: u64,
    reason: String,
}

impl Dispatcher {
    /// What is to be done about work that took too long.
    pub(in crate::loader) fn overdue(&mut self, now: Instant) -> TookLong {
        let is_servers = self.settle_doubts(now);
        let is_overdue =
            |under_way: &UnderWay| under_way.side == Some(Side::Fast) && self.patience_ends(under_way) <= now;
        let mut overdue: Vec<u64> =
            self.under_way.iter().filter(|(_, one)| is_overdue(one)).map(|(id, _)| *id).collect();
        overdue.sort_unstable();
        let overdue = overdue.into_iter().filter_map(|id| self.move_aside(id, now)).collect();
        TookLong { overdue, is_servers }
    }

    /// A writer is free again: what its work says about the server, and about who is slow.
    pub(super) fn finish(&mut self, work: u64, told: &Told, now: Instant) -> Option<UnderWay> {
        let under_way = self.under_way.remove(&work)?;
        match under_way.side {
            Some(Side::Fast) => self.fast -= 1,
            Some(Side::Slow) => self.slow -= 1,
            None => {}
        }
        let key = under_way.lane.key;
        // How much a drain moves is known by its end alone.
        let drained = if let Told::Drained { bytes } = told { *bytes } else { 0 };
        self.schedule.charge(key, under_way.bytes + drained);
        let took = now.saturating_duration_since(under_way.begun);
        let has_passed = match told {
            Told::Refused(Refused::Server) => {
                self.outage.lost(work, now);
                return Some(under_way);
            }
            // Nobody has heard whether the server answers.
            Told::PutBack | Told::Unconfirmed => return Some(under_way),
            Told::Flushed { .. } | Told::Drained { .. } => true,
            _ => false,
        };
        self.outage.answered();
        if has_passed {
            self.trips.passed(key, now);
            self.schedule.set_slow(key, took > self.patience.of(under_way.rows).max(TOLERATED));
            if under_way.is_measured {
                self.patience.learn(under_way.rows, took);
            }
        }
        Some(under_way)
    }

    pub(super) fn patience_ends(&self, under_way: &UnderWay) -> Instant {
        let ends = under_way.begun + self.patience.of(under_way.rows);
        under_way.left_until.map_or(ends, |left_until| left_until.max(ends))
    }

    /// Work that took too long goes on beside the others, or is given up.
    fn move_aside(&mut self, id: u64, now: Instant) -> Option<Overdue> {
        let key = self.under_way.get(&id)?.lane.key;
        self.schedule.set_slow(key, true);
        let has_room = self.slow < self.limits.slow_writers;
        let may_give_up = !has_room && self.may_give_up(key, now);
        let under_way = self.under_way.get_mut(&id)?;
        if has_room {
            under_way.side = Some(Side::Slow);
            self.fast -= 1;
            self.slow += 1;
            return Some(Overdue::Moved(id));
        }
        if !may_give_up {
            under_way.left_until = Some(now + JUDGE_AGAIN);
            return None;
        }
        under_way.side = None;
        self.fast -= 1;
        Some(Overdue::GiveUp(id))
    }

    /// Whether this organization's work makes room for another's that waits: only where none is free. Where nothing passes
    /// for anybody it may be the server, and giving up all would make it worse; one at a time finds out.
    fn may_give_up(&mut self, key: LaneKey, now: Instant) -> bool {
        if self.fast < self.limits.writers || !self.schedule.has_waiting(Side::Fast) {
            return false;
        }
        if self.trips.others_pass(key, now) {
            return true;
        }
        let may = self.tried_another_at.is_none_or(|at| at + TRY_ANOTHER <= now);
        if may {
            self.tried_another_at = Some(now);
        }
        may
    }

    /// A lock or a statement took too long: one schema's trouble, unless most of the others say so, too.
    pub(super) fn doubt(&mut self, work: u64, reason: String, now: Instant) {
        let Some(under_way) = self.under_way.get(&work) else { return };
        self.schedule.set_slow(under_way.lane.key, true);
        self.trips.tripped(under_way.lane.key, now);
        self.doubts.push_back(Doubt { until: now + DOUBT, work, reason });
    }

    /// Gives the reason of the last time-out that was the server's, if any was.
    fn settle_doubts(&mut self, now: Instant) -> Option<String> {
        let mut is_servers = None;
        while let Some(doubt) = self.doubts.pop_front_if(|doubt| doubt.until <= now) {
            let refused = match self.trips.are_servers(now) {
                true => {
                    is_servers = Some(doubt.reason);
                    Refused::Server
                }
                false => Refused::Slow(doubt.reason),
            };
            self.settle(doubt.work, Told::Refused(refused), now);
        }
        is_servers
    }
}
