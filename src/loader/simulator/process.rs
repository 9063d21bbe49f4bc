//! One loader: a real dispatcher and its anchors, and what `receive.rs` does around them.

use super::super::model::database::{self, Identity};
use super::super::model::rule::Rule;
use super::log::{PARTITIONS, Place, lane_key, number_of};
use super::plan::{HEALTHY, Plan};
use super::world::{OfProcess, World};
use crate::loader::anchor::{AnchorMove, Moved};
use crate::loader::dispatcher::{Brought, Dispatcher, Overdue, Stretch};
use crate::loader::lane::Arrival;
use crate::loader::partition::Partition;
use crate::loader::position::Position;
use crate::loader::receive::{Anchoring, Ended, Remembered};
use crate::loader::schedule::LaneId;

const TICK_MS: u64 = 1_000;
const STOP_GRACE_MS: u64 = 20_000;
const CLOSE_GRACE_MS: u64 = 3_000;
const HELD_PERIOD_MS: u64 = 15_000;
const LOG_PERIOD_MS: u64 = 5_000;
/// A consumer hands over so many records at a time.
const RECORDS_AT_ONCE: usize = 16;
/// The log's reader looks through so many bytes at a time.
const MOST_SCANNED_BYTES: usize = 2_500;

/// Anchors on their way, and the partitions that go back to the group with them.
#[derive(Debug)]
pub(super) struct Moves {
    moves: Vec<AnchorMove>,
    revocation: Option<Vec<i32>>,
    tries: u32,
}

/// See the module.
pub(super) struct Process {
    pub(super) is_running: bool,
    /// Counts its lives: what was meant for an earlier one is for nobody.
    pub(super) life: u32,
    pub(super) frozen_until: Option<u64>,
    pub(super) dispatcher: Dispatcher,
    anchoring: Anchoring,
    pub(super) identity: Identity,
    pub(super) generation: usize,
    /// What it was assigned and has not given back.
    pub(super) has: [bool; PARTITIONS],
    /// Where it reads.
    reads: [Option<i64>; PARTITIONS],
    is_polling: bool,
    closing: Vec<(Vec<i32>, u64)>,
    pub(super) ending: Option<Ended>,
    wakes_at: Option<u64>,
    rereads: u32,
    last_reread: (i32, i64),
}

impl Process {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            is_running: false,
            life: 0,
            frozen_until: None,
            dispatcher: Dispatcher::new(plan.limits),
            anchoring: Anchoring::new(Remembered::default()),
            identity: 0,
            generation: 0,
            has: [false; PARTITIONS],
            reads: [None; PARTITIONS],
            is_polling: false,
            closing: Vec::new(),
            ending: None,
            wakes_at: None,
            rereads: 0,
            last_reread: (0, 0),
        }
    }
}

impl World {
    /// Something happens to a process.
    pub(super) fn process(&mut self, process: usize, what: OfProcess) {
        let now = self.now;
        match what {
            OfProcess::Starts => return self.starts(process, Remembered::default()),
            OfProcess::Polls => self.polls(process),
            OfProcess::Wakes => self.processes[process].wakes_at = None,
            OfProcess::Ticks => {
                self.of_process(process, TICK_MS, OfProcess::Ticks);
                self.anchor(process);
                self.looks_for_gaps(process);
            }
            OfProcess::LooksForHeld => self.looks_for_held(process),
            OfProcess::LooksAtGeneration => {
                self.of_process(process, LOG_PERIOD_MS, OfProcess::LooksAtGeneration);
                let is_other = self.server.durable.generation != self.processes[process].generation;
                if is_other && !self.server.is_away {
                    self.end(process, Ended::NewGeneration);
                }
            }
            OfProcess::Assigned { partition } => self.assigned(process, partition),
            OfProcess::Revoked { partition } => {
                self.say(|_| format!("loader {process}: partition {partition} is wanted back"));
                let number = i32::try_from(partition).unwrap_or(0);
                self.revoked(process, vec![number], now + CLOSE_GRACE_MS);
            }
            OfProcess::Rereads(stretch) => self.rereads(process, *stretch),
            OfProcess::MovesAnchors(moves) => self.moves_anchors(process, moves),
            OfProcess::Anchored(moves, moved) => self.anchored(process, moves, moved),
        }
        self.turn(process);
    }

