//! Why a record is not taken.

use std::io;
use std::sync::Arc;

/// Why a record was not appended. Only after [`AppendError::Disk`] it may be found in the log all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many bytes wait to be written.
    #[error("too much waits to be written to the log")]
    QueueFull,
    /// The log is as large as it may be, and its oldest records are not loaded yet.
    #[error("the log is full of records that are not loaded yet")]
    Full,
    /// The disk took it not; `ENOSPC` included.
    #[error("the log cannot be written")]
    Disk(#[source] Arc<io::Error>),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
    /// No log takes it: it is too long, or there is no such partition.
    #[error("a record of {bytes} bytes for partition {partition} is none for this log")]
    Unfit {
        /// The partition asked for.
        partition: i32,
        /// The record's length.
        bytes: usize,
    },
}

/// Why an append would be refused now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The log is as large as it may be, and its oldest records are not loaded yet.
    #[error("the log is full of records that are not loaded yet")]
    Full,
    /// The disk refuses.
    #[error("the log cannot be written: {0}")]
    Disk(Arc<io::Error>),
    /// The disk neither takes nor refuses what is written; it may yet.
    #[error("the log's disk does not answer: a write has taken more than {} s", super::LONGEST_WRITE.as_secs())]
    Hangs,
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}
