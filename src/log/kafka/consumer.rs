//! Takes records of the assigned partitions, with their offsets.
//!
//! One thread polls, always: the group session stays alive whatever the database does. Records that are taken and not
//! yet dropped are charged to a budget of bytes; over it, all partitions are paused until half is free. So a loader that
//! waits holds a bounded amount, and nothing is asked to block.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::publisher::trace_librdkafka;
use super::{ASK_TIMEOUT, client_config};
use crate::config::log::{ConsumeArgs, GroupProtocol, LogSettings};

const POLL: Duration = Duration::from_millis(100);
/// How long a revocation waits for open transactions to end. Loader transactions are bounded to 10 s themselves, and
/// the group waits `max.poll.interval.ms` (five minutes) for us.
const REVOKE_GRACE: Duration = Duration::from_secs(30);

/// How records are taken.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Where the log is.
    pub log: LogSettings,
    /// How its partitions are shared out.
    pub consume: ConsumeArgs,
    /// Bytes of records taken and not yet dropped, over which the partitions are paused.
    pub budget_bytes: usize,
}

/// What the log hands over, in order.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are ours from now on.
    Assigned(Vec<Start>),
    /// One record of an assigned partition.
    Record(LogRecord),
    /// These partitions are another's as soon as the revocation is answered or dropped.
    Revoked(Revocation),
}

/// Where an assigned partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The partition.
    pub partition: i32,
    /// The committed offset; `None`: nothing was ever committed, so the very beginning.
    pub next_offset: Option<i64>,
}

/// One record, charged to the consumer's budget until it is dropped.
#[derive(Debug)]
pub struct LogRecord {
    /// Its partition.
    pub partition: i32,
    /// Its own offset, not the next.
    pub offset: i64,
    /// `rollbook.v1.Record`, unless somebody else wrote into the topic.
    pub bytes: Vec<u8>,
    _charge: Charge,
}

#[cfg(test)]
impl LogRecord {
    /// A record that no consumer took.
    pub(crate) fn for_tests(partition: i32, offset: i64, bytes: Vec<u8>) -> Self {
        Self { partition, offset, bytes, _charge: Charge::new(&Arc::default(), 0) }
    }
}

/// Partitions about to be taken away, and the last chance to commit for them.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<i32>,
    /// `false` when another already has them: then nothing may be committed.
    pub may_commit: bool,
    answer: std_mpsc::Sender<Vec<(i32, i64)>>,
}

impl Revocation {
    /// Gives the partitions back, with the next offset to read of each, committed before they go.
    pub fn release(self, next_offsets: Vec<(i32, i64)>) {
        // The thread stops waiting after its grace; then the work is repeated by the new owner, and nothing is lost.
        let _ = self.answer.send(next_offsets);
    }
}

/// First and next offset of a partition, as the log has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEnds {
    /// The oldest record that is kept.
    pub start: i64,
    /// Where the next record will be written.
    pub end: i64,
}

/// The consuming end of the log. Dropping it leaves the group.
pub struct Consumer {
    shared: Arc<BaseConsumer<Group>>,
    topic: String,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl Consumer {
    /// Joins the group and starts to take records.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn start(settings: &ConsumerSettings) -> Result<Self, KafkaError> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let topic = settings.log.topic.clone();
        let group = Group {
            topic: topic.clone(),
            sender,
            paused: AtomicBool::new(false),
            failed: OnceLock::new(),
            ends: ArcSwap::default(),
        };
        let shared: Arc<BaseConsumer<Group>> =
            Arc::new(consumer_config(settings).create_with_context(group)?);
        shared.subscribe(&[&topic])?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("log-consumer".to_owned())
            .spawn({
                let (shared, stop, budget) = (Arc::clone(&shared), Arc::clone(&stop), settings.budget_bytes);
                move || receive(&shared, &stop, budget)
            })
            .map_err(|_| KafkaError::ClientCreation("no thread for the consumer".to_owned()))?;
        Ok(Self { shared, topic, deliveries, stop, thread: Some(thread) })
    }

    /// The next delivery; `None` once the consumer has failed or was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Asks Kafka to remember the next offsets to read, without waiting for its answer: one that is lost costs reading
    /// again, nothing else.
    pub fn commit(&self, next_offsets: &[(i32, i64)]) {
        if next_offsets.is_empty() {
            return;
        }
        let committed = offsets(&self.topic, next_offsets)
            .and_then(|offsets| self.shared.commit(&offsets, CommitMode::Async));
        if let Err(error) = committed {
            tracing::warn!(%error, "offsets were not committed; the next commit repeats them");
        }
    }

