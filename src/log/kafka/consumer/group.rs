//! The consumer's part in its group: what librdkafka calls back into, on the thread that polls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};

use arc_swap::ArcSwap;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::super::ASK_TIMEOUT;
use super::super::publisher::trace_librdkafka;
use super::{Delivery, PartitionEnds, REVOKE_GRACE, Revocation, Start};

/// See the module.
pub(super) struct Group {
    pub(super) topic: String,
    pub(super) sender: mpsc::UnboundedSender<Option<Delivery>>,
    pub(super) paused: AtomicBool,
    /// A rebalance that failed leaves nothing to go on from.
    pub(super) failed: OnceLock<KafkaError>,
    /// Whether the group's coordinator counts us in, with partitions or without.
    pub(super) is_member: AtomicBool,
    pub(super) ends: ArcSwap<HashMap<i32, PartitionEnds>>,
}

impl Group {
    pub(super) fn new(topic: String, sender: mpsc::UnboundedSender<Option<Delivery>>) -> Self {
        let (paused, is_member) = (AtomicBool::new(false), AtomicBool::new(false));
        let (failed, ends) = (OnceLock::new(), ArcSwap::default());
        Self { topic, sender, paused, failed, is_member, ends }
    }

    /// Starts each partition at its committed offset, or at the log's very beginning: `auto.offset.reset` is `error`,
    /// so that a gap made by retention is never jumped in silence.
    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut committed = consumer.committed_offsets(assigned.clone(), ASK_TIMEOUT)?;
        let start = |element: &TopicPartitionListElem<'_>| Start {
            partition: element.partition(),
            next_offset: element.offset().to_raw().filter(|offset| *offset >= 0),
        };
        let starts: Vec<Start> = committed.elements().iter().map(start).collect();
        for start in starts.iter().filter(|start| start.next_offset.is_none()) {
            committed.set_partition_offset(&self.topic, start.partition, Offset::Beginning)?;
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&committed)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&committed)?,
        }
        if self.paused.load(Ordering::Relaxed) {
            consumer.pause(&committed)?;
        }
        let _ = self.sender.send(Some(Delivery::Assigned(starts)));
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> Result<(), KafkaError> {
        let (answer, answered) = std_mpsc::channel();
        // Another loader may already have what was lost: then nothing may be committed.
        let may_commit = !consumer.assignment_lost();
        let revocation = Revocation { partitions: partitions_of(revoked), answer };
        if self.sender.send(Some(Delivery::Revoked(revocation))).is_ok() {
            let next_offsets = answered.recv_timeout(REVOKE_GRACE).unwrap_or_default();
            if may_commit && !next_offsets.is_empty() {
                let committed = offsets(&self.topic, &next_offsets)
                    .and_then(|offsets| consumer.commit(&offsets, CommitMode::Sync));
                if let Err(error) = committed {
                    tracing::warn!(%error, "the last offsets were not committed; the next owner reads again from before");
                }
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

/// Next offsets as librdkafka wants them.
pub(super) fn offsets(topic: &str, next_offsets: &[(i32, i64)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(next_offsets.len());
    for (partition, next_offset) in next_offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset))?;
    }
    Ok(list)
}

fn partitions_of(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}