    /// The receive loop turns: what it has learnt is acted upon.
    pub(super) fn turn(&mut self, process: usize) {
        if !self.processes[process].is_running || self.frozen_until(process).is_some() {
            return;
        }
        self.dispatch(process);
        self.release_what_is_closed(process);
        self.restart_if_ended(process);
        let state = &self.processes[process];
        let limit = self.plan.limits.memory_bytes + self.plan.limits.memory_bytes / 4;
        if state.dispatcher.memory() > limit {
            let memory = state.dispatcher.memory();
            self.fail(format!("loader {process} has {memory} bytes in memory, more than {limit}"));
        }
    }

    fn dispatch(&mut self, process: usize) {
        let now = self.instant();
        for overdue in self.processes[process].dispatcher.overdue(now) {
            match overdue {
                Overdue::Moved(work) => self.say(|_| format!("loader {process}: work {work} is slow")),
                Overdue::GiveUp(work) => self.give_up(process, work),
            }
        }
        while let Some(work) = self.processes[process].dispatcher.next(now) {
            self.begin(process, work);
        }
        if self.processes[process].ending.is_none()
            && let Some(stretch) = self.processes[process].dispatcher.next_stretch()
        {
            let takes = self.random.within(2, 20);
            self.of_process(process, takes, OfProcess::Rereads(Box::new(stretch)));
        }
        for (lane, turn) in self.processes[process].dispatcher.take_turns() {
            self.say(|_| {
                format!("loader {process}: {} of {}: {turn:?}", number_of(lane.key), lane.partition)
            });
            if self.processes[process].dispatcher.partition(lane.partition).is_some_and(Partition::went_back)
            {
                self.end(process, Ended::Rewound);
            }
        }
        if let Some(at) = self.processes[process].dispatcher.asks_again_at() {
            let at = self.millis(at).max(self.now);
            if self.processes[process].wakes_at.is_none_or(|wakes_at| wakes_at > at) {
                self.processes[process].wakes_at = Some(at);
                self.of_process(process, at - self.now, OfProcess::Wakes);
            }
        }
    }

    /// `Ended::Rewound` and the others: everything is given back, and begins again.
    pub(super) fn end(&mut self, process: usize, why: Ended) {
        if self.processes[process].ending.is_some() {
            return;
        }
        self.say(|_| format!("loader {process} ends: {why:?}"));
        self.processes[process].ending = Some(why);
        let has: Vec<i32> =
            (0..).zip(self.processes[process].has).filter(|(_, has)| *has).map(|(one, _)| one).collect();
        self.revoked(process, has, self.now + STOP_GRACE_MS);
    }

    fn revoked(&mut self, process: usize, partitions: Vec<i32>, deadline: u64) {
        let state = &mut self.processes[process];
        for partition in &partitions {
            if let Some(partition) = state.dispatcher.partition_mut(*partition) {
                partition.begin_close();
            }
            state.reads[usize::try_from(*partition).unwrap_or(0)] = None;
        }
        state.closing.push((partitions, deadline));
        self.of_process(process, deadline - self.now, OfProcess::Wakes);
    }

    fn release_what_is_closed(&mut self, process: usize) {
        let now = self.now;
        let state = &mut self.processes[process];
        let is_lost = state.ending == Some(Ended::Rewound);
        if state.anchoring.is_writing() {
            return;
        }
        let is_closed = |partition: &i32| {
            is_lost || state.dispatcher.partition(*partition).is_none_or(Partition::has_written_all)
        };
        let is_due =
            |(partitions, deadline): &(Vec<i32>, u64)| *deadline <= now || partitions.iter().all(is_closed);
        let Some(at) = state.closing.iter().position(is_due) else { return };
        let (partitions, _) = state.closing.swap_remove(at);
        let moves = match is_lost {
            true => Vec::new(),
            false => state.anchoring.moves(&mut state.dispatcher, Some(&partitions)),
        };
        for partition in &partitions {
            state.anchoring.keep_in_mind(&state.dispatcher, *partition);
            state.dispatcher.end(*partition);
        }
        self.write_anchors(process, moves, Some(partitions));
    }

