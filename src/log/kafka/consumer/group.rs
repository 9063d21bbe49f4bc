//! The consumer's part in its group: what librdkafka calls back into, on the thread that polls.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc as std_mpsc};

use arc_swap::ArcSwap;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::super::ASK_TIMEOUT;
use super::super::offsets::{committed, to_commit};
use super::super::publisher::trace_librdkafka;
use super::{Delivery, PartitionEnds, REVOKE_GRACE, Revocation, Start};

/// See the module.
pub(super) struct Group {
    topic: String,
    generation: i32,
    pub(super) sender: mpsc::UnboundedSender<Option<Delivery>>,
    pub(super) paused: AtomicBool,
    /// Partitions that are ours and not read: no budget resumes them.
    stopped: Mutex<HashSet<i32>>,
    /// A rebalance that failed leaves nothing to go on from.
    pub(super) failed: OnceLock<KafkaError>,
    /// Whether the group's coordinator counts us in, with partitions or without.
    pub(super) is_member: AtomicBool,
    pub(super) ends: ArcSwap<HashMap<i32, PartitionEnds>>,
}

impl Group {
    pub(super) fn new(
        topic: String,
        generation: i32,
        sender: mpsc::UnboundedSender<Option<Delivery>>,
    ) -> Self {
        let (paused, is_member) = (AtomicBool::new(false), AtomicBool::new(false));
        let (failed, ends) = (OnceLock::new(), ArcSwap::default());
        let stopped = Mutex::default();
        Self { topic, generation, sender, paused, stopped, failed, is_member, ends }
    }

    /// Starts each partition at its committed offset, or at the log's very beginning: `auto.offset.reset` is `error`,
    /// so that a gap made by retention is never jumped in silence.
    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> Result<(), KafkaError> {
        let committed = committed(&consumer.committed_offsets(assigned.clone(), ASK_TIMEOUT)?);
        let mut starts = Vec::with_capacity(assigned.count());
        let mut assignment = TopicPartitionList::with_capacity(assigned.count());
        for partition in partitions_of(assigned) {
            let next_offset =
                committed.get(&partition).and_then(|committed| committed.in_generation(self.generation));
            let from = next_offset.map_or(Offset::Beginning, Offset::Offset);
            assignment.add_partition_offset(&self.topic, partition, from)?;
            starts.push(Start { partition, next_offset });
            self.lock_stopped().remove(&partition);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&assignment)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&assignment)?,
        }
        if self.paused.load(Ordering::Relaxed) {
            consumer.pause(&assignment)?;
        }
        let _ = self.sender.send(Some(Delivery::Assigned(starts)));
        Ok(())
    }

    /// What the budget pauses and resumes: all that is assigned, but for what is stopped.
    pub(super) fn readable(&self, consumer: &BaseConsumer<Self>) -> Result<TopicPartitionList, KafkaError> {
        let stopped = self.lock_stopped();
        let mut readable = TopicPartitionList::new();
        for partition in partitions_of(&consumer.assignment()?) {
            if !stopped.contains(&partition) {
                readable.add_partition(&self.topic, partition);
            }
        }
        Ok(readable)
    }

    /// Pauses a partition until it is assigned again.
    pub(super) fn stop_reading(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
    ) -> Result<(), KafkaError> {
        self.lock_stopped().insert(partition);
        let mut stopped = TopicPartitionList::with_capacity(1);
        stopped.add_partition(&self.topic, partition);
        consumer.pause(&stopped)
    }

    /// Asks Kafka to remember the next offsets to read.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        next_offsets: &[(i32, i64)],
        mode: CommitMode,
    ) -> Result<(), KafkaError> {
        consumer.commit(&to_commit(&self.topic, self.generation, next_offsets)?, mode)
    }

    fn lock_stopped(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> Result<(), KafkaError> {
        let (answer, answered) = std_mpsc::channel();
        // Another loader may already have what was lost: then nothing may be committed.
        let may_commit = !consumer.assignment_lost();
        let revocation = Revocation { partitions: partitions_of(revoked), answer };
        if self.sender.send(Some(Delivery::Revoked(revocation))).is_ok() {
            let next_offsets = answered.recv_timeout(REVOKE_GRACE).unwrap_or_default();
            if may_commit
                && !next_offsets.is_empty()
                && let Err(error) = self.commit(consumer, &next_offsets, CommitMode::Sync)
            {
                tracing::warn!(%error, "the last offsets were not committed; the next owner reads again from before");
            }
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(revoked),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_librdkafka(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        let is_member =
            statistics.cgrp.is_some_and(|group| group.state == "up" && group.join_state == "steady");
        self.is_member.store(is_member, Ordering::Relaxed);
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let ends = partitions
            .filter(|partition| partition.partition >= 0 && partition.hi_offset >= 0)
            .map(|partition| {
                let ends = PartitionEnds { start: partition.lo_offset, end: partition.hi_offset };
                (partition.partition, ends)
            })
            .collect();
        self.ends.store(Arc::new(ends));
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: rd_kafka_resp_err_t,
        partitions: &mut TopicPartitionList,
    ) {
        let done = match event {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, partitions),
            other => Err(KafkaError::Rebalance(other.into())),
        };
        if let Err(error) = done {
            tracing::error!(%error, "a rebalance failed; this consumer gives up its partitions");
            let _ = self.failed.set(error);
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}
