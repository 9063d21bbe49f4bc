//! The record format, and the log that keeps what was accepted.
//!
//! The interface is small: [`Publisher::publish`] a record and wait; take [`Delivery`]s of the assigned partitions with
//! their offsets from a [`Consumer`], told of assignment and revocation in between; [`Consumer::commit`] a low-water
//! mark. [`topic::ensure`] makes the log's topic, and a [`Scanner`] reads it as an onlooker.

mod kafka;
mod partitioning;
pub mod record;

pub use kafka::consumer::{
    Consumer, ConsumerSettings, Delivery, LogRecord, PartitionEnds, Revocation, Start,
};
pub use kafka::lag::lag_by_partition;
pub use kafka::publisher::{PublishError, Publisher};
pub use kafka::scan::{ScanError, Scanner, Stretch};
pub use kafka::topic;
pub use partitioning::partition_of;
pub use record::{RecordBuilder, SealedRecord};
