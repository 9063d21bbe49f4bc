//! Handing records to the log, which tells of each when it has it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

#[cfg(feature = "kafka")]
use super::kafka;
use super::local;
use super::{Cause, SealedRecord};
use crate::tenant::Tenant;

mod meter;

pub(super) use meter::Meter;
#[cfg(feature = "kafka")]
pub(super) use meter::Pending;

/// What the log calls once it has taken a record, or is known not to. It must neither wait nor work.
pub(super) type Told = Box<dyn FnOnce(Result<(), PublishError>) + Send + Sync>;

/// The log did not acknowledge a record. Unless it says otherwise it may hold it all the same: the ids settle that.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What waits to be written is as much as may wait: this does not.
    #[error("the log's send queue is full")]
    QueueFull,
    /// Not acknowledged in time.
    #[error("the log did not acknowledge in time")]
    TimedOut,
    /// Refused, and would be refused again.
    #[error("the log refused the record")]
    Refused(#[source] LogRefusal),
    /// The log is full or closed, and does not hold it.
    #[error("the log did not take the record")]
    NotTaken(#[source] Cause),
    /// Failed or unreachable.
    #[error("the log failed to take the record")]
    Failed(#[source] Cause),
}

/// Why the log refuses a record for good: the same record would be refused again until a person changes something. Its text is
/// for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LogRefusal {
    reason: &'static str,
    told: &'static str,
}

impl LogRefusal {
    /// Says this to operators, and that to clients.
    #[cfg_attr(
        not(feature = "kafka"),
        allow(dead_code, reason = "the embedded log refuses nothing for good")
    )]
    pub(crate) const fn new(reason: &'static str, told: &'static str) -> Self {
        Self { reason, told }
    }

    /// What a client may be told: nothing of it is the client's to mend, and nothing of it is a secret.
    pub fn told(self) -> &'static str {
        self.told
    }
}

/// The producing end of the log; cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher(pub(super) Of);

/// Of which log.
#[derive(Clone, Debug)]
pub(super) enum Of {
    /// A producer of ours.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Publisher),
    /// This process's own log.
    Embedded(local::Publisher),
}

impl Publisher {
    /// Publishes under the organization's slug. Once the log has the record as safely as it is configured to, or it is known
    /// that it will not, `told` is called with that: once, from the log's own thread or from within this call, so it must
    /// neither wait nor work. Nothing takes the record back.
    pub fn publish(
        &self,
        tenant: &Tenant,
        sealed: SealedRecord,
        told: impl FnOnce(Result<(), PublishError>) + Send + Sync + 'static,
    ) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(publisher) => publisher.publish(tenant, sealed, Box::new(told)),
            Of::Embedded(publisher) => publisher.publish(tenant, sealed, Box::new(told)),
        }
    }

    /// Within this time `told` is called. Whoever waits for it waits no longer, whatever keeps the log from saying so.
    pub fn longest_wait(&self) -> Duration {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(publisher) => publisher.longest_wait(),
            Of::Embedded(publisher) => publisher.longest_wait(),
        }
    }

    /// Why no batch would be acknowledged now, in words for an operator; `None`: one would be, as far as is known.
    pub fn trouble(&self) -> Option<String> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(publisher) => publisher.trouble(),
            Of::Embedded(publisher) => publisher.trouble(),
        }
    }

    /// Looks now and then whether a batch would be acknowledged, and says it when that changes, until `stop`.
    pub async fn probe(self, stop: CancellationToken) {
        match self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(publisher) => publisher.probe(stop).await,
            Of::Embedded(publisher) => publisher.probe(stop).await,
        }
    }

    /// Waits until everything handed over is acknowledged or has failed. Blocks: call it off the async threads.
    pub fn flush(&self, timeout: Duration) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(publisher) => publisher.flush(timeout),
            Of::Embedded(publisher) => publisher.flush(timeout),
        }
    }
}
