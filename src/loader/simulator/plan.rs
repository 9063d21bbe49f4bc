//! What goes wrong in a run, and when: from the seed.

use super::log::{ORGANIZATIONS, PARTITIONS, Place, Record, UNDECODABLE, UNKNOWN};
use super::random::Random;
use super::world::{Event, OfProcess, PROCESSES, World};
use crate::loader::dispatcher::DispatcherLimits;
use crate::loader::lane::BatchLimits;

/// This organization's schema is always well.
pub(super) const HEALTHY: usize = ORGANIZATIONS - 1;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash {
        process: usize,
        down: u64,
    },
    Freeze {
        process: usize,
        time: u64,
    },
    /// Postgres ended what a frozen loader left open.
    EndsIdle {
        process: usize,
    },
    Rebalance {
        partition: usize,
        to: usize,
    },
    Breaks {
        key: usize,
        time: u64,
    },
    SchemaHeals {
        key: usize,
    },
    Slow {
        key: usize,
        by: u64,
        time: u64,
    },
    Fast {
        key: usize,
    },
    Removed {
        key: usize,
    },
    /// The server does not answer; afterwards it may be another life of it.
    ServerAway {
        time: u64,
        is_restart: bool,
    },
    ServerBack {
        is_restart: bool,
    },
    StandbyStops,
    StandbyTakesOver,
    DrainedByAPerson {
        key: usize,
    },
    /// One of the connections ends.
    LosesConnection,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) limits: DispatcherLimits,
    pub(super) processes: usize,
    pub(super) records: usize,
    pub(super) heals_at: u64,
    /// A pooler hides from connections that the server behind it is another one.
    pub(super) has_pooler: bool,
    pub(super) has_new_generation: bool,
    /// Only schemas are slow or broken: then the healthy organization waits for nobody.
    pub(super) is_calm: bool,
    /// Answers that are lost, of a hundred.
    pub(super) lost_answers: u64,
    pub(super) publish_every: u64,
    pub(super) faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub(super) fn new(seed: u64, random: &mut Random) -> Self {
        let is_calm = seed % 4 == 3;
        let writers = random.below(3) + 1;
        let lane_bytes = 1_000 + random.below(3) * 1_000;
        let limits = DispatcherLimits {
            batch: BatchLimits { rows: 1 + random.below(12), bytes: 200 + random.below(4) * 400 },
            lane_bytes,
            memory_bytes: lane_bytes * (1 + random.below(3)) + 1_500,
            writers,
            slow_writers: random.below(3) + 1,
        };
        let heals_at = 12_000;
        // A calm loader has room for one small record of each lane, and for much less than the slow ones have.
        let limits = match is_calm {
            true => DispatcherLimits { lane_bytes: 2_000, memory_bytes: 9_000, ..limits },
            false => limits,
        };
        let mut plan = Self {
            limits,
            processes: if is_calm { 1 } else { 2 + random.below(PROCESSES - 1) },
            records: if is_calm { 90 } else { 40 + random.below(40) },
            heals_at,
            has_pooler: random.percent(30),
            has_new_generation: !is_calm && random.percent(20),
            is_calm,
            lost_answers: if is_calm { 0 } else { [0, 2, 10][random.below(3)] },
            publish_every: [20, 60, if is_calm { 120 } else { 150 }][random.below(3)],
            faults: Vec::new(),
        };
        if is_calm && random.percent(50) {
            // All of them at once.
            let at = random.within(0, 3_000);
            plan.faults = (0..HEALTHY).map(|key| (at, Fault::Slow { key, by: 9_000, time: 8_000 })).collect();
        }
        let count = 2 + random.below(8);
        for _ in 0..count {
            let at = random.within(0, heals_at - 1_000);
            let fault = if is_calm { calm_fault(random) } else { fault(random, plan.processes) };
            plan.faults.push((at, fault));
        }
        plan
    }
}

fn calm_fault(random: &mut Random) -> Fault {
    let (key, time) = (random.below(HEALTHY), random.within(500, 8_000));
    match random.below(6) {
        0 | 1 => Fault::Breaks { key, time },
        2 => Fault::LosesConnection,
        _ => Fault::Slow { key, by: [400, 2_000, 9_000][random.below(3)], time },
    }
}