    fn anchor(&mut self, process: usize) {
        let state = &mut self.processes[process];
        if state.anchoring.is_writing() || state.ending == Some(Ended::Rewound) {
            return;
        }
        let moves = state.anchoring.moves(&mut state.dispatcher, None);
        if !moves.is_empty() {
            self.write_anchors(process, moves, None);
        }
    }

    fn write_anchors(&mut self, process: usize, mut moves: Vec<AnchorMove>, revocation: Option<Vec<i32>>) {
        moves.sort_unstable_by_key(|one| one.partition);
        self.processes[process].anchoring.begin_to_write();
        let takes = self.random.within(1, 8);
        self.of_process(process, takes, OfProcess::MovesAnchors(Moves { moves, revocation, tries: 3 }));
    }

    /// The transaction that moves anchors, as the server sees it.
    fn moves_anchors(&mut self, process: usize, mut moves: Moves) {
        if moves.moves.is_empty() {
            return self.of_process(process, 0, OfProcess::Anchored(moves, Some(Moved::All)));
        }
        if self.server.is_away {
            moves.tries -= 1;
            return match moves.revocation.is_some() && moves.tries > 0 {
                true => self.of_process(process, 500, OfProcess::MovesAnchors(moves)),
                false => self.of_process(process, 1, OfProcess::Anchored(moves, None)),
            };
        }
        let (identity, mut durable) =
            (self.processes[process].identity, self.server.durable.database.clone());
        let generation = self.processes[process].generation;
        let places: Vec<Place> = moves.moves.iter().map(|one| self.place(process, one.partition)).collect();
        let are_moved = moves.moves.iter().zip(&places).all(|(one, place)| {
            let from = one.from.map(|from| from.next_offset);
            durable.move_anchor(place.number(), identity, from, one.to.next_offset)
        });
        if are_moved {
            self.server.durable.database = durable;
            self.say(|_| {
                let to: Vec<_> = moves.moves.iter().map(|one| (one.partition, one.to.next_offset)).collect();
                format!("loader {process}: anchors of generation {generation} are moved: {to:?}")
            });
            for place in places {
                for key in 0..super::log::KEYS {
                    let checked = self.server.durable.check(&self.log, place, key);
                    self.must(checked, || format!("organization {key} below the anchor of {place:?}"));
                }
            }
        }
        let is_lost = self.random.percent(self.plan.lost_answers) && !self.is_healed;
        let moved = if are_moved { Moved::All } else { Moved::None };
        self.of_process(process, 1, OfProcess::Anchored(moves, (!is_lost).then_some(moved)));
    }

    fn anchored(&mut self, process: usize, moves: Moves, moved: Option<Moved>) {
        self.processes[process].anchoring.written(&moves.moves, moved);
        for partition in moves.revocation.into_iter().flatten() {
            let partition = usize::try_from(partition).unwrap_or(0);
            self.processes[process].has[partition] = false;
            self.grant(partition);
        }
        if moved == Some(Moved::None) {
            self.end(process, Ended::Rewound);
        }
    }

    /// The loop has ended once all is given back: what it remembers is the next one's.
    fn restart_if_ended(&mut self, process: usize) {
        let state = &self.processes[process];
        let Some(why) = state.ending else { return };
        if !state.closing.is_empty() || state.anchoring.is_writing() || state.has.contains(&true) {
            return;
        }
        let state = &mut self.processes[process];
        let anchoring = std::mem::replace(&mut state.anchoring, Anchoring::new(Remembered::default()));
        let remembered = anchoring.remembered(&state.dispatcher);
        self.crash(process);
        match why {
            Ended::Rewound => self.starts(process, remembered),
            Ended::NewGeneration | Ended::Stopped | Ended::NoConsumerProtocol => {
                self.starts(process, Remembered::default());
            }
        }
    }

