//! The thread that polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::group::Group;
use super::{Delivery, LogRecord, REVOKE_GRACE};

const POLL: Duration = Duration::from_millis(100);
/// How soon room is looked for again.
const ROOM: Duration = Duration::from_millis(1);
/// What a record takes in memory beside its bytes, roughly: with it, any number of empty ones is bounded too.
const BESIDE_BYTES: usize = 512;

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
    let taken = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Relaxed) {
        if let Some(error) = consumer.context().failed.get() {
            return Err(error.clone());
        }
        wait_for_room(&taken, budget_bytes, stop);
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

fn take(message: &BorrowedMessage<'_>, taken: &Arc<AtomicUsize>) -> LogRecord {
    let bytes = message.payload().unwrap_or_default().to_vec();
    let charge = Charge::new(taken, bytes.len());
    LogRecord { partition: message.partition(), offset: message.offset(), bytes, _charge: charge }
}

/// Whoever takes the deliveries never waits for anything, so this is short; pausing the partitions instead would throw
/// away what librdkafka has fetched.
fn wait_for_room(taken: &AtomicUsize, budget_bytes: usize, stop: &AtomicBool) {
    while taken.load(Ordering::Relaxed) >= budget_bytes && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(ROOM);
    }
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

/// Bytes charged to the budget until dropped.
#[derive(Debug)]
pub(super) struct Charge {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

impl Charge {
    /// For a record of so many bytes.
    pub(super) fn new(taken: &Arc<AtomicUsize>, record_bytes: usize) -> Self {
        let bytes = record_bytes + BESIDE_BYTES;
        taken.fetch_add(bytes, Ordering::Relaxed);
        Self { taken: Arc::clone(taken), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_records_take_from_the_budget_until_they_are_dropped() {
        let taken = Arc::default();
        let charges: Vec<Charge> = (0..1000).map(|_| Charge::new(&taken, 0)).collect();
        assert_eq!(taken.load(Ordering::Relaxed), 1000 * BESIDE_BYTES);
        drop(charges);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}
