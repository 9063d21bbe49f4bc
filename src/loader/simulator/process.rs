//! One loader: a real dispatcher and its anchors, and what `receive.rs` does around them.

use super::super::model::database::{self, Identity};
use super::super::model::rule::Rule;
use super::log::{PARTITIONS, Place, number_of};
use super::plan::Plan;
use super::world::{OfProcess, World};
use crate::loader::dispatcher::{Dispatcher, Overdue};
use crate::loader::partition::Partition;
use crate::loader::position::Position;
use crate::loader::receive::{Anchoring, Ended, Remembered};

const TICK_MS: u64 = 1_000;
const STOP_GRACE_MS: u64 = 20_000;
const CLOSE_GRACE_MS: u64 = 3_000;
pub(super) const HELD_PERIOD_MS: u64 = 15_000;
const LOG_PERIOD_MS: u64 = 5_000;

/// See the module.
pub(super) struct Process {
    pub(super) is_running: bool,
    /// Counts its lives: what was meant for an earlier one is for nobody.
    pub(super) life: u32,
    pub(super) frozen_until: Option<u64>,
    pub(super) dispatcher: Dispatcher,
    pub(super) anchoring: Anchoring,
    pub(super) identity: Identity,
    pub(super) generation: usize,
    /// What it was assigned and has not given back.
    pub(super) has: [bool; PARTITIONS],
    /// Where it reads.
    pub(super) reads: [Option<i64>; PARTITIONS],
    pub(super) is_polling: bool,
    closing: Vec<(Vec<i32>, u64)>,
    pub(super) ending: Option<Ended>,
    wakes_at: Option<u64>,
    pub(super) rereads: u32,
    pub(super) last_reread: (i32, i64),
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

    /// Whether partitions are being given up.
    pub(super) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
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
        for overdue in self.processes[process].dispatcher.overdue(now).overdue {
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
            Ended::Rewound | Ended::OtherWay => self.starts(process, remembered),
            Ended::NewGeneration | Ended::Stopped => self.starts(process, Remembered::default()),
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
}