    /// First and next offset of each assigned partition, as of the last statistics (a second ago).
    pub fn ends(&self) -> Arc<HashMap<i32, PartitionEnds>> {
        self.shared.context().ends.load_full()
    }

    /// Stops taking records. A last [`Delivery::Revoked`] follows, then `None`.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the thread of a consumer that was closed, or that handed over its last delivery.
    ///
    /// # Errors
    /// What made the consumer end, if it was not [`Consumer::close`].
    pub async fn ended(mut self) -> Result<(), KafkaError> {
        self.close();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.ok().and_then(Result::ok).unwrap_or(Err(KafkaError::Canceled))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consumer_config(settings: &ConsumerSettings) -> rdkafka::ClientConfig {
    let mut config = client_config(&settings.log);
    // The fetch queue sits before our budget: keep it small beside it.
    if config.get("queued.max.messages.kbytes").is_none() {
        config.set("queued.max.messages.kbytes", "16384");
    }
    config
        .set("group.id", &settings.consume.group.kafka_group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("statistics.interval.ms", "1000");
    match settings.consume.kafka_group_protocol {
        GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        GroupProtocol::Classic => config
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.consume.kafka_session_timeout_ms.to_string()),
    };
    config
}

/// The receive loop. Ends when asked to, or with the error that makes going on pointless.
fn receive(consumer: &BaseConsumer<Group>, stop: &AtomicBool, budget_bytes: usize) -> Result<(), KafkaError> {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut last_complaint: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        if let Some(error) = consumer.context().failed.get() {
            return Err(error.clone());
        }
        keep_within_budget(consumer, taken.load(Ordering::Relaxed), budget_bytes)?;
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let record = take(&message, &taken);
                if consumer.context().sender.send(Delivery::Record(record)).is_err() {
                    break;
                }
            }
            Some(Err(error)) if is_passing(&error) => {
                // librdkafka reconnects by itself; once a while is enough to say so.
                if last_complaint.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                    tracing::warn!(%error, "taking records from the log");
                    last_complaint = Some(Instant::now());
                }
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the log cannot be read any further");
                return Err(error);
            }
        }
    }
    // Leaving the group revokes what we have: the callback runs inside these polls.
    consumer.unsubscribe();
    let deadline = Instant::now() + REVOKE_GRACE;
    while Instant::now() < deadline && consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
        let _ = consumer.poll(POLL);
    }
    Ok(())
}

fn take(message: &BorrowedMessage<'_>, taken: &Arc<AtomicUsize>) -> LogRecord {
    let bytes = message.payload().unwrap_or_default().to_vec();
    let charge = Charge::new(taken, bytes.len());
    LogRecord { partition: message.partition(), offset: message.offset(), bytes, _charge: charge }
}

fn keep_within_budget(
    consumer: &BaseConsumer<Group>,
    taken: usize,
    budget_bytes: usize,
) -> Result<(), KafkaError> {
    let paused = &consumer.context().paused;
    if taken >= budget_bytes && !paused.load(Ordering::Relaxed) {
        consumer.pause(&consumer.assignment()?)?;
        paused.store(true, Ordering::Relaxed);
    } else if taken < budget_bytes / 2 && paused.load(Ordering::Relaxed) {
        consumer.resume(&consumer.assignment()?)?;
        paused.store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Trouble that librdkafka gets over by itself, as opposed to one that needs a person or another process.
fn is_passing(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnsupportedVersion
        )
    )
}

fn offsets(topic: &str, next_offsets: &[(i32, i64)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(next_offsets.len());
    for (partition, next_offset) in next_offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset))?;
    }
    Ok(list)
}

fn partitions_of(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(|element| element.partition()).collect()
}

/// What librdkafka calls back into, on the thread that polls.
struct Group {
    topic: String,
    sender: mpsc::UnboundedSender<Delivery>,
    paused: AtomicBool,
    /// A rebalance that failed leaves nothing to go on from.
    failed: OnceLock<KafkaError>,
    ends: ArcSwap<HashMap<i32, PartitionEnds>>,
}

impl Group {
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
        let _ = self.sender.send(Delivery::Assigned(starts));
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) -> Result<(), KafkaError> {
        let (answer, answered) = std_mpsc::channel();
        let may_commit = !consumer.assignment_lost();
        let revocation = Revocation { partitions: partitions_of(revoked), may_commit, answer };
        if self.sender.send(Delivery::Revoked(revocation)).is_ok() {
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

/// Bytes charged to the budget until dropped.
#[derive(Debug)]
struct Charge {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    fn new(taken: &Arc<AtomicUsize>, bytes: usize) -> Self {
        taken.fetch_add(bytes, Ordering::Relaxed);
        Self { taken: Arc::clone(taken), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
