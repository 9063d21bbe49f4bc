//! Everything there is, and what happens next in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::super::model::database::{Identity, Offsets, Violation};
use super::super::model::rule;
use super::anchoring::Moves;
use super::group::Group;
use super::log::{KEYS, Log, ORGANIZATIONS, PARTITIONS, Place};
use super::plan::{Fault, Plan};
use super::process::Process;
use super::random::Random;
use super::server::Server;
use super::writer::Running;
use crate::loader::anchor::Moved;
use crate::loader::dispatcher::Stretch;
use crate::loader::lane::Told;

pub(super) const PROCESSES: usize = 3;
/// Steps that a failure shows.
const LAST_STEPS: usize = 20;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Event {
    /// For a writer's task, by number: it asks the database for the first time.
    Begins(u64),
    /// It asks for the lock.
    Locks(u64),
    Commits(u64),
    Answered(u64, Told),
    /// An open transaction whose client is gone ends.
    OrphanEnds {
        open: u64,
        commits: bool,
    },
    LateHold {
        identity: Identity,
        place: Place,
        key: usize,
        records: Offsets,
    },
    /// For a process, in one of its lives.
    OfProcess {
        process: usize,
        life: u32,
        what: OfProcess,
    },
    /// The group acts.
    Granted {
        partition: usize,
        grant: u64,
    },
    Publishes,
    Fault(Fault),
    /// No more faults.
    Heals,
}

/// What happens to a process.
#[derive(Debug)]
pub(super) enum OfProcess {
    Starts,
    Polls,
    Wakes,
    Ticks,
    LooksForHeld,
    LooksAtGeneration,
    Assigned { partition: usize },
    Revoked { partition: usize },
    Rereads(Box<Stretch>),
    MovesAnchors(Moves),
    Anchored(Moves, Option<Moved>),
}

/// Why a run failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) last_steps: VecDeque<String>,
}

struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the module.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) plan: Plan,
    /// Milliseconds since it began.
    pub(super) now: u64,
    base: Instant,
    scheduled: BinaryHeap<Reverse<Scheduled>>,
    pub(super) last_number: u64,
    pub(super) steps: u64,
    pub(super) log: Log,
    pub(super) server: Server,
    pub(super) group: Group,
    pub(super) processes: Vec<Process>,
    pub(super) running: Vec<Running>,
    pub(super) is_healed: bool,
    pub(super) published: usize,
    next_event: [u32; KEYS],
    is_told: bool,
    last_steps: VecDeque<String>,
    pub(super) failure: Option<String>,
    /// The longest that a record of the healthy organization waited.
    pub(super) longest_wait: u64,
}

impl World {
    /// `is_told`: steps are put into words.
    pub(super) fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(seed, &mut random);
        let mut world = Self {
            random,
            now: 0,
            base: Instant::now(),
            scheduled: BinaryHeap::new(),
            last_number: 0,
            steps: 0,
            log: Log::default(),
            server: Server::new(),
            group: Group::default(),
            processes: (0..PROCESSES).map(|_| Process::new(&plan)).collect(),
            plan,
            running: Vec::new(),
            is_healed: false,
            published: 0,
            next_event: [0; KEYS],
            is_told,
            last_steps: VecDeque::new(),
            failure: None,
            longest_wait: 0,
        };
        for process in 0..world.plan.processes {
            world.of_process(process, 0, OfProcess::Starts);
        }
        world.after(1, Event::Publishes);
        let faults = std::mem::take(&mut world.plan.faults);
        faults.into_iter().for_each(|(at, fault)| world.after(at, Event::Fault(fault)));
        world.after(world.plan.heals_at, Event::Heals);
        world
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// Milliseconds since the beginning, no earlier than the moment that a lane waits for.
    pub(super) fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn after(&mut self, millis: u64, event: Event) {
        let (at, number) = (self.now + millis, self.number());
        self.scheduled.push(Reverse(Scheduled { at, number, event }));
    }

    pub(super) fn of_process(&mut self, process: usize, millis: u64, what: OfProcess) {
        let life = self.processes[process].life;
        self.after(millis, Event::OfProcess { process, life, what });
    }

