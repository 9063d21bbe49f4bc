//! Writers: what a task asks of the database, step by step, and what it is told.

use super::super::model::database::{Offsets, watermark};
use super::super::model::rule::Rule;
use super::log::{Place, UNDECODABLE, number_of};
use super::plan::HEALTHY;
use super::server::{Open, Schema};
use super::world::{Event, World};
use crate::loader::dispatcher::Work;
use crate::loader::lane::{Expected, Kept, Nobody, Receipt, Refused, Task, Told};
use crate::loader::receive::Ended;

const LOCK_TIMEOUT_MS: u64 = 2_000;
const STATEMENT_TIMEOUT_MS: u64 = 10_000;
const RETRY_LOCK_MS: u64 = 40;
/// Held records that a drain takes at a time.
const DRAINED_AT_ONCE: usize = 4;

/// A task that a writer is at.
pub(super) struct Running {
    pub(super) number: u64,
    pub(super) process: usize,
    pub(super) life: u32,
    pub(super) work: Work,
    place: Place,
    key: usize,
    /// Held records that a drain has read.
    read: Offsets,
    waits_since: Option<u64>,
    /// Its transaction was rolled back behind its back.
    pub(super) is_cut_off: bool,
    pub(super) is_answered: bool,
}

impl World {
    /// A writer begins.
    pub(super) fn begin(&mut self, process: usize, work: Work) {
        let (number, place) = (self.number(), self.place(process, work.lane.partition));
        let key = number_of(work.lane.key);
        self.say(|_| {
            let offsets: Vec<i64> = work.records.iter().map(|record| record.offset).collect();
            let (partition, task) = (work.lane.partition, &work.task);
            format!("loader {process}, organization {key} of {partition}: {task:?}, {offsets:?}")
        });
        let life = self.processes[process].life;
        let (read, waits_since) = (Offsets::default(), None);
        let running = Running {
            number,
            process,
            life,
            work,
            place,
            key,
            read,
            waits_since,
            is_cut_off: false,
            is_answered: false,
        };
        self.running.push(running);
        self.after(1, Event::Begins(number));
    }

