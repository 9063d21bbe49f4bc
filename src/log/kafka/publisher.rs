//! Hands records to Kafka and waits until it has them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use metrics::{counter, gauge, histogram};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio_util::sync::CancellationToken;

use super::complaints::{Tracing, may_be_said};
use super::refusal::LogRefusal;
use super::{client_config, default};
use crate::config::log::LogSettings;
use crate::log::SealedRecord;
use crate::ops::metrics::catalogue::{LOG_PUBLISH, LOG_PUBLISH_SECONDS, LOG_QUEUE_BYTES};
use crate::tenant::Tenant;

/// Bytes that may wait in the producer's own queue; intake's budget of unanswered requests is the first limit.
const QUEUE_KIB: &str = "131072";
/// How often the brokers are asked whether they are there.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// librdkafka gives a record up within a second or two of its timeout. Whatever keeps it from saying so, no request waits
/// for longer than this beyond it.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

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
    /// Why a record would not be acknowledged, as far as the last probe or acknowledgement tells; `None`: it would be.
    trouble: ArcSwapOption<Trouble>,
}

/// Why the log takes nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    /// Nothing is known yet.
    #[error("it was not asked yet")]
    Unasked,
    /// It may come back by itself.
    #[error("{0}")]
    Away(String),
    /// A person has to do something.
    #[error(transparent)]
    Refuses(LogRefusal),
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
    /// Refused, and would be refused again.
    #[error("the log refused the record")]
    Refused(#[source] LogRefusal),
    /// Failed, or unreachable.
    #[error("the log failed to take the record")]
    Failed(#[source] KafkaError),
}

impl Publisher {
    /// Starts a producer. It does not wait for the brokers: see [`Publisher::is_available`].
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn start(settings: &LogSettings, timeout: Duration) -> Result<Self, KafkaError> {
        let producer = ArcSwap::from_pointee(producer(settings, timeout)?);
        let trouble = ArcSwapOption::from_pointee(Trouble::Unasked);
        start_counting();
        Ok(Self { shared: Arc::new(Shared { settings: settings.clone(), timeout, producer, trouble }) })
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
            Err(PublishError::QueueFull | PublishError::Refused(_) | PublishError::Failed(_)) => "failed",
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
        match tokio::time::timeout(self.shared.timeout + ANSWER_GRACE, delivery).await {
            Ok(Ok(Ok(_))) => {
                if self.shared.trouble.load().is_some() {
                    self.shared.trouble.store(None);
                }
                Ok(())
            }
            Ok(Ok(Err((error, _)))) => Err(self.failed(error, &producer)),
            // The producer was dropped with the record in its queue.
            Ok(Err(_)) => Err(PublishError::Failed(KafkaError::Canceled)),
            Err(_) => Err(PublishError::TimedOut),
        }
    }

    fn failed(&self, error: KafkaError, producer: &Arc<FutureProducer<Tracing>>) -> PublishError {
        let fatal = producer.client().fatal_error().map(|(code, _)| code);
        if fatal.is_some() {
            self.replace(producer, &error);
        }
        // What made the producer fail for good says more than that it has.
        let code = fatal.or(error.rdkafka_error_code());
        if let Some(refusal) = code.and_then(LogRefusal::of) {
            return PublishError::Refused(refusal);
        }
        match (error.rdkafka_error_code(), self.shared.trouble.load().as_deref()) {
            // librdkafka hopes that a topic which is not there is about to be.
            (Some(RDKafkaErrorCode::MessageTimedOut), Some(Trouble::Refuses(refusal))) => {
                PublishError::Refused(*refusal)
            }
            (Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut), _) => {
                PublishError::TimedOut
            }
            _ => PublishError::Failed(error),
        }
    }

    /// An idempotent producer that lost track of its sequence refuses everything from then on; a new one has a new
    /// identity. What the old one left unanswered is answered as failed, and the ids settle it.
    fn replace(&self, broken: &Arc<FutureProducer<Tracing>>, error: &KafkaError) {
        let (fresh, outcome) = match producer(&self.shared.settings, self.shared.timeout) {
            Ok(fresh) => (fresh, "the producer failed for good and was replaced"),
            Err(again) => {
                tracing::error!(%error, %again, "the producer failed for good; no new one could be made");
                return;
            }
        };
        let current = self.shared.producer.compare_and_swap(broken, Arc::new(fresh));
        // What made this one fail may be waiting for the next.
        if Arc::ptr_eq(&current, broken)
            && let Some(unwritten) = may_be_said(outcome)
        {
            tracing::error!(%error, unwritten, "{outcome}");
        }
    }

    /// Whether a batch would be acknowledged now, as far as the last probe or acknowledgement tells.
    pub fn is_available(&self) -> bool {
        self.shared.trouble.load().is_none()
    }

    /// Asks the brokers every two seconds whether the topic has a leader for every partition, until `stop`.
    pub async fn probe(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let publisher = self.clone();
            let asked = tokio::task::spawn_blocking(move || publisher.look());
            let trouble = asked.await.unwrap_or_else(|error| Some(Trouble::Away(error.to_string())));
            let before = self.shared.trouble.swap(trouble.clone().map(Arc::new));
            if before.as_deref() != trouble.as_ref() {
                let topic = &self.shared.settings.topic;
                match trouble {
                    None => tracing::warn!(log = "reachable", topic, "the log changed its condition"),
                    Some(trouble) => {
                        let reason = trouble.to_string();
                        tracing::warn!(log = "unreachable", reason, topic, "the log changed its condition");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PROBE_PERIOD) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Why a record would not be acknowledged now, as far as the brokers say.
    fn look(&self) -> Option<Trouble> {
        let producer = self.shared.producer.load_full();
        let away = |error: RDKafkaErrorCode| Trouble::Away(error.to_string());
        let metadata = match producer.client().fetch_metadata(Some(&self.shared.settings.topic), PROBE_PERIOD)
        {
            Ok(metadata) => metadata,
            Err(error) => {
                return Some(
                    error.rdkafka_error_code().map_or_else(|| Trouble::Away(error.to_string()), away),
                );
            }
        };
        let Some(topic) = metadata.topics().first() else {
            return Some(Trouble::Refuses(LogRefusal::NoTopic));
        };
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            return Some(LogRefusal::of(code).map_or_else(|| away(code), Trouble::Refuses));
        }
        let leaderless = topic.partitions().iter().find(|partition| partition.leader() < 0)?;
        Some(Trouble::Away(format!("partition {} has no leader", leaderless.id())))
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
    for (name, value) in [
        ("compression.codec", "lz4"),
        ("queue.buffering.max.ms", "2"),
        ("queue.buffering.max.kbytes", QUEUE_KIB),
    ] {
        default(&mut config, name, value);
    }
    config
        .set("request.required.acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2")
        .set("message.timeout.ms", timeout.as_millis().to_string())
        .create_with_context(Tracing)
}
