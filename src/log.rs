//! The record format, and the log that keeps what was accepted.
//!
//! The interface is small: [`Publisher::publish`] a record and be told; take [`Delivery`]s of the assigned partitions with
//! their offsets from a [`Consumer`], told of assignment and revocation in between; say with [`Consumer::start_at`] where
//! an assigned partition begins; [`Consumer::commit`] a low-water mark. A [`Scanner`] reads the log as an onlooker, and
//! tells whether it is still the one that was loaded. Two logs answer to it: a topic (`kafka`), and files of this
//! process's own (`embedded`, which `local` fits to the interface). Nothing outside this room knows which.

mod consume;
mod continuity;
pub mod embedded;
mod ensure;
#[cfg(feature = "kafka")]
mod kafka;
mod local;
mod partitioning;
mod publish;
pub mod record;
mod scan;
mod standing;

use std::time::Duration;

use crate::config::log::{ConsumeArgs, EmbeddedSettings, LogSettings};

pub use consume::{
    Assignment, ConsumeError, Consumer, Delivery, LogRecord, PartitionEnds, Revocation, Start,
};
pub use continuity::{Anchor, Discontinuity, Remembered};
pub use embedded::Outlook;
pub use ensure::{Difference, Ensured, ensure, hold_still, remove};
pub use local::Pages;
pub use partitioning::partition_of;
pub use publish::{LogRefusal, PublishError, Publisher};
pub use record::{RecordBuilder, SealedRecord};
pub use scan::{Go, Readable, ScanError, Scanner, Stretch};
pub use standing::{PartitionStanding, standings};

/// What a log's own client says went wrong.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LogError(Cause);

impl LogError {
    fn new(cause: impl Into<Cause>) -> Self {
        Self(cause.into())
    }

    /// Whether the folder of an embedded log is only in another process's hands.
    pub fn is_in_use(&self) -> bool {
        matches!(self.0.downcast_ref(), Some(embedded::OpenError::Locked { .. }))
    }
}

/// A log that is open; cheap to clone.
#[derive(Clone, Debug)]
pub struct Log(Of);

#[derive(Clone, Debug)]
enum Of {
    /// A topic, and the group that loads it.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaLog),
    /// This process's own.
    Embedded(local::LocalLog),
}

/// How records are taken.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// How the partitions of a topic are shared out.
    pub consume: ConsumeArgs,
    /// Bytes of records that are handed over and not yet dropped, over which no more are.
    pub budget_bytes: usize,
}

impl Log {
    /// Opens the log. Kafka is not waited for. May read for a while: call it off the async threads.
    ///
    /// # Errors
    /// The folder of an embedded log is another process's, or cannot be read.
    #[cfg_attr(not(feature = "kafka"), allow(unused_variables, reason = "it is a topic's"))]
    pub fn open(settings: &LogSettings, group: &str) -> Result<Self, LogError> {
        match settings {
            #[cfg(feature = "kafka")]
            LogSettings::Kafka(settings) => Ok(Self(Of::Kafka(kafka::KafkaLog::new(settings, group)))),
            #[cfg(not(feature = "kafka"))]
            LogSettings::Kafka(_) => Err(LogError::new(ensure::WithoutKafka)),
            LogSettings::Embedded(settings) => {
                local::LocalLog::open(settings).map(|log| Self(Of::Embedded(log))).map_err(LogError::new)
            }
        }
    }

    /// What opening an embedded log would come to, as long as no process has it open; nothing is changed, and nothing made.
    /// May read for a while: call it off the async threads.
    ///
    /// # Errors
    /// It could not be opened; or there is none, and this process could not make one.
    pub fn outlook(settings: &EmbeddedSettings) -> Result<Outlook, LogError> {
        local::LocalLog::outlook(settings).map_err(LogError::new)
    }

    /// The producing end. It does not wait for the log: see [`Publisher::trouble`]. A topic has a record acknowledged
    /// within `timeout`, or not at all.
    ///
    /// # Errors
    /// The log's client does not take the settings.
    pub fn publisher(&self, timeout: Duration) -> Result<Publisher, LogError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(log) => {
                let started = kafka::Publisher::start(log.settings(), timeout);
                started.map(|own| Publisher(publish::Of::Kafka(own))).map_err(LogError::new)
            }
            Of::Embedded(log) => {
                let _syncs_as_fast_as_the_disk = timeout;
                Ok(Publisher(publish::Of::Embedded(local::Publisher::new(log))))
            }
        }
    }

    /// The consuming end, which starts to take records.
    ///
    /// # Errors
    /// The log's client does not take the settings.
    pub fn consumer(&self, settings: &ConsumerSettings) -> Result<Consumer, LogError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(log) => kafka::Consumer::start(log, settings)
                .map(|own| Consumer(consume::Of::Kafka(own)))
                .map_err(LogError::new),
            Of::Embedded(log) => {
                let started = local::Consumer::start(log, settings.budget_bytes);
                started.map(|own| Consumer(consume::Of::Embedded(own))).map_err(LogError::new)
            }
        }
    }

    /// For onlookers.
    pub fn readable(&self) -> Readable {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(log) => Readable(scan::Of::Kafka(log.clone())),
            Of::Embedded(log) => Readable(scan::Of::Embedded(log.clone())),
        }
    }

    /// What the operator's listener tells of it to other processes; `None`: they can look for themselves.
    pub fn pages(&self) -> Option<Pages> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(_) => None,
            Of::Embedded(log) => Some(Pages::new(log)),
        }
    }

    /// Gives up what is damaged, for good, so that it is read on behind it. How many stretches that were.
    ///
    /// # Errors
    /// It could not be written down.
    pub fn give_up_damage(&self) -> Result<usize, LogError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(_) => Ok(0),
            Of::Embedded(log) => log.give_up_damage().map_err(LogError::new),
        }
    }

    /// Writes what waits and lets go of the log. Blocks: call it off the async threads.
    pub fn close(&self) {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(_) => {}
            Of::Embedded(log) => log.close(),
        }
    }
}

impl Readable {
    /// A log that another process has open, that many processes share, or that no process has open now.
    ///
    /// # Errors
    /// This build does not have such a log.
    pub fn of(settings: &LogSettings, group: &str, running: std::net::SocketAddr) -> Result<Self, LogError> {
        match settings {
            LogSettings::Kafka(_) => Ok(Log::open(settings, group)?.readable()),
            LogSettings::Embedded(settings) => {
                Ok(Self(scan::Of::Elsewhere(local::Elsewhere::new(running, &settings.folder))))
            }
        }
    }
}
