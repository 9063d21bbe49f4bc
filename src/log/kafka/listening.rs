//! Why Kafka does not answer. A question that fails says "transport failure"; the reason, a certificate or a password,
//! librdkafka tells beside it, to whoever listens to the client's log and its queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::ProducerContext;

use super::ASK_TIMEOUT;
use super::complaints::{trace_error, trace_log};

/// How long one attempt may take before librdkafka is listened to again.
const ATTEMPT: Duration = Duration::from_millis(250);
const LISTEN: Duration = Duration::from_millis(10);

/// A client's context that listens; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Listening(Arc<Mutex<Heard>>);

/// The last trouble that librdkafka told of.
#[derive(Default)]
struct Heard {
    reason: Option<String>,
    /// Asking again will not help.
    is_for_good: bool,
}

/// Why a question has no answer.
pub(super) enum Unanswered {
    /// librdkafka told the reason.
    Because(String),
    /// It did not.
    Failed(KafkaError),
}

impl Listening {
    /// Asks the brokers for a topic until they answer, or it is known why they do not. `serve` takes what librdkafka has
    /// for the client, for so long. Blocks.
    pub(super) fn ask(
        &self,
        client: &Client<impl ClientContext>,
        topic: &str,
        serve: impl Fn(Duration),
    ) -> Result<Metadata, Unanswered> {
        let deadline = Instant::now() + ASK_TIMEOUT;
        loop {
            let error = match client.fetch_metadata(Some(topic), ATTEMPT) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            serve(LISTEN);
            let heard = self.heard();
            if heard.is_for_good || Instant::now() > deadline {
                return Err(heard
                    .reason
                    .as_deref()
                    .map_or(Unanswered::Failed(error), |reason| Unanswered::Because(with_a_guess(reason))));
            }
        }
    }

    /// What is wrong for good is not overlaid by the connection that was cut for it.
    fn hear(&self, reason: &str, is_for_good: bool) {
        let mut heard = self.heard();
        if is_for_good || !heard.is_for_good {
            *heard = Heard { reason: Some(reason.to_owned()), is_for_good };
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A broker that wants TLS or a login, and is met with neither, hangs up without a word.
fn with_a_guess(reason: &str) -> String {
    match reason.contains("closed by peer") {
        true => format!(
            "{reason}; perhaps it wants TLS or a login: `security.protocol` in ROLLBOOK_KAFKA_PROPERTIES"
        ),
        false => reason.to_owned(),
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A connection that breaks while it is made may be no error yet, and said here only.
        if facility == "FAIL" {
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            self.hear(reason, false);
        }
        trace_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Says how many there are, not what is wrong with them.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.hear(reason, true),
            _ => self.hear(reason, false),
        }
        trace_error(&error, reason);
    }
}

impl ProducerContext for Listening {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ConsumerContext for Listening {}
