//! Taking records of the assigned partitions, with their offsets.
//!
//! Where an assigned partition begins is for the consumer's owner to say, in its own time: nothing of it is read before.
//! Records that are handed over and not yet taken are charged to a budget of bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use super::Cause;
#[cfg(feature = "kafka")]
use super::kafka;
use super::local;

/// How long a revocation waits for open transactions to end. Loader transactions are bounded to 10 s themselves, and
/// a group waits longer for us.
pub(super) const REVOKE_GRACE: Duration = Duration::from_secs(30);
/// How soon room is looked for again.
const ROOM: Duration = Duration::from_millis(1);
/// What a record takes in memory beside its bytes, roughly: with it, any number of empty ones is bounded too.
const BESIDE_BYTES: usize = 512;

/// What the log hands over, in order.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are ours from now on, and are read as soon as [`Consumer::start_at`] says from where.
    Assigned(Assignment),
    /// One record of an assigned partition.
    Record(LogRecord),
    /// These partitions are another's as soon as the revocation is answered or dropped.
    Revoked(Revocation),
    /// A partition does not have what is to be read next, and is not read any further. Not every log says which one.
    OutOfRange,
}

/// Why records cannot be taken any more.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// This consumer could not join in the way that it tried; the next one tries another.
    #[error("the log does not know this way of joining; there is another")]
    OtherWay,
    /// Anything else that the log's client does not get over by itself.
    #[error("the log cannot be read any further")]
    Failed(#[source] Cause),
}

/// Partitions that were given to us. They are not read before [`Consumer::start_at`] answers, and no other assignment or
/// revocation comes before that.
#[derive(Debug)]
pub struct Assignment {
    /// Which.
    pub partitions: Vec<i32>,
    /// Counted by the log: an answer to an earlier one changes nothing.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "the embedded log assigns once"))]
    pub(super) number: u64,
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
    /// `rollbook.v1.Record`, unless somebody else wrote into the log.
    pub bytes: Vec<u8>,
    pub(super) _charge: Charge,
}

#[cfg(test)]
impl LogRecord {
    /// A record that no consumer took.
    pub(crate) fn for_tests(partition: i32, offset: i64, bytes: Vec<u8>) -> Self {
        Self { partition, offset, bytes, _charge: Taken::default().charge(0) }
    }
}

/// Partitions about to be taken away, and the last chance to commit for them.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<i32>,
    answer: std_mpsc::Sender<Vec<(i32, i64)>>,
}

/// What the owner says of partitions that it gives back: the next offset to read of each.
pub(super) type Released = std_mpsc::Receiver<Vec<(i32, i64)>>;

impl Revocation {
    pub(super) fn new(partitions: Vec<i32>) -> (Self, Released) {
        let (answer, answered) = std_mpsc::channel();
        (Self { partitions, answer }, answered)
    }

    /// Gives the partitions back, with the next offset to read of each, committed before they go.
    pub fn release(self, next_offsets: Vec<(i32, i64)>) {
        // The log stops waiting after its grace; then the work is repeated by the new owner, and nothing is lost.
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

/// The consuming end of the log. Dropping it gives the partitions back.
pub struct Consumer(pub(super) Of);

/// Of which log.
pub(super) enum Of {
    /// A member of a group.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Consumer),
    /// The only reader of this process's own log.
    Embedded(local::Consumer),
}

impl Consumer {
    /// The next delivery; `None` once the consumer has failed or was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.next().await,
            Of::Embedded(consumer) => consumer.next().await,
        }
    }

    /// The next delivery, if it is there already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.try_next(),
            Of::Embedded(consumer) => consumer.try_next(),
        }
    }

    /// Says where the partitions of an assignment begin: they are read from there. One that is named without an offset, or
    /// not at all, is read from its very beginning.
    pub fn start_at(&self, assignment: &Assignment, starts: &[Start]) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.start_at(assignment, starts),
            Of::Embedded(consumer) => consumer.start_at(assignment, starts),
        }
    }

    /// Tells the log the next offsets to read, without waiting for its answer. What it does not take is asked for again by
    /// the next call, which may have nothing new to say.
    pub fn commit(&self, next_offsets: &[(i32, i64)]) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.commit(next_offsets),
            Of::Embedded(consumer) => consumer.commit(next_offsets),
        }
    }

    /// Whether the log did not take a commit, which the next one will ask for again.
    pub fn has_commits_to_repeat(&self) -> bool {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.has_commits_to_repeat(),
            Of::Embedded(_) => false,
        }
    }

    /// First and next offset of each assigned partition, as of a second ago at most.
    pub fn ends(&self) -> Arc<HashMap<i32, PartitionEnds>> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.ends(),
            Of::Embedded(consumer) => consumer.ends(),
        }
    }

    /// Whether the log counts us in, as of a second ago: with partitions, or waiting for some.
    pub fn is_member(&self) -> bool {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.is_member(),
            Of::Embedded(_) => true,
        }
    }

    /// Takes no more records of a partition, until it is assigned again.
    pub fn stop_reading(&self, partition: i32) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.stop_reading(partition),
            Of::Embedded(consumer) => consumer.stop_reading(partition),
        }
    }

    /// Stops taking records. A last [`Delivery::Revoked`] follows, then `None`.
    pub fn close(&self) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.close(),
            Of::Embedded(consumer) => consumer.close(),
        }
    }

    /// Waits for the end of a consumer that was closed, or that handed over its last delivery.
    ///
    /// # Errors
    /// What made the consumer end, if it was not [`Consumer::close`].
    pub async fn ended(self) -> Result<(), ConsumeError> {
        match self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(consumer) => consumer.ended().await,
            Of::Embedded(consumer) => consumer.ended().await,
        }
    }
}

/// Bytes of records that are handed over and not yet dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    bytes: Arc<AtomicUsize>,
}

impl Taken {
    /// For a record of so many bytes, until the charge is dropped.
    pub(super) fn charge(&self, record_bytes: usize) -> Charge {
        let bytes = record_bytes + BESIDE_BYTES;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { taken: self.clone(), bytes }
    }

    /// Waits until there are fewer than the budget. Whoever takes the deliveries never waits for anything, so this is
    /// short.
    pub(super) fn wait_for_room(&self, budget_bytes: usize, is_over: impl Fn() -> bool) {
        while self.bytes.load(Ordering::Relaxed) >= budget_bytes && !is_over() {
            std::thread::sleep(ROOM);
        }
    }
}

/// Bytes charged to the budget until dropped.
#[derive(Debug)]
pub(super) struct Charge {
    taken: Taken,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.taken.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the owner answers when partitions are taken from it, within its grace.
pub(super) fn released(answered: &Released) -> Vec<(i32, i64)> {
    answered.recv_timeout(REVOKE_GRACE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_records_take_from_the_budget_until_they_are_dropped() {
        let taken = Taken::default();
        let charges: Vec<Charge> = (0..1000).map(|_| taken.charge(0)).collect();
        assert_eq!(taken.bytes.load(Ordering::Relaxed), 1000 * BESIDE_BYTES);
        drop(charges);
        assert_eq!(taken.bytes.load(Ordering::Relaxed), 0);
    }
}