    fn running(&mut self, number: u64) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.number == number && !running.is_answered)
    }

    fn answer(&mut self, number: u64, told: Told) {
        if let Some(running) = self.running(number) {
            running.is_answered = true;
            self.after(1, Event::Answered(number, told));
        }
    }

    /// What a task asks first.
    pub(super) fn begins(&mut self, number: u64) {
        let Some(running) = self.running(number) else { return };
        let (process, place, key, task) =
            (running.process, running.place, running.key, running.work.task.clone());
        let records: Offsets = running.work.records.iter().map(|record| record.offset).collect();
        if self.server.is_away {
            return self.answer(number, Told::Refused(Refused::Server));
        }
        if self.shows_server(&task) && !self.is_known_server(process) {
            self.end(process, Ended::Rewound);
            return self.answer(number, Told::Refused(Refused::Server));
        }
        match task {
            Task::Hold { .. } => self.hold(number, place, key, records),
            Task::WriteDown { .. } => {
                self.server.durable.database.write_down(place.shelf(key), records);
                let told = self.unless_lost(Told::WrittenDown(Kept::confirmed()));
                self.answer(number, told);
            }
            Task::Open | Task::Flush { .. } | Task::Drain { .. } => self.in_schema(number, place, key, &task),
        }
    }

    /// A connection that was made to another server is gone, unless a pooler hides it; but a transaction that does not
    /// build on a known watermark asks.
    fn shows_server(&self, task: &Task) -> bool {
        let is_behind_known =
            matches!(task, Task::Flush { expected: Expected::Watermark(_), .. } | Task::WriteDown { .. });
        !self.plan.has_pooler || (!is_behind_known && Self::keeps(Rule::OpeningReadsIdentity))
    }

    fn unless_lost(&mut self, told: Told) -> Told {
        let is_lost = !self.is_healed && self.random.percent(self.plan.lost_answers);
        if is_lost { Told::Refused(Refused::Server) } else { told }
    }

    fn hold(&mut self, number: u64, place: Place, key: usize, records: Offsets) {
        if !Self::keeps(Rule::HoldBeforeOffset) {
            let arrives = self.random.percent(80);
            let takes = self.random.within(1, 3_000);
            if arrives {
                self.after(takes, Event::LateHold { identity: self.server.identity(), place, key, records });
            }
            return self.answer(number, Told::Held(Kept::confirmed()));
        }
        if !self.is_healed && self.random.percent(self.plan.lost_answers) {
            let takes = self.random.within(1, 3_000);
            self.after(takes, Event::LateHold { identity: self.server.identity(), place, key, records });
            return self.answer(number, Told::Refused(Refused::Server));
        }
        let is_removed = self.server.durable.is_removed(key);
        let is_held = self.server.durable.database.hold(place.shelf(key), records, is_removed);
        let checked = self.server.durable.check(&self.log, place, key);
        self.must(checked, || format!("organization {key} of {place:?} holds {records:?}"));
        let told = if is_held { Told::Held(Kept::confirmed()) } else { Told::Gone(Nobody::Removed) };
        let told = self.unless_lost(told);
        self.answer(number, told);
    }

    fn in_schema(&mut self, number: u64, place: Place, key: usize, task: &Task) {
        if let Some(told) = self.refused(key) {
            return self.answer(number, told);
        }
        let any_held = self.server.durable.database.any_held(place.shelf(key));
        match task {
            Task::Open if any_held => self.answer(number, Told::FoundHeld),
            Task::Open => {
                let found = self.server.durable.database.watermark(place.shelf(key));
                self.answer(number, Told::Found(found));
            }
            Task::Flush { .. } if self.first_is_garbled(number) => {
                let first = self.running(number).and_then(|running| running.work.records.first());
                let first = first.map(|record| record.offset).into_iter().collect();
                self.server.durable.database.write_down(place.shelf(key), first);
                self.answer(number, Told::Undecodable(Kept::confirmed()));
            }
            Task::Flush { expected: Expected::AtLeast(_), .. } if any_held => {
                self.answer(number, Told::FoundHeld);
            }
            Task::Flush { expected: Expected::AtLeast(_), .. } => self.after(1, Event::Locks(number)),
            Task::Flush { .. } => self.locks(number),
            Task::Drain { .. } if self.server.draining[key].is_some() => {
                self.answer(number, Told::Refused(Refused::Again("another drains".to_owned())));
            }
            Task::Drain { .. } => {
                let read = self.server.durable.database.first_held(place.shelf(key), DRAINED_AT_ONCE);
                if read.is_empty() {
                    return self.answer(number, Told::NoneHeld);
                }
                self.server.draining[key] = Some(number);
                if let Some(running) = self.running(number) {
                    running.read = read;
                }
                self.after(1, Event::Locks(number));
            }
            Task::Hold { .. } | Task::WriteDown { .. } => {}
        }
    }

    fn refused(&mut self, key: usize) -> Option<Told> {
        match self.server.has_schema(key, self.now) {
            Schema::Unknown if key == UNDECODABLE => return Some(Told::Gone(Nobody::Undecodable)),
            Schema::Unknown => return Some(Told::Gone(Nobody::Unknown)),
            Schema::Removed => return Some(Told::Gone(Nobody::Removed)),
            Schema::Gone => return Some(Told::Refused(Refused::Schema("it is not there".to_owned()))),
            Schema::There => {}
        }
        if self.server.refuses(key) {
            return Some(Told::Refused(Refused::Schema("it is broken".to_owned())));
        }
        if !self.is_healed && key != HEALTHY && self.random.percent(2) {
            return Some(match self.random.below(2) {
                0 => Told::Refused(Refused::Again("a race was lost".to_owned())),
                _ => Told::Refused(Refused::NotYet),
            });
        }
        None
    }

    fn first_is_garbled(&mut self, number: u64) -> bool {
        let Some(running) = self.running(number) else { return false };
        let (place, first) = (running.place, running.work.records.first().map(|record| record.offset));
        first.and_then(|first| self.log.record(place, first)).is_some_and(|record| record.is_garbled)
    }

    /// Waits for the watermark's lock, compares and writes.
    pub(super) fn locks(&mut self, number: u64) {
        let now = self.now;
        let Some(running) = self.running(number) else { return };
        let (place, key, process, read) = (running.place, running.key, running.process, running.read);
        let (task, since) = (running.work.task.clone(), *running.waits_since.get_or_insert(now));
        let offsets: Vec<i64> = running.work.records.iter().map(|record| record.offset).collect();
        if self.server.is_away || running_is_cut_off(self.running(number)) {
            return self.lets_go(number, Told::Refused(Refused::Server));
        }
        if self.server.is_locked(place, key) {
            if now - since >= LOCK_TIMEOUT_MS {
                return self.lets_go(number, Told::Refused(Refused::Slow("lock timeout".to_owned())));
            }
            return self.after(RETRY_LOCK_MS, Event::Locks(number));
        }
        if let Some(told) = self.refused(key) {
            return self.lets_go(number, told);
        }
        let shelf = place.shelf(key);
        let transaction = match task {
            Task::Flush { expected, .. } => {
                let first = offsets.first().copied().unwrap_or_default();
                if let Err(found) = self.server.durable.database.judge(shelf, expected, first) {
                    return self.answer(number, Told::Found(found));
                }
                // A batch ends before a record that does not decode.
                let is_garbled =
                    |offset: &i64| self.log.record(place, *offset).is_some_and(|one| one.is_garbled);
                let records = offsets.iter().take_while(|offset| !is_garbled(offset)).copied().collect();
                self.server.durable.database.flush(shelf, records)
            }
            _ => self.drains(place, key, read),
        };
        self.server.open.push(Open { number, place, key, transaction, process: Some(process) });
        let takes = self.random.within(1, 6) + self.server.slow[key];
        self.after(takes.min(STATEMENT_TIMEOUT_MS), Event::Commits(number));
    }

    /// Those that do not decode are written down with the others.
    fn drains(
        &mut self,
        place: Place,
        key: usize,
        read: Offsets,
    ) -> super::super::model::database::Transaction {
        let is_garbled = |offset: &i64| self.log.record(place, *offset).is_some_and(|one| one.is_garbled);
        let garbled: Offsets = read.iter().filter(is_garbled).collect();
        let database = &mut self.server.durable.database;
        database.write_down(place.shelf(key), garbled);
        let mut drain = database.drain(place.shelf(key), read.without(garbled));
        drain.deletes = drain.deletes.with(garbled);
        drain
    }

    /// The task ends without a transaction.
    pub(super) fn lets_go(&mut self, number: u64, told: Told) {
        for draining in &mut self.server.draining {
            *draining = draining.filter(|by| *by != number);
        }
        self.answer(number, told);
    }

    pub(super) fn commits(&mut self, number: u64) {
        let Some(running) = self.running(number) else { return };
        let (place, key, is_drain) =
            (running.place, running.key, matches!(running.work.task, Task::Drain { .. }));
        let lost = if is_drain { Told::Refused(Refused::Server) } else { Told::Unconfirmed };
        if self.server.is_away {
            return self.answer(number, lost);
        }
        let Some(open) = self.server.take(number) else { return self.answer(number, lost) };
        let slow = self.server.slow[key];
        if slow >= STATEMENT_TIMEOUT_MS {
            return self.answer(number, Told::Refused(Refused::Slow("statement timeout".to_owned())));
        }
        if !self.is_healed && self.random.percent(self.plan.lost_answers) {
            let (commits, takes) = (self.random.percent(50), self.random.within(1, 3_000));
            self.server.open.push(Open { process: None, ..open });
            self.after(takes, Event::OrphanEnds { open: number, commits });
            self.say(|_| format!("the answer to organization {key}'s commit is lost"));
            return self.answer(number, lost);
        }
        let committed = self.server.durable.commit(&self.log, place, key, open.transaction);
        self.must(committed, || format!("organization {key} of {place:?} commits {:?}", open.transaction));
        if key == HEALTHY {
            self.healthy_is_stored(place, open.transaction.rows);
        }
        let told = if is_drain {
            Told::Drained { bytes: 0 }
        } else {
            let (rows, found) = (open.transaction.rows.count(), watermark(open.transaction.found));
            let Some(to) = watermark(open.transaction.to) else { return };
            let receipt = Receipt::committed(rows, found, to);
            Told::Flushed { receipt, met_duplicates: self.random.percent(20) }
        };
        self.answer(number, told);
    }

    /// The healthy organization waits for nobody, as long as only schemas are slow or broken.
    fn healthy_is_stored(&mut self, place: Place, rows: Offsets) {
        if !self.plan.is_calm || self.is_healed {
            return;
        }
        let waited =
            rows.iter().filter_map(|offset| self.log.record(place, offset)).map(|one| self.now - one.at);
        let longest = waited.max().unwrap_or_default();
        self.longest_wait = self.longest_wait.max(longest);
        if longest > super::LONGEST_WAIT_MS {
            self.fail(format!("a record of the healthy organization waited {longest} ms for others"));
        }
    }

    pub(super) fn answered(&mut self, number: u64, told: Told) {
        let Some(at) = self.running.iter().position(|running| running.number == number) else { return };
        let process = self.running[at].process;
        if let Some(until) = self.frozen_until(process) {
            return self.after(until - self.now, Event::Answered(number, told));
        }
        let running = self.running.swap_remove(at);
        if self.processes[process].life != running.life {
            return;
        }
        let (key, partition) = (running.key, running.work.lane.partition);
        self.say(|_| format!("loader {process}, organization {key} of {partition}: {told:?}"));
        let now = self.instant();
        self.processes[process].dispatcher.told(running.work.id, told, now);
        self.turn(process);
    }
}

fn running_is_cut_off(running: Option<&mut Running>) -> bool {
    running.is_some_and(|running| running.is_cut_off)
}
