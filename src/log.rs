//! The record format, and the log that keeps what was accepted.

mod publisher;
pub mod record;

pub use publisher::{PublishError, Publisher};
pub use record::{RecordBuilder, SealedRecord};
