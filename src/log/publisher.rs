//! Hands records to Kafka and waits until it has them.

use super::SealedRecord;
use crate::tenant::Tenant;

/// The producing end of the log; cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {}

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
    Failed(#[source] rdkafka::error::KafkaError),
}

impl Publisher {
    /// Publishes under the organization's slug and waits for the acknowledgement of every replica asked for.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the record back.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, _tenant: &Tenant, _record: SealedRecord) -> Result<(), PublishError> {
        todo!()
    }

    /// Whether a batch would be acknowledged now, as far as we know without asking.
    pub fn is_available(&self) -> bool {
        todo!()
    }

    /// Waits until everything handed over is acknowledged or has failed. Blocks: call it off the async threads.
    pub fn flush(&self, _timeout: std::time::Duration) {
        todo!()
    }
}