    /// Everything that it knows is gone; what it has sent is the server's.
    pub(super) fn crash(&mut self, process: usize) {
        self.writers_are_gone(process);
        let life = self.processes[process].life + 1;
        let before =
            std::mem::replace(&mut self.processes[process], Process { life, ..Process::new(&self.plan) });
        for partition in (0..PARTITIONS).filter(|partition| before.has[*partition]) {
            // It was about to give this one back.
            if self.group.owner[partition] != process {
                self.grant(partition);
            }
        }
    }

    fn starts(&mut self, process: usize, remembered: Remembered) {
        if self.processes[process].is_running {
            return;
        }
        if self.server.is_away {
            return self.of_process(process, 200, OfProcess::Starts);
        }
        let state = &mut self.processes[process];
        state.is_running = true;
        state.anchoring = Anchoring::new(remembered);
        state.identity = self.server.identity();
        state.generation = self.server.durable.generation;
        self.say(|_| format!("loader {process} starts"));
        let first_tick = self.random.within(1, TICK_MS);
        self.of_process(process, first_tick, OfProcess::Ticks);
        self.of_process(process, HELD_PERIOD_MS, OfProcess::LooksForHeld);
        self.of_process(process, LOG_PERIOD_MS, OfProcess::LooksAtGeneration);
        self.joined(process);
    }

    fn assigned(&mut self, process: usize, partition: usize) {
        if self.group.owner[partition] != process || self.processes[process].ending.is_some() {
            return;
        }
        self.processes[process].has[partition] = true;
        if self.server.is_away {
            return self.of_process(process, 300, OfProcess::Assigned { partition });
        }
        if !self.is_known_server(process) {
            return self.end(process, Ended::Rewound);
        }
        let place = Place { generation: self.processes[process].generation, partition };
        let anchor = self.server.durable.database.anchors[place.number()];
        let start = match Self::keeps(Rule::BeginAtAnchor) {
            true => anchor,
            // Whoever commits under the group's name, the end of the log is nobody's to say.
            false => Some(self.log.end(place)).filter(|end| *end > 0),
        };
        self.say(|_| format!("loader {process} begins partition {partition} at {start:?}"));
        let number = i32::try_from(partition).unwrap_or(0);
        let position =
            Position { generation: i32::try_from(place.generation).unwrap_or(0), partition: number };
        let state = &mut self.processes[process];
        state.anchoring.begin(number, anchor.map(database::anchor));
        state.dispatcher.begin(position, start.map(database::anchor), 0);
        state.anchoring.remind(&mut state.dispatcher, number);
        state.reads[partition] = Some(start.unwrap_or(0));
        self.wake_reader(process, partition);
        self.of_process(process, 3, OfProcess::LooksForHeld);
    }

    /// Whether the server is the one that the loader began with, as far as it is asked.
    pub(super) fn is_known_server(&mut self, process: usize) -> bool {
        if !Self::keeps(Rule::IdentityGoesWithConnection) {
            self.processes[process].identity = self.server.identity();
        }
        self.processes[process].identity == self.server.identity()
    }

    fn looks_for_held(&mut self, process: usize) {
        self.of_process(process, HELD_PERIOD_MS, OfProcess::LooksForHeld);
        if self.server.is_away || self.processes[process].ending.is_some() {
            return;
        }
        if !self.is_known_server(process) {
            return self.end(process, Ended::Rewound);
        }
        let (generation, now) = (self.processes[process].generation, self.instant());
        for partition in 0..PARTITIONS {
            let keys: Vec<usize> = self.server.with_held(Place { generation, partition }).collect();
            for key in keys {
                let lane = LaneId { partition: i32::try_from(partition).unwrap_or(0), key: lane_key(key) };
                self.processes[process].dispatcher.found_held(lane, now);
            }
        }
        for place in Place::all().filter(|place| place.generation < generation) {
            for key in 0..HEALTHY {
                let drained = self.server.drain(&self.log, place, key);
                self.must(drained, || format!("organization {key} was drained after its generation"));
            }
        }
    }

