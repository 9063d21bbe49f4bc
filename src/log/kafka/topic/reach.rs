//! The first question to Kafka, and why it is not answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::super::{ASK_TIMEOUT, client_config};
use super::TopicError;
use crate::config::log::KafkaSettings;

/// How long one attempt may take before librdkafka is listened to again.
const ATTEMPT: Duration = Duration::from_millis(250);
const LISTEN: Duration = Duration::from_millis(10);

/// What is known of a topic by its name alone.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) partitions: usize,
    /// Copies of the partition that has fewest.
    pub(super) copies: usize,
}

/// Asks for the topic; `None`: it is not there. Blocks.
pub(super) fn find(settings: &KafkaSettings) -> Result<Option<Found>, TopicError> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let config = client_config(settings);
    let client: BaseProducer<Listening> = config
        .create_with_context(Listening(Arc::clone(&heard)))
        .map_err(|source| TopicError::Kafka { doing: "making a client", source })?;
    let deadline = Instant::now() + ASK_TIMEOUT;
    let metadata = loop {
        match client.client().fetch_metadata(Some(&settings.topic), ATTEMPT) {
            Ok(metadata) => break metadata,
            Err(error) => {
                // librdkafka tells why through the client's queue only.
                client.poll(LISTEN);
                let heard = lock(&heard);
                if heard.is_for_good || Instant::now() > deadline {
                    return Err(match &heard.reason {
                        Some(reason) => TopicError::Unreachable { reason: reason.clone() },
                        None => TopicError::Kafka { doing: "asking for the topic", source: error },
                    });
                }
            }
        }
    };
    let Some(topic) = metadata.topics().first() else { return Ok(None) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
        Some(code) => {
            let doing = "asking for the topic";
            return Err(TopicError::Kafka { doing, source: KafkaError::MetadataFetch(code) });
        }
    }
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
    Ok(Some(Found { partitions: topic.partitions().len(), copies: copies.unwrap_or_default() }))
}

/// The last trouble that librdkafka told of.
#[derive(Debug, Default)]
struct Heard {
    reason: Option<String>,
    /// Asking again will not help.
    is_for_good: bool,
}

struct Listening(Arc<Mutex<Heard>>);

impl Listening {
    /// What is wrong for good is not overlaid by the connection that was cut for it.
    fn hear(&self, reason: &str, is_for_good: bool) {
        let mut heard = lock(&self.0);
        if is_for_good || !heard.is_for_good {
            *heard = Heard { reason: Some(reason.to_owned()), is_for_good };
        }
    }
}

impl ClientContext for Listening {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // A connection that breaks while it is made may be no error yet, and said here only.
        if facility == "FAIL" {
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            self.hear(reason, false);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Says how many there are, not what is wrong with them.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.hear(reason, true),
            _ => self.hear(reason, false),
        }
    }
}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
