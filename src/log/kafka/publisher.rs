//! Hands records to Kafka and waits until it has them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use metrics::{counter, gauge, histogram};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio_util::sync::CancellationToken;

use super::client_config;
use crate::config::log::LogSettings;
use crate::log::SealedRecord;
use crate::ops::metrics::catalogue::{LOG_PUBLISH, LOG_PUBLISH_SECONDS, LOG_QUEUE_BYTES};
use crate::tenant::Tenant;

/// Bytes that may wait in the producer's own queue; intake's budget of unanswered requests is the first limit.
const QUEUE_KIB: &str = "131072";
/// How often the brokers are asked whether they are there.
const PROBE_PERIOD: Duration = Duration::from_secs(2);

/// The producing end of the log; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    settings: LogSettings,
    timeout: Duration,
    /// Replaced when librdkafka says that this one is beyond repair.
    producer: ArcSwap<FutureProducer<Tracing>>,
    available: AtomicBool,
}

/// The log did not acknowledge a record. It may hold it all the same: the ids settle that.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The producer's own queue is full.
    #[error("the log's send queue is full")]
    QueueFull,
    /// Not acknowledged in time.
    #[error("the log did not acknowledge in time")]
    TimedOut,
    /// Refused or unreachable.
    #[error("the log refused the record")]
    Failed(#[source] KafkaError),
}

impl Publisher {
    /// Starts a producer. It does not wait for the brokers: see [`Publisher::is_available`].
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn start(settings: &LogSettings, timeout: Duration) -> Result<Self, KafkaError> {
        let producer = ArcSwap::from_pointee(producer(settings, timeout)?);
        let available = AtomicBool::new(false);
        start_counting();
        Ok(Self { shared: Arc::new(Shared { settings: settings.clone(), timeout, producer, available }) })
    }

    /// Publishes under the organization's slug and waits for the acknowledgement of every replica asked for.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the record back.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, tenant: &Tenant, record: SealedRecord) -> Result<(), PublishError> {
        let started = Instant::now();
        let bytes = f64::from(u32::try_from(record.bytes.len()).unwrap_or(u32::MAX));
        let queued = gauge!(LOG_QUEUE_BYTES);
        queued.increment(bytes);
        let outcome = self.send(tenant, record).await;
        queued.decrement(bytes);
        histogram!(LOG_PUBLISH_SECONDS).record(started.elapsed().as_secs_f64());
        let label = match &outcome {
            Ok(()) => "acked",
            Err(PublishError::TimedOut) => "timed_out",
            Err(PublishError::QueueFull | PublishError::Failed(_)) => "failed",
        };
        counter!(LOG_PUBLISH, "outcome" => label).increment(1);
        outcome
    }

    async fn send(&self, tenant: &Tenant, sealed: SealedRecord) -> Result<(), PublishError> {
        let producer = self.shared.producer.load_full();
        let record =
            FutureRecord::to(&self.shared.settings.topic).key(tenant.slug().as_str()).payload(&sealed.bytes);
        let delivery = match producer.send_result(record) {
            Ok(delivery) => delivery,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                return Err(PublishError::QueueFull);
            }
            Err((error, _)) => return Err(self.failed(error, &producer)),
        };
        // librdkafka has a copy of its own: two of each would wait for the log.
        drop(sealed);
        match delivery.await {
            Ok(Ok(_)) => {
                self.shared.available.store(true, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err((error, _))) => Err(self.failed(error, &producer)),
            // The producer was dropped with the record in its queue.
            Err(_) => Err(PublishError::Failed(KafkaError::Canceled)),
        }
    }

    fn failed(&self, error: KafkaError, producer: &Arc<FutureProducer<Tracing>>) -> PublishError {
        if producer.client().fatal_error().is_some() {
            self.replace(producer, &error);
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut) => {
                PublishError::TimedOut
            }
            _ => PublishError::Failed(error),
        }
    }

    /// An idempotent producer that lost track of its sequence refuses everything from then on; a new one has a new
    /// identity. What the old one left unanswered is answered as failed, and the ids settle it.
    fn replace(&self, broken: &Arc<FutureProducer<Tracing>>, error: &KafkaError) {
        match producer(&self.shared.settings, self.shared.timeout) {
            Ok(fresh) => {
                let current = self.shared.producer.compare_and_swap(broken, Arc::new(fresh));
                if Arc::ptr_eq(&current, broken) {
                    tracing::error!(%error, "the producer failed for good and was replaced");
                }
            }
            Err(again) => {
                tracing::error!(%error, %again, "the producer failed for good; no new one could be made")
            }
        }
    }

    /// Whether a batch would be acknowledged now, as far as the last probe or acknowledgement tells.
    pub fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Relaxed)
    }

    /// Asks the brokers every two seconds whether the topic has a leader for every partition, until `stop`.
    pub async fn probe(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let publisher = self.clone();
            let answered = tokio::task::spawn_blocking(move || publisher.topic_has_leaders()).await;
            let available = answered.unwrap_or(false);
            if self.shared.available.swap(available, Ordering::Relaxed) != available {
                let log = if available { "reachable" } else { "unreachable" };
                tracing::warn!(log, topic = %self.shared.settings.topic, "the log changed its condition");
            }
            tokio::select! {
                () = tokio::time::sleep(PROBE_PERIOD) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn topic_has_leaders(&self) -> bool {
        let producer = self.shared.producer.load_full();
        let topic = &self.shared.settings.topic;
        let Ok(metadata) = producer.client().fetch_metadata(Some(topic), PROBE_PERIOD) else {
            return false;
        };
        metadata.topics().first().is_some_and(|topic| {
            topic.error().is_none()
                && !topic.partitions().is_empty()
                && topic.partitions().iter().all(|partition| partition.leader() >= 0)
        })
    }

    /// Waits until everything handed over is acknowledged or has failed. Blocks: call it off the async threads.
    pub fn flush(&self, timeout: Duration) {
        if let Err(error) = self.shared.producer.load_full().flush(timeout) {
            tracing::error!(%error, "records were still unacknowledged when the producer was closed");
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// All samples begin with the process: a first failure is then an increase, and a name that is not there a mistake.
fn start_counting() {
    gauge!(LOG_QUEUE_BYTES).increment(0);
    let _seconds = histogram!(LOG_PUBLISH_SECONDS);
    for outcome in ["acked", "failed", "timed_out"] {
        counter!(LOG_PUBLISH, "outcome" => outcome).increment(0);
    }
}

fn producer(settings: &LogSettings, timeout: Duration) -> Result<FutureProducer<Tracing>, KafkaError> {
    let mut config = client_config(settings);
    // Ours to default, the operator's to change. Without a pause to linger librdkafka's thread spins while requests are in
    // flight: see `docs/decisions/`.
    for (name, value) in [("compression.type", "lz4"), ("linger.ms", "2")] {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    }
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2")
        .set("message.timeout.ms", timeout.as_millis().to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        .create_with_context(Tracing)
}

/// Sends librdkafka's own log to ours.
pub(super) struct Tracing;

impl ClientContext for Tracing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_librdkafka(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

pub(super) fn trace_librdkafka(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}
