//! The consumer group: whose each partition is.

use super::log::PARTITIONS;
use super::world::{Event, OfProcess, World};

/// A member that is not heard of for so long has lost its partitions.
const SESSION_TIMEOUT_MS: u64 = 4_000;
/// A member that comes back learns a moment later what it has lost.
const NOTICE_MS: u64 = 300;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Whose each partition is, or is to be.
    pub(super) owner: [usize; PARTITIONS],
    /// Tells each time that it is given from every other.
    grant: [u64; PARTITIONS],
}

impl Default for Group {
    fn default() -> Self {
        Self { owner: [0, 1, 0], grant: [0; PARTITIONS] }
    }
}

impl World {
    /// The partition goes to another member, once its owner has given it back.
    pub(super) fn rebalance(&mut self, partition: usize, to: usize) {
        let from = self.group.owner[partition];
        if to == from {
            return;
        }
        self.group.owner[partition] = to;
        let before = &self.processes[from];
        if before.is_running && self.frozen_until(from).is_none() && before.has[partition] {
            self.of_process(from, 1, OfProcess::Revoked { partition });
        } else {
            self.grant(partition);
        }
    }

    /// A frozen member is missed after a while, and what it had goes to the others.
    pub(super) fn group_misses(&mut self, process: usize) {
        let until = self.processes[process].frozen_until.unwrap_or_default();
        if until < self.now + SESSION_TIMEOUT_MS || self.plan.processes == 1 {
            return;
        }
        for partition in 0..PARTITIONS {
            if self.group.owner[partition] == process {
                self.group.owner[partition] = (process + 1) % self.plan.processes;
                self.group.grant[partition] += 1;
                let grant = self.group.grant[partition];
                self.after(SESSION_TIMEOUT_MS, Event::Granted { partition, grant });
                self.of_process(process, SESSION_TIMEOUT_MS + NOTICE_MS, OfProcess::Revoked { partition });
            }
        }
    }

    /// The partition is free: its owner may have it.
    pub(super) fn grant(&mut self, partition: usize) {
        self.group.grant[partition] += 1;
        let grant = self.group.grant[partition];
        self.after(2, Event::Granted { partition, grant });
    }

    pub(super) fn granted(&mut self, partition: usize, grant: u64) {
        let owner = self.group.owner[partition];
        if self.group.grant[partition] == grant && self.processes[owner].is_running {
            self.of_process(owner, 1, OfProcess::Assigned { partition });
        }
    }

    /// A member has joined: it is given what is its own.
    pub(super) fn joined(&mut self, process: usize) {
        for partition in 0..PARTITIONS {
            // One that is not there has none.
            if self.group.owner[partition] >= self.plan.processes {
                self.group.owner[partition] = process;
            }
            if self.group.owner[partition] == process {
                self.grant(partition);
            }
        }
    }
}
