//! Hands records to Kafka and tells of each when Kafka has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio_util::sync::CancellationToken;

use delivery::Reports;

use super::client_config;
use crate::config::log::LogSettings;
use crate::log::SealedRecord;
use crate::tenant::Tenant;

mod delivery;

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
    producer: ArcSwap<ThreadedProducer<Reports>>,
    reports: Reports,
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
        let reports = Reports::new();
        let producer = ArcSwap::from_pointee(producer(settings, timeout, reports.clone())?);
        Ok(Self { shared: Arc::new(Shared { settings: settings.clone(), timeout, producer, reports }) })
    }

    /// Publishes under the organization's slug. Once every replica asked for has acknowledged the record, or it is known that
    /// they will not, `told` is called with that: once, from the producer's own thread or from within this call, so it must
    /// neither wait nor work. Nothing takes the record back.
    pub fn publish(
        &self,
        tenant: &Tenant,
        sealed: SealedRecord,
        told: impl FnOnce(Result<(), PublishError>) + Send + Sync + 'static,
    ) {
        let producer = self.shared.producer.load();
        let pending = self.shared.reports.begin(sealed.bytes.len(), told);
        // librdkafka makes a copy of its own, and ours ends here: two of each would wait for the log.
        let record = BaseRecord::with_opaque_to(&self.shared.settings.topic, pending)
            .key(tenant.slug().as_str())
            .payload(&sealed.bytes);
        let sent = match producer.send(record) {
            Err((error, record)) if producer.client().fatal_error().is_some() => {
                self.replace(Guard::into_inner(producer), &error);
                self.shared.producer.load().send(record)
            }
            sent => sent,
        };
        if let Err((error, record)) = sent {
            self.shared.reports.finish(*record.delivery_opaque, Err(error.into()));
        }
    }

    /// An idempotent producer that lost track of its sequence refuses everything from then on; a new one has a new
    /// identity. What the old one left unanswered is answered as failed, and the ids settle it.
    fn replace(&self, broken: Arc<ThreadedProducer<Reports>>, error: &KafkaError) {
        match producer(&self.shared.settings, self.shared.timeout, self.shared.reports.clone()) {
            Ok(fresh) => {
                let current = self.shared.producer.compare_and_swap(&broken, Arc::new(fresh));
                if Arc::ptr_eq(&current, &broken) {
                    tracing::error!(%error, "the producer failed for good and was replaced");
                }
            }
            Err(again) => {
                tracing::error!(%error, %again, "the producer failed for good; no new one could be made")
            }
        }
        // Its end waits for its threads.
        tokio::task::spawn_blocking(move || drop(broken));
    }

    /// Whether a batch would be acknowledged now, as far as the last probe or acknowledgement tells.
    pub fn is_available(&self) -> bool {
        self.shared.reports.is_available()
    }

    /// Asks the brokers every two seconds whether the topic has a leader for every partition, until `stop`.
    pub async fn probe(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let publisher = self.clone();
            let answered = tokio::task::spawn_blocking(move || publisher.topic_has_leaders()).await;
            let available = answered.unwrap_or(false);
            if self.shared.reports.set_available(available) != available {
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

impl From<KafkaError> for PublishError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Self::QueueFull,
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut) => Self::TimedOut,
            _ => Self::Failed(error),
        }
    }
}

fn producer(
    settings: &LogSettings,
    timeout: Duration,
    reports: Reports,
) -> Result<ThreadedProducer<Reports>, KafkaError> {
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
        .create_with_context(reports)
}

/// librdkafka's own log, in ours.
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