fn fault(random: &mut Random, processes: usize) -> Fault {
    let (process, key) = (random.below(processes), random.below(HEALTHY));
    let time = random.within(100, 8_000);
    match random.below(16) {
        0 | 1 => Fault::Crash { process, down: time },
        2 | 3 => Fault::Freeze { process, time: time * 2 },
        4 | 5 => Fault::Rebalance { partition: random.below(PARTITIONS), to: process },
        6 | 7 => Fault::Breaks { key, time },
        8 | 9 => Fault::Slow { key, by: [400, 2_000, 11_000][random.below(3)], time },
        10 => Fault::Removed { key: random.below(3) },
        11 => Fault::ServerAway { time: time / 4, is_restart: random.percent(50) },
        12 => Fault::StandbyStops,
        13 | 14 => Fault::StandbyTakesOver,
        _ => Fault::DrainedByAPerson { key },
    }
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.is_healed && !matches!(fault, Fault::ServerBack { .. } | Fault::EndsIdle { .. }) {
            return;
        }
        self.say(|_| format!("{fault:?}"));
        match fault {
            Fault::Crash { process, down } => {
                self.crash(process);
                self.of_process(process, down, OfProcess::Starts);
            }
            Fault::Freeze { process, time } => {
                if self.processes[process].is_running {
                    self.processes[process].frozen_until = Some(self.now + time);
                    self.after(12_000, Event::Fault(Fault::EndsIdle { process }));
                    self.group_misses(process);
                }
            }
            Fault::EndsIdle { process } => {
                if self.frozen_until(process).is_some() {
                    self.roll_back_those_of(process);
                }
            }
            Fault::Rebalance { partition, to } => self.rebalance(partition, to),
            Fault::Breaks { key, time } => {
                self.server.is_broken[key] = true;
                self.after(time, Event::Fault(Fault::SchemaHeals { key }));
            }
            Fault::SchemaHeals { key } => self.server.is_broken[key] = false,
            Fault::Slow { key, by, time } => {
                self.server.slow[key] = by;
                self.after(time, Event::Fault(Fault::Fast { key }));
            }
            Fault::Fast { key } => self.server.slow[key] = 0,
            Fault::Removed { key } => {
                if !self.server.durable.is_removed(key) && !self.server.remove(key, self.now) {
                    self.after(200, Event::Fault(fault));
                }
            }
            Fault::ServerAway { time, is_restart } => {
                self.server.is_away = true;
                self.after(time, Event::Fault(Fault::ServerBack { is_restart }));
                self.connections_are_lost();
            }
            Fault::ServerBack { is_restart } => {
                self.server.is_away = false;
                if is_restart {
                    self.connections_are_lost();
                    self.server.begin_another_life();
                }
            }
            Fault::StandbyStops => self.server.standby = Some(Box::new(self.server.durable.clone())),
            Fault::StandbyTakesOver => {
                if self.server.standby.is_some() {
                    self.connections_are_lost();
                    self.server.go_back();
                }
            }
            Fault::LosesConnection => self.loses_connection(),
            Fault::DrainedByAPerson { key } => {
                for place in Place::all() {
                    let drained = self.server.drain(&self.log, place, key);
                    self.must(drained, || format!("a person drained organization {key}"));
                }
            }
        }
    }

    pub(super) fn heals(&mut self) {
        self.say(|_| "nothing goes wrong any more".to_owned());
        self.is_healed = true;
        self.server.is_broken.fill(false);
        self.server.slow.fill(0);
        self.server.is_away = false;
        self.server.standby = None;
        for process in 0..self.plan.processes {
            if !self.processes[process].is_running {
                self.of_process(process, 1, OfProcess::Starts);
            }
        }
    }

    /// Intake publishes a record.
    pub(super) fn publishes(&mut self) {
        if self.published >= self.plan.records {
            return;
        }
        let every = self.plan.publish_every;
        let pause = if self.is_healed { 5 } else { self.random.within(1, every * 2) };
        self.after(pause, Event::Publishes);
        self.published += 1;
        let key = match self.random.below(40) {
            0 => UNDECODABLE,
            1 => UNKNOWN,
            2..=5 => HEALTHY,
            // One of them sends most.
            6..=19 => self.plan.records % ORGANIZATIONS,
            _ => self.random.below(ORGANIZATIONS),
        };
        let partition = if self.plan.is_calm || self.random.percent(85) {
            key % PARTITIONS
        } else {
            self.random.below(PARTITIONS)
        };
        let place = Place { generation: self.server.durable.generation, partition };
        if self.log.is_full(place) {
            return;
        }
        if self.random.percent(3) {
            self.log.push(place, None);
        }
        let record = Record {
            key,
            events: self.events_for(key),
            is_garbled: self.random.percent(3) && key != HEALTHY,
            bytes: if self.plan.is_calm { 20 } else { 20 + self.random.below(5) * 90 },
            at: self.now,
        };
        let offset = self.log.push(place, Some(record));
        self.say(|_| format!("a record of organization {key} at {partition}/{offset}"));
        for process in 0..self.processes.len() {
            self.wake_reader(process, partition);
        }
    }

    /// A person says that the log is a new one, all of the former being safe.
    pub(super) fn declare_generation(&mut self) {
        self.say(|_| "a new generation is declared".to_owned());
        self.server.durable.generation = 1;
        self.published -= 12;
        self.after(1, Event::Publishes);
    }
}
