//! What the receive loop asks of Postgres and of the log while it goes on: each look is a task of its own, and no two of
//! a kind are under way.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::continuity::{self, Beginnings};
use super::super::generation;
use super::super::holding::{drain_former_generations, lanes_with_held};
use super::super::server::ServerIdentity;
use super::super::writer::Refusal;
use super::{Anchored, ReceiveLoop, Reread};
use crate::log::{Assignment, Discontinuity, Remembered};
use crate::tenant::OrganizationId;

/// What a look found.
pub(super) enum Found {
    /// Where partitions begin that the group gave us.
    Beginnings(Assignment, Beginnings),
    /// Partitions that must not be read on.
    Discontinuities(HashMap<i32, Discontinuity>),
    /// Records that an earlier owner held have to be drained though nothing new comes for their organizations.
    Held(Vec<(i32, OrganizationId)>),
    /// A person declared a new generation of the log.
    NewGeneration(i32),
    /// Up to where partitions have no further record.
    Reached(HashMap<i32, i64>),
    /// The database is another server than the one that the loader began with.
    OtherServer,
    /// What was left in the log.
    Reread(Reread),
    /// Anchors were to be moved.
    Anchored(Anchored),
    /// Nothing to act upon.
    Nothing,
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
        let log = self.log.clone();
        self.looks.spawn(async move { Found::Discontinuities(continuity::look(&log, remembered).await) });
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
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            let current = async {
                let client = shared.pool.get().await?;
                let current = generation::current(&client).await?;
                client.give_back();
                Ok::<_, Refusal>(current)
            };
            match current.await {
                Ok(Some(current)) if current != shared.generation => Found::NewGeneration(current),
                // Asked again in a while.
                Ok(_) | Err(_) => Found::Nothing,
            }
        });
    }

    /// Asks which server this is, too: a loader that has nothing to write would not notice that the database went back.
    pub(super) fn look_for_held(&mut self) {
        let partitions: Vec<i32> = self.dispatcher.partitions().map(|(partition, _)| partition).collect();
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            let found = async {
                let client = shared.pool.get().await?;
                let is_known = ServerIdentity::of(&*client).await? == shared.identity;
                let lanes = lanes_with_held(&client, shared.generation, &partitions).await?;
                client.give_back();
                Ok::<_, Refusal>(is_known.then_some(lanes))
            };
            match found.await {
                Ok(Some(lanes)) => Found::Held(lanes),
                Ok(None) => Found::OtherServer,
                Err(refused) => {
                    shared.condition.server.lost(refused.reason());
                    Found::Nothing
                }
            }
        });
    }

    pub(super) fn drain_former_generations(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            if let Err(refused) = drain_former_generations(&shared).await {
                shared.condition.server.lost(refused.reason());
            }
            Found::Nothing
        });
    }
}