    /// What the log has between records is none.
    fn looks_for_gaps(&mut self, process: usize) {
        for partition in 0..PARTITIONS {
            let place = Place { generation: self.processes[process].generation, partition };
            let number = i32::try_from(partition).unwrap_or(0);
            let dispatcher = &mut self.processes[process].dispatcher;
            let at_rest = dispatcher.partition(number).filter(|partition| partition.is_at_rest());
            if let Some(next) = at_rest.map(Partition::next_offset) {
                let is_record = |offset: &i64| self.log.record(place, *offset).is_some();
                let end = self.log.end(place);
                dispatcher.reach(number, (next..end).find(is_record).unwrap_or(end.max(next)));
            }
        }
    }

    /// The consumer has something for the loader.
    pub(super) fn wake_reader(&mut self, process: usize, partition: usize) {
        let state = &mut self.processes[process];
        if state.is_running && state.reads[partition].is_some() && !state.is_polling {
            state.is_polling = true;
            self.of_process(process, 1, OfProcess::Polls);
        }
    }

    fn polls(&mut self, process: usize) {
        self.processes[process].is_polling = false;
        let now = self.instant();
        let mut taken = 0;
        for partition in 0..PARTITIONS {
            let place = Place { generation: self.processes[process].generation, partition };
            while let Some(offset) = self.processes[process].reads[partition] {
                if offset >= self.log.end(place) {
                    break;
                }
                if taken == RECORDS_AT_ONCE {
                    return self.wake_reader(process, partition);
                }
                taken += 1;
                self.processes[process].reads[partition] = Some(offset + 1);
                let Some((key, record)) = self.log.waiting(place, offset) else { continue };
                let lane = LaneId { partition: i32::try_from(partition).unwrap_or(0), key };
                let arrival = self.processes[process].dispatcher.arrive(lane, record, now);
                if arrival == Some(Arrival::Left) {
                    self.say(|_| format!("loader {process} leaves {partition}/{offset} in the log"));
                }
            }
        }
    }

    /// Reading the same again and again, because there is no room for it, keeps the log busy for nothing.
    fn counts_rereads(&mut self, process: usize, partition: i32, from: i64) {
        const MOST_IN_VAIN: u32 = 10;
        let state = &mut self.processes[process];
        state.rereads = match state.last_reread == (partition, from) {
            true => state.rereads + 1,
            false => 1,
        };
        state.last_reread = (partition, from);
        if state.rereads > MOST_IN_VAIN {
            self.fail(format!("loader {process} reads {partition}/{from} again and again"));
        }
    }

    fn rereads(&mut self, process: usize, stretch: Stretch) {
        if !self.is_healed && self.random.percent(self.plan.lost_answers) {
            self.say(|_| format!("loader {process}: the log does not answer"));
            let now = self.instant();
            return self.processes[process].dispatcher.brought_nothing(stretch.partition, now);
        }
        let place = self.place(process, stretch.partition);
        let (mut records, mut wanted, mut scanned, mut to) = (Vec::new(), 0, 0, stretch.to);
        for offset in stretch.from..stretch.to {
            let Some((key, record)) = self.log.waiting(place, offset) else { continue };
            scanned += record.bytes.len();
            if stretch.wanted.get(&key).is_some_and(|from| offset >= *from) {
                wanted += record.cost();
                records.push((key, record));
            }
            if wanted >= stretch.most_bytes || scanned >= MOST_SCANNED_BYTES {
                to = offset + 1;
                break;
            }
        }
        self.counts_rereads(process, stretch.partition, stretch.from);
        let (from, now) = (stretch.from, self.instant());
        self.say(|_| format!("loader {process} reads {}/{from}..{to} again", stretch.partition));
        self.processes[process].dispatcher.brought(Brought { stretch, records, to }, now);
    }
}
