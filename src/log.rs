//! The record format, and the log that keeps what was accepted.
//!
//! The interface is small: [`Publisher::publish`] a record and be told; take [`Delivery`]s of the assigned partitions with
//! their offsets from a [`Consumer`], told of assignment and revocation in between; say with [`Consumer::start_at`] where
//! an assigned partition begins; [`Consumer::commit`] a low-water mark. [`topic::ensure`] makes the log's topic; a
//! [`Scanner`] reads it as an onlooker, and tells whether it is still the one that was loaded.

pub mod embedded;
mod kafka;
mod partitioning;
pub mod record;

pub use kafka::consumer::{
    Assignment, ConsumeError, Consumer, ConsumerSettings, Delivery, LogRecord, PartitionEnds, Revocation,
    Start,
};
pub use kafka::continuity::{Anchor, Discontinuity, Remembered};
pub use kafka::publisher::{PublishError, Publisher};
pub use kafka::refusal::LogRefusal;
pub use kafka::scan::{Go, ScanError, Scanner, Stretch};
pub use kafka::standing::{PartitionStanding, standings};
pub use kafka::topic;
pub use partitioning::partition_of;
pub use record::{RecordBuilder, SealedRecord};
