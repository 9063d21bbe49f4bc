//! Takes records of the assigned partitions, with their offsets.
//!
//! One thread polls, always: the group session stays alive whatever the database does. Where an assigned partition begins
//! is for the consumer's owner to say, in its own time: nothing of it is read before. Records that are handed over and
//! not yet taken are charged to a budget of bytes, which the thread waits for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc;

use super::{client_config, default};
use crate::config::log::{ConsumeArgs, GroupProtocol, LogSettings};
use group::Group;
use receive::{Charge, receive};

mod commits;
mod group;
mod membership;
mod receive;

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
    /// Bytes of records that are handed over and not yet dropped, over which no more are.
    pub budget_bytes: usize,
}

/// What the log hands over, in order.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are ours from now on, and are read as soon as [`Consumer::start_at`] says from where.
    Assigned(Assignment),
    /// One record of an assigned partition.
    Record(LogRecord),
    /// These partitions are another's as soon as the revocation is answered or dropped.
    Revoked(Revocation),
    /// A partition does not have what is to be read next, and is not read any further. Kafka does not say which one.
    OutOfRange,
}

/// Why records cannot be taken any more.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The broker does not know the group protocol `consumer` (KIP-848).
    #[error(
        "the broker does not know the group protocol `consumer`: set ROLLBOOK_KAFKA_GROUP_PROTOCOL=classic"
    )]
    NoConsumerProtocol,
    /// Anything else that librdkafka does not get over by itself.
    #[error("the log cannot be read any further")]
    Kafka(#[source] KafkaError),
}

impl From<KafkaError> for ConsumeError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature) => {
                Self::NoConsumerProtocol
            }
            _ => Self::Kafka(error),
        }
    }
}

/// Partitions that the group gave us. They are not read before [`Consumer::start_at`] answers, and no other assignment or
/// revocation comes before that.
#[derive(Debug)]
pub struct Assignment {
    /// Which.
    pub partitions: Vec<i32>,
    number: u64,
}

/// Where an assigned partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The partition.
    pub partition: i32,
    /// The next offset to read; `None`: nothing was ever read, so the very beginning.
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
    /// `None` is the end: librdkafka's context holds a sender for as long as the consumer lives.
    deliveries: mpsc::UnboundedReceiver<Option<Delivery>>,
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
        let topic = settings.log.topic.as_str();
        let group = Group::new(topic.to_owned(), settings.consume.kafka_group_protocol, sender);
        let shared: Arc<BaseConsumer<Group>> =
            Arc::new(consumer_config(settings).create_with_context(group)?);
        shared.subscribe(&[topic])?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("log-consumer".to_owned())
            .spawn({
                let (shared, stop, budget) = (Arc::clone(&shared), Arc::clone(&stop), settings.budget_bytes);
                move || {
                    let ended = receive(&shared, &stop, budget);
                    let _ = shared.context().sender.send(None);
                    ended
                }
            })
            .map_err(|_| KafkaError::ClientCreation("no thread for the consumer".to_owned()))?;
        Ok(Self { shared, deliveries, stop, thread: Some(thread) })
    }

    /// The next delivery; `None` once the consumer has failed or was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await.flatten()
    }

    /// The next delivery, if it is there already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        match self.deliveries.try_recv() {
            Ok(Some(delivery)) => Some(delivery),
            // The end is for `next` to tell.
            Ok(None) => {
                let _ = self.shared.context().sender.send(None);
                None
            }
            Err(_) => None,
        }
    }

    /// Says where the partitions of an assignment begin: they are read from there. One that is named without an offset, or
    /// not at all, is read from its very beginning.
    pub fn start_at(&self, assignment: &Assignment, starts: &[Start]) {
        let group = self.shared.context();
        if let Err(error) = group.start_at(&self.shared, assignment, starts) {
            tracing::error!(%error, "a rebalance failed; this consumer gives up its partitions");
            let _ = group.failed.set(error);
        }
    }

    /// Asks Kafka to remember the next offsets to read, without waiting for its answer. What it does not take is asked for
    /// again by the next call, which may have nothing new to say.
    pub fn commit(&self, next_offsets: &[(i32, i64)]) {
        self.shared.context().commit(&self.shared, next_offsets);
    }

    /// Whether Kafka did not take a commit, which the next one will ask for again.
    pub fn has_commits_to_repeat(&self) -> bool {
        self.shared.context().has_commits_to_repeat()
    }

    /// First and next offset of each assigned partition, as of the last statistics (a second ago).
    pub fn ends(&self) -> Arc<HashMap<i32, PartitionEnds>> {
        self.shared.context().ends.load_full()
    }

    /// Whether the group counts us in, as of the last statistics (a second ago): with partitions, or waiting for some.
    pub fn is_member(&self) -> bool {
        self.shared.context().membership.is_member()
    }

    /// Takes no more records of a partition, until it is assigned again.
    pub fn stop_reading(&self, partition: i32) {
        if let Err(error) = self.shared.context().stop_reading(&self.shared, partition) {
            tracing::warn!(partition, %error, "a partition could not be paused; what comes of it is dropped");
        }
    }

    /// Stops taking records. A last [`Delivery::Revoked`] follows, then `None`.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the thread of a consumer that was closed, or that handed over its last delivery.
    ///
    /// # Errors
    /// What made the consumer end, if it was not [`Consumer::close`].
    pub async fn ended(self) -> Result<(), ConsumeError> {
        self.joined().await.map_err(ConsumeError::from)
    }

    async fn joined(mut self) -> Result<(), KafkaError> {
        self.close();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Leaving the group may wait for brokers that are away: off the async threads.
        let joined = tokio::task::spawn_blocking(move || {
            let ended = thread.join();
            drop(self);
            ended
        })
        .await;
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
    default(&mut config, "queued.max.messages.kbytes", "16384");
    config
        .set("group.id", &settings.consume.group.kafka_group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("statistics.interval.ms", "1000");
    if let Some(id) = &settings.consume.kafka_instance_id {
        config.set("group.instance.id", id);
    }
    match settings.consume.kafka_group_protocol {
        GroupProtocol::Auto | GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        GroupProtocol::Classic => config
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.consume.kafka_session_timeout_ms.to_string()),
    };
    config
}