    /// In words, where somebody reads them.
    pub(super) fn say(&mut self, step: impl FnOnce(&Self) -> String) {
        if !self.is_told {
            return;
        }
        let step = format!("{:>6} ms  {}", self.now, step(self));
        if self.last_steps.len() == LAST_STEPS {
            self.last_steps.pop_front();
        }
        if std::env::var_os("SIMULATE_ALL_STEPS").is_some() {
            eprintln!("{step}");
        }
        self.last_steps.push_back(step);
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    pub(super) fn must(&mut self, done: Result<(), Violation>, what: impl FnOnce() -> String) {
        if let Err(violation) = done {
            self.fail(format!("{violation:?}: {}", what()));
        }
    }

    /// Until all is settled, or something is wrong.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        while self.failure.is_none() {
            let Some(Reverse(next)) = self.scheduled.pop() else {
                self.fail("nothing happens any more".to_owned());
                break;
            };
            self.now = next.at;
            self.steps += 1;
            if self.now > self.plan.heals_at + super::LONGEST_SETTLING_MS {
                let unsettled = self.unsettled().unwrap_or_default();
                self.fail(format!("{:?}: {unsettled}", Violation::DoesNotSettle));
                break;
            }
            let is_tick = matches!(next.event, Event::OfProcess { what: OfProcess::Ticks, .. });
            self.happens(next.event);
            if is_tick && self.is_healed && self.unsettled().is_none() {
                if self.plan.has_new_generation && self.server.durable.generation == 0 {
                    self.declare_generation();
                    continue;
                }
                break;
            }
        }
        if self.failure.is_none()
            && let Err(wrong) =
                (0..ORGANIZATIONS).try_for_each(|key| self.server.durable.books(&self.log, key))
        {
            self.fail(wrong);
        }
        match self.failure.take() {
            None => Ok(()),
            Some(reason) => Err(Failure { reason, last_steps: std::mem::take(&mut self.last_steps) }),
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Begins(number) | Event::Locks(number) | Event::Commits(number)
                if self.wait_for_thaw_of_writer(number, &event) => {}
            Event::Begins(number) => self.begins(number),
            Event::Locks(number) => self.locks(number),
            Event::Commits(number) => self.commits(number),
            Event::Answered(number, told) => self.answered(number, told),
            Event::OrphanEnds { open, commits } => self.orphan_ends(open, commits),
            // What was sent to another server is not for this one.
            Event::LateHold { identity, .. } if identity != self.server.identity() => {}
            Event::LateHold { place, key, records, .. } => {
                let is_removed = self.server.durable.is_removed(key);
                self.say(|_| format!("a hold lands late: {records:?} of organization {key}"));
                self.server.durable.database.hold(place.shelf(key), records, is_removed);
                let checked = self.server.durable.check(&self.log, place, key);
                self.must(checked, || "a hold that landed late".to_owned());
            }
            Event::OfProcess { process, life, what } => {
                if self.processes[process].life != life {
                    return;
                }
                match self.frozen_until(process) {
                    Some(until) => self.after(until - self.now, Event::OfProcess { process, life, what }),
                    None => self.process(process, what),
                }
            }
            Event::Granted { partition, grant } => self.granted(partition, grant),
            Event::Publishes => self.publishes(),
            Event::Fault(fault) => self.fault(fault),
            Event::Heals => self.heals(),
        }
    }

    /// Until when the process does nothing, though it lives.
    pub(super) fn frozen_until(&self, process: usize) -> Option<u64> {
        self.processes[process].frozen_until.filter(|until| *until > self.now)
    }

    fn wait_for_thaw_of_writer(&mut self, number: u64, event: &Event) -> bool {
        let Some(running) = self.running.iter().find(|running| running.number == number) else {
            return false;
        };
        let Some(until) = self.frozen_until(running.process) else { return false };
        let again = match event {
            Event::Begins(_) => Event::Begins(number),
            Event::Locks(_) => Event::Locks(number),
            _ => Event::Commits(number),
        };
        self.after(until - self.now, again);
        true
    }

    /// What is not as it should be in the end; `None`: all is settled.
    pub(super) fn unsettled(&self) -> Option<String> {
        if self.published < self.plan.records {
            return Some("not everything is published".to_owned());
        }
        let current = self.server.durable.generation;
        for place in Place::all() {
            for key in 0..KEYS {
                let shelf = &self.server.durable.database.shelves[place.shelf(key)];
                let (held, records) = (shelf.held, self.log.of(place, key));
                let lost = records.without(shelf.safe());
                if !held.is_empty() || !lost.is_empty() {
                    return Some(format!("{place:?} of {key}: held {held:?}, nowhere {lost:?}"));
                }
            }
            let anchor = self.server.durable.database.anchors[place.number()].unwrap_or_default();
            let end = (0..KEYS).map(|key| self.log.of(place, key).end()).max().unwrap_or_default();
            if anchor < end && place.generation == current {
                return Some(format!("{place:?}: the anchor is at {anchor} of {end}"));
            }
        }
        None
    }

    /// A record for a key: now and then a client's retry, a row that is refused, something that does not decode.
    pub(super) fn events_for(&mut self, key: usize) -> Vec<super::log::Event> {
        let count = self.random.within(1, 4);
        (0..count)
            .map(|_| {
                let next = &mut self.next_event[key];
                let is_retry = *next > 0 && self.random.percent(15);
                let id = if is_retry || *next == 127 {
                    u32::try_from(self.random.below(usize::try_from(*next).unwrap_or(1).max(1))).unwrap_or(0)
                } else {
                    *next += 1;
                    *next - 1
                };
                // The same event is refused each time.
                super::log::Event { id, is_refused: id % 13 == 7 }
            })
            .collect()
    }

    pub(super) fn keeps(rule: rule::Rule) -> bool {
        rule::keeps(rule)
    }

    pub(super) fn place(&self, process: usize, partition: i32) -> Place {
        let partition = usize::try_from(partition).unwrap_or(PARTITIONS);
        Place { generation: self.processes[process].generation, partition }
    }
}
