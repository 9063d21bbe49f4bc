//! Hands records to Kafka and tells of each when Kafka has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio_util::sync::CancellationToken;

use delivery::Reports;

use super::complaints::may_be_said;
use super::refusal::{NO_TOPIC, refusal};
use super::{client_config, default};
use crate::config::log::KafkaSettings;
use crate::log::publish::Told;
use crate::log::{LogRefusal, SealedRecord};
use crate::tenant::Tenant;

mod delivery;

/// Bytes that may wait in the producer's own queue; intake's budget of unanswered requests is the first limit.
const QUEUE_KIB: &str = "131072";
/// How often the brokers are asked whether they are there.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// librdkafka gives a record up within a second or two of its timeout. Whatever keeps it from saying so, no request waits
/// for longer than this beyond it.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// The producing end of the log; cheap to clone.
#[derive(Clone)]
pub(in crate::log) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    settings: KafkaSettings,
    timeout: Duration,
    /// Replaced when librdkafka says that this one is beyond repair.
    producer: ArcSwap<ThreadedProducer<Reports>>,
    reports: Reports,
}

/// Why the log takes nothing, or not everything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    /// Nothing is known yet.
    #[error("it was not asked yet")]
    Unasked,
    /// It may come back by itself.
    #[error("{0}")]
    Away(String),
    /// Its records wait; those of other partitions are acknowledged all the same.
    #[error("partition {0} has no leader")]
    Leaderless(i32),
    /// A person has to do something.
    #[error(transparent)]
    Refuses(LogRefusal),
}

impl Trouble {
    /// Whether it keeps all records out of the log, and not those of some partitions.
    fn is_of_all(&self) -> bool {
        !matches!(self, Self::Leaderless(_))
    }
}

impl Publisher {
    /// Starts a producer. It does not wait for the brokers: see [`Publisher::trouble`].
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub(in crate::log) fn start(settings: &KafkaSettings, timeout: Duration) -> Result<Self, KafkaError> {
        let reports = Reports::new();
        let producer = ArcSwap::from_pointee(producer(settings, timeout, reports.clone())?);
        Ok(Self { shared: Arc::new(Shared { settings: settings.clone(), timeout, producer, reports }) })
    }

    /// The log has a record when every replica asked for has acknowledged it.
    pub(in crate::log) fn publish(&self, tenant: &Tenant, sealed: SealedRecord, told: Told) {
        let producer = self.shared.producer.load();
        let pending = self.shared.reports.begin(sealed.bytes.len(), told);
        // librdkafka makes a copy of its own, and ours ends here: two of each would wait for the log.
        let record = BaseRecord::with_opaque_to(&self.shared.settings.topic, pending)
            .key(tenant.slug().as_str())
            .payload(&sealed.bytes);
        let sent = match producer.send(record) {
            Err((_, record)) if self.replace_if_broken(&producer) => self.shared.producer.load().send(record),
            sent => sent,
        };
        if let Err((error, record)) = sent {
            self.shared.reports.fail(*record.delivery_opaque, error);
        }
    }

    pub(in crate::log) fn longest_wait(&self) -> Duration {
        self.shared.timeout + ANSWER_GRACE
    }

    /// An idempotent producer that lost track of its sequence refuses everything from then on; a new one has a new
    /// identity. What the old one left unanswered is answered as failed, and the ids settle it. False: this one works, or no
    /// other could be made.
    fn replace_if_broken(&self, producer: &Arc<ThreadedProducer<Reports>>) -> bool {
        let Some((code, error)) = producer.client().fatal_error() else { return false };
        self.shared.reports.failed_for_good(code);
        self.replace(Arc::clone(producer), &error)
    }

    fn replace(&self, broken: Arc<ThreadedProducer<Reports>>, error: &str) -> bool {
        let fresh = match producer(&self.shared.settings, self.shared.timeout, self.shared.reports.clone()) {
            Ok(fresh) => Arc::new(fresh),
            Err(again) => {
                tracing::error!(error, %again, "the producer failed for good; no new one could be made");
                return false;
            }
        };
        let current = self.shared.producer.compare_and_swap(&broken, Arc::clone(&fresh));
        let outcome = "the producer failed for good and was replaced";
        // What made this one fail may be waiting for the next.
        if Arc::ptr_eq(&current, &broken)
            && let Some(unwritten) = may_be_said(outcome)
        {
            tracing::error!(error, unwritten, "{outcome}");
        }
        let current = Guard::into_inner(current);
        // A producer's end waits for its thread: that of the broken one, or of ours if another one came first.
        tokio::task::spawn_blocking(move || drop((current, broken, fresh)));
        true
    }

    /// As far as the last probe or acknowledgement tells.
    pub(in crate::log) fn trouble(&self) -> Option<String> {
        self.shared.reports.trouble()
    }

    /// Asks the brokers every two seconds whether the topic has a leader for every partition, until `stop`.
    pub(in crate::log) async fn probe(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let publisher = self.clone();
            let asked = tokio::task::spawn_blocking(move || publisher.look());
            let trouble = asked.await.unwrap_or_else(|error| Some(Trouble::Away(error.to_string())));
            let before = self.shared.reports.set_trouble(trouble.clone());
            if before.as_deref() != trouble.as_ref() {
                let topic = &self.shared.settings.topic;
                match trouble {
                    None => tracing::info!(log = "reachable", topic, "the log changed its condition"),
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
        self.replace_if_broken(&self.shared.producer.load());
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
            return Some(Trouble::Refuses(NO_TOPIC));
        };
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            return Some(refusal(code).map_or_else(|| away(code), Trouble::Refuses));
        }
        let (led, leaderless): (Vec<_>, Vec<_>) =
            topic.partitions().iter().partition(|partition| partition.leader() >= 0);
        let first = leaderless.first()?.id();
        Some(if led.is_empty() {
            Trouble::Away("no partition has a leader".to_owned())
        } else {
            Trouble::Leaderless(first)
        })
    }

    pub(in crate::log) fn flush(&self, timeout: Duration) {
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

fn producer(
    settings: &KafkaSettings,
    timeout: Duration,
    reports: Reports,
) -> Result<ThreadedProducer<Reports>, KafkaError> {
    let mut config = client_config(settings);
    // Ours to default, the operator's to change. Without a pause to linger librdkafka's thread spins while requests are in
    // flight: see `docs/decisions/`.
    for (name, value) in [
        ("compression.codec", "lz4"),
        ("queue.buffering.max.ms", "1"),
        ("queue.buffering.max.kbytes", QUEUE_KIB),
    ] {
        default(&mut config, name, value);
    }
    config
        .set("request.required.acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2")
        .set("message.timeout.ms", timeout.as_millis().to_string())
        .create_with_context(reports)
}
