//! The consumer's part in its group: what librdkafka calls back into, on the thread that polls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::super::complaints::{trace_error, trace_log};
use super::super::offsets::to_commit;
use super::commits::Commits;
use super::membership::Membership;
use crate::config::log::GroupProtocol;
use crate::log::consume::{Assignment, Delivery, PartitionEnds, Revocation, Start, released};

/// What librdkafka's log files a commit under that Kafka did not take.
const COMMIT_FAILED: &str = "COMMITFAIL";
/// What librdkafka's log says, at debug and nowhere else, where a broker before Kafka 4 does not know how the broker-side
/// protocol goes now. It then waits for a better one, without a word or an end.
const BROKER_IS_TOO_OLD: &str = "ConsumerGroupHeartbeatRequest not supported by broker";
/// The part of librdkafka that says so.
pub(super) const DEBUGGED: &str = "cgrp";

/// See the module.
pub(super) struct Group {
    topic: String,
    /// Whether an operator asked for librdkafka's own debugging, or only we did.
    is_debugged: bool,
    pub(super) sender: mpsc::UnboundedSender<Option<Delivery>>,
    assignments: Mutex<Assignments>,
    commits: Mutex<Commits>,
    /// A rebalance that failed leaves nothing to go on from.
    pub(super) failed: OnceLock<KafkaError>,
    pub(super) membership: Membership,
    pub(super) ends: ArcSwap<HashMap<i32, PartitionEnds>>,
}

/// What the group gave us and the owner of the consumer has not answered yet. librdkafka waits for that, with its next
/// assignment or revocation too, and goes on telling the group that we are alive.
#[derive(Debug, Default)]
struct Assignments {
    last: u64,
    waiting: Option<(u64, Vec<i32>)>,
    /// The owner answers no more.
    closing: bool,
}

impl Group {
    pub(super) fn new(
        topic: String,
        is_debugged: bool,
        protocol: GroupProtocol,
        sender: mpsc::UnboundedSender<Option<Delivery>>,
    ) -> Self {
        Self {
            topic,
            is_debugged,
            sender,
            assignments: Mutex::default(),
            commits: Mutex::default(),
            failed: OnceLock::new(),
            membership: Membership::new(protocol),
            ends: ArcSwap::default(),
        }
    }

    /// Asks the owner where the partitions begin; they are not read before it says so.
    fn assign(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> Result<(), KafkaError> {
        let partitions = partitions_of(assigned);
        let mut assignments = lock(&self.assignments);
        if partitions.is_empty() || assignments.closing {
            drop(assignments);
            return self.begin(consumer, unread(&partitions));
        }
        assignments.last += 1;
        let number = assignments.last;
        assignments.waiting = Some((number, partitions.clone()));
        drop(assignments);
        let _ = self.sender.send(Some(Delivery::Assigned(Assignment { partitions, number })));
        Ok(())
    }

    /// The answer to an assignment; one that is not waited for any more changes nothing. A partition without a start is
    /// read from its very beginning.
    pub(super) fn start_at(
        &self,
        consumer: &BaseConsumer<Self>,
        assignment: &Assignment,
        starts: &[Start],
    ) -> Result<(), KafkaError> {
        let waiting = lock(&self.assignments).waiting.take_if(|(number, _)| *number == assignment.number);
        let Some((_, partitions)) = waiting else { return Ok(()) };
        let start_of = |partition| starts.iter().find(|start| start.partition == partition)?.next_offset;
        // `auto.offset.reset` is `error`, so that a gap made by retention is never jumped in silence.
        let from = |partition| start_of(partition).map_or(Offset::Beginning, Offset::Offset);
        self.begin(consumer, partitions.into_iter().map(|partition| (partition, from(partition))))
    }

    /// The owner will answer no more. librdkafka wants an answer even so, or leaving the group would wait for ever.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) {
        let waiting = {
            let mut assignments = lock(&self.assignments);
            assignments.closing = true;
            assignments.waiting.take()
        };
        if let Some((_, partitions)) = waiting
            && let Err(error) = self.begin(consumer, unread(&partitions))
        {
            tracing::warn!(%error, "an assignment could not be given back");
        }
    }

    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: impl IntoIterator<Item = (i32, Offset)>,
    ) -> Result<(), KafkaError> {
        let mut assignment = TopicPartitionList::new();
        for (partition, from) in partitions {
            assignment.add_partition_offset(&self.topic, partition, from)?;
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&assignment)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(&assignment)?,
        }
        Ok(())
    }

    /// Pauses a partition until it is assigned again.
    pub(super) fn stop_reading(
        &self,
        consumer: &BaseConsumer<Self>,
        partition: i32,
    ) -> Result<(), KafkaError> {
        let mut stopped = TopicPartitionList::with_capacity(1);
        stopped.add_partition(&self.topic, partition);
        consumer.pause(&stopped)
    }

    /// Asks Kafka to remember the next offsets to read, and those again that it did not take when it was last asked.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>, next_offsets: &[(i32, i64)]) {
        let to_ask = lock(&self.commits).ask(next_offsets);
        if to_ask.is_empty() {
            return;
        }
        if let Err(error) = self.try_commit(consumer, &to_ask, CommitMode::Async) {
            tracing::warn!(%error, "offsets were not committed; the next commit repeats them");
            lock(&self.commits).failed();
        }
    }

    pub(super) fn has_commits_to_repeat(&self) -> bool {
        lock(&self.commits).has_failed()
    }

    fn try_commit(
        &self,
        consumer: &BaseConsumer<Self>,
        next_offsets: &[(i32, i64)],
        mode: CommitMode,
    ) -> Result<(), KafkaError> {
        consumer.commit(&to_commit(&self.topic, next_offsets)?, mode)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> Result<(), KafkaError> {
        // Another loader may already have what was lost: then nothing may be committed.
        let may_commit = !consumer.assignment_lost();
        let (revocation, answered) = Revocation::new(partitions_of(revoked));
        if self.sender.send(Some(Delivery::Revoked(revocation))).is_ok() {
            let next_offsets = released(&answered);
            if may_commit
                && !next_offsets.is_empty()
                && let Err(error) = self.try_commit(consumer, &next_offsets, CommitMode::Sync)
            {
                tracing::warn!(%error, "the last offsets were not committed; the next owner reads again from before");
            }
        }
        // Only now: until it answered, the owner may have committed there.
        lock(&self.commits).forget(&partitions_of(revoked));
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(revoked),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if message.contains(BROKER_IS_TOO_OLD) {
            let _ = self.failed.set(KafkaError::MessageConsumption(RDKafkaErrorCode::UnsupportedFeature));
        }
        if matches!(level, RDKafkaLogLevel::Debug) && !self.is_debugged {
            return;
        }
        // The only place where librdkafka tells of it: it calls nobody back unless it was asked to before it began.
        if facility == COMMIT_FAILED {
            lock(&self.commits).failed();
        }
        trace_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        trace_error(&error, reason);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.membership.see(&statistics);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn partitions_of(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

/// Partitions that are ours for as long as it takes to give them back.
fn unread(partitions: &[i32]) -> impl Iterator<Item = (i32, Offset)> {
    partitions.iter().map(|partition| (*partition, Offset::End))
}
