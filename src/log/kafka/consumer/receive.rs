//! The thread that polls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::group::Group;
use crate::log::consume::{Delivery, LogRecord, REVOKE_GRACE, Taken};

const POLL: Duration = Duration::from_millis(100);

/// The receive loop. Ends when asked to, or with the error that makes going on pointless.
pub(super) fn receive(
    consumer: &BaseConsumer<Group>,
    stop: &AtomicBool,
    budget_bytes: usize,
) -> Result<(), KafkaError> {
    let ended = receive_until(consumer, stop, budget_bytes);
    consumer.context().close(consumer);
    ended?;
    // Leaving the group revokes what we have: the callback runs inside these polls.
    consumer.unsubscribe();
    let deadline = Instant::now() + REVOKE_GRACE;
    while Instant::now() < deadline && consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
        let _ = consumer.poll(POLL);
    }
    Ok(())
}

fn receive_until(
    consumer: &BaseConsumer<Group>,
    stop: &AtomicBool,
    budget_bytes: usize,
) -> Result<(), KafkaError> {
    let taken = Taken::default();
    while !stop.load(Ordering::Relaxed) {
        if let Some(error) = consumer.context().failed.get() {
            return Err(error.clone());
        }
        // Pausing the partitions instead would throw away what librdkafka has fetched.
        taken.wait_for_room(budget_bytes, || stop.load(Ordering::Relaxed));
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                let record = take(&message, &taken);
                if consumer.context().sender.send(Some(Delivery::Record(record))).is_err() {
                    break;
                }
            }
            Some(Err(error)) if is_out_of_range(&error) => {
                let _ = consumer.context().sender.send(Some(Delivery::OutOfRange));
            }
            // librdkafka gets over it by itself, and the group's context has said it.
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(())
}

fn take(message: &BorrowedMessage<'_>, taken: &Taken) -> LogRecord {
    let bytes = message.payload().unwrap_or_default().to_vec();
    let charge = taken.charge(bytes.len());
    LogRecord { partition: message.partition(), offset: message.offset(), bytes, _charge: charge }
}

/// The policy for a start that is not there is `error`: librdkafka says so and leaves the partition alone.
fn is_out_of_range(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset)
}

/// Trouble that librdkafka gets over by itself, as opposed to one that needs a person or another process.
fn is_passing(error: &KafkaError) -> bool {
    let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    let needs_a_person = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnsupportedVersion
                | RDKafkaErrorCode::UnsupportedFeature
        )
    );
    !is_fatal && !needs_a_person
}
