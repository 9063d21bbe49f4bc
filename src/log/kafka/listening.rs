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

/// How librdkafka words the end of a connection that the broker closed: by where it reads it, and by what the system
/// calls it there (`rdkafka_transport.c`, `rdkafka_ssl.c`, `rdkafka_broker.c`).
const HUNG_UP: [&str; 5] =
    ["Disconnected", "closed by peer", "reset by peer", "Broken pipe", "SSL transport error"];

/// A broker hangs up without a word on a client that speaks TLS to a listener without it, or the other way round. librdkafka
/// itself guesses in some of these places only.
fn with_a_guess(reason: &str) -> String {
    if !HUNG_UP.iter().any(|wording| reason.contains(wording)) {
        return reason.to_owned();
    }
    let guess = match reason.contains("SSL_HANDSHAKE") {
        true => "perhaps it is a PLAINTEXT listener, or wants a certificate of the client",
        false => "perhaps it wants TLS or a login",
    };
    format!("{reason}; {guess}: `security.protocol` in ROLLBOOK_KAFKA_PROPERTIES")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_hung_up_on_reads_what_to_look_at_in_each_of_librdkafkas_wordings() {
        let tls_to_plain = [
            "ssl://a:1/bootstrap: Disconnected: during SSL connection handshake (after 0ms in state SSL_HANDSHAKE)",
            "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: connection reset by peer: connecting to a \
             PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
            "ssl://a:1/bootstrap: SSL handshake failed: SSL transport error: Broken pipe (after 1ms in state \
             SSL_HANDSHAKE)",
            "ssl://a:1/bootstrap: Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)",
            "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a \
             PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
        ];
        for reason in tls_to_plain {
            assert!(with_a_guess(reason).contains("perhaps it is a PLAINTEXT listener"), "{reason}");
        }
        for ending in ["Disconnected: connection closed by peer", "Receive failed: Connection reset by peer"]
        {
            let plain_to_tls = format!("a:1/bootstrap: {ending} (after 0ms in state APIVERSION_QUERY)");
            assert!(with_a_guess(&plain_to_tls).contains("perhaps it wants TLS"), "{ending}");
        }
    }

    #[test]
    fn what_says_it_all_is_left_as_it_is() {
        let refused = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(with_a_guess(refused), refused);
    }
}
