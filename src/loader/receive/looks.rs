//! What the receive loop asks of Postgres and of the log while it goes on: each look is a task of its own, and no two of
//! a kind are under way. (Of beginnings the consumer sees to that: it brings no assignment before the last one is answered.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::Client;

use super::super::ask::Unanswered;
use super::super::continuity::{self, Beginnings};
use super::super::generation;
use super::super::holding::{drain_former_generations, lanes_with_held};
use super::super::partition::{LaneKey, Partition};
use super::super::schedule::LaneId;
use super::{Anchored, Ended, ReceiveLoop, Reread};
use crate::log::{Assignment, Discontinuity, Remembered};
use crate::tenant::OrganizationId;

/// What a look found.
pub(super) enum Found {
    /// Where partitions begin that the group gave us.
    Beginnings(Assignment, Beginnings),
    /// Partitions that must not be read on, if they are read as they were then.
    Discontinuities(Vec<(Reading, Discontinuity)>),
    /// Records that an earlier owner held have to be drained though nothing new comes for their organizations.
    Held(Result<Vec<(i32, OrganizationId)>, Unanswered>),
    /// The generation of the log that is declared.
    Generation(Result<Option<i32>, Unanswered>),
    /// Former generations were drained, as far as that goes.
    Drained(Result<(), Unanswered>),
    /// Up to where partitions have no further record.
    Reached(HashMap<i32, i64>),
    /// What was left in the log.
    Reread(Reread),
    /// Anchors were to be moved.
    Anchored(Anchored),
}

/// One time that a partition is read. A look may outlive it: the partition is another loader's then, or ours anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) partition: i32,
    reading: u64,
}

impl Reading {
    pub(super) fn of((number, partition): (i32, &Partition)) -> Self {
        Self { partition: number, reading: partition.reading() }
    }
}

impl ReceiveLoop<'_> {
    pub(super) fn look_for_beginnings(&mut self, assignment: Assignment) {
        let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
        self.looks.spawn(async move {
            let beginnings = continuity::beginnings(&shared, &log, &assignment.partitions).await;
            Found::Beginnings(assignment, beginnings)
        });
    }

    /// Whether the partitions that are read are still the log that was loaded.
    pub(super) fn look_at_log(&mut self) {
        let remembered: Vec<Remembered> = self
            .dispatcher
            .partitions()
            .map(|(number, partition)| Remembered {
                partition: number,
                next_offset: Some(partition.to_be_read()),
                anchor: self.anchoring.anchor(number),
            })
            .collect();
        if self.is_looking_at_log || remembered.is_empty() {
            return;
        }
        self.is_looking_at_log = true;
        let readings: Vec<Reading> = self.dispatcher.partitions().map(Reading::of).collect();
        let log = self.log.clone();
        self.looks.spawn(async move {
            let found = continuity::look(&log, remembered).await;
            let of = |reading: Reading| Some((reading, found.get(&reading.partition).copied()?));
            Found::Discontinuities(readings.into_iter().filter_map(of).collect())
        });
    }

    /// Where the next records stand of partitions that are at rest below their end: what lies between are marks of the
    /// log's own, which no record will ever tell about.
    pub(super) fn look_for_gaps(&mut self, at_rest: Vec<(i32, i64)>) {
        if self.is_looking_for_gaps || at_rest.is_empty() {
            return;
        }
        self.is_looking_for_gaps = true;
        let log = self.log.clone();
        self.looks.spawn(async move {
            let next = log.ask(move |scanner| scanner.next_records(&at_rest)).await;
            // Where the log does not answer it is asked again.
            Found::Reached(next.unwrap_or_default())
        });
    }

    pub(super) fn look_at_generation(&mut self) {
        if std::mem::replace(&mut self.is_looking_at_generation, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            Found::Generation(shared.read(async |client| Ok(generation::current(client).await?)).await)
        });
    }

    /// Looks for records that an earlier owner held. Also of a loader without partitions, which would otherwise hear neither
    /// of an outage nor of its end, nor that the database went back.
    pub(super) fn look_for_held(&mut self) {
        if !self.looking_for_held.begin() {
            return;
        }
        let partitions: Vec<i32> = self.dispatcher.partitions().map(|(partition, _)| partition).collect();
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            let look =
                async |client: &Client| Ok(lanes_with_held(client, shared.generation, &partitions).await?);
            Found::Held(shared.read(look).await)
        });
    }

    /// One that is still at it keeps others out by itself.
    pub(super) fn drain_former_generations(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move { Found::Drained(drain_former_generations(&shared).await) });
    }

    pub(super) fn found_discontinuities(&mut self, found: Vec<(Reading, Discontinuity)>) {
        self.is_looking_at_log = false;
        for (reading, discontinuity) in found {
            let partition = reading.partition;
            let is_read = self.dispatcher.partition(partition).map(|read| Reading::of((partition, read)));
            match discontinuity {
                _ if is_read != Some(reading) => {}
                Discontinuity::Damaged { offset } => drop(self.damaged.insert(partition, offset)),
                _ => self.stop(partition, &discontinuity),
            }
        }
        self.stop_at_damage();
    }

    pub(super) fn found_held(&mut self, found: Result<Vec<(i32, OrganizationId)>, Unanswered>) {
        if self.looking_for_held.end() && self.ending.is_none() {
            self.look_for_held();
        }
        match found {
            Ok(lanes) => {
                for (partition, organization) in lanes {
                    let lane = LaneId { partition, key: LaneKey::Organization(organization) };
                    self.dispatcher.found_held(lane, Instant::now());
                }
            }
            Err(Unanswered::OtherServer) => self.end(Ended::Rewound),
            Err(Unanswered::Lost) => {}
        }
    }

    pub(super) fn found_generation(&mut self, found: Result<Option<i32>, Unanswered>) {
        self.is_looking_at_generation = false;
        match found {
            Ok(Some(generation)) if generation != self.shared.generation => {
                tracing::warn!(generation, "a new generation of the log was declared; beginning again there");
                self.end(Ended::NewGeneration);
            }
            Err(Unanswered::OtherServer) => self.end(Ended::Rewound),
            // Asked again in a while.
            Ok(_) | Err(Unanswered::Lost) => {}
        }
    }
}

/// A look that is wanted again while it is under way: what has changed meanwhile it may not have seen.
#[derive(Debug, Default)]
pub(super) struct Looking {
    is_under_way: bool,
    is_wanted_again: bool,
}

impl Looking {
    /// Whether it is to begin now.
    fn begin(&mut self) -> bool {
        self.is_wanted_again = self.is_under_way;
        !std::mem::replace(&mut self.is_under_way, true)
    }

    /// It is over. Gives whether it is wanted again.
    pub(super) fn end(&mut self) -> bool {
        self.is_under_way = false;
        std::mem::take(&mut self.is_wanted_again)
    }
}
