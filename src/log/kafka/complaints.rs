//! What librdkafka says, in our own log, at a bounded rate: while brokers are away each of its threads says so over and
//! over, of every client.

use std::time::Instant;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::ops::Complaints;

/// All clients of this process: they say the same.
static COMPLAINTS: Complaints = Complaints::now_and_then();

/// Sends a line of librdkafka's log to ours, unless one of its kind was said just now.
pub(super) fn trace_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if let RDKafkaLogLevel::Debug = level {
        // Only where an operator asks for it.
        tracing::debug!(facility, message, "librdkafka");
        return;
    }
    let Some(unwritten) = may_be_said(&format!("{facility} {message}")) else { return };
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, unwritten, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::info!(facility, message, unwritten, "librdkafka");
        }
    }
}

/// The same for an error that librdkafka tells of a client, or of a partition that it reads.
pub(super) fn trace_error(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return; // Asked for, and no error.
    }
    if let Some(unwritten) = may_be_said(&error.to_string()) {
        tracing::warn!(%error, reason, unwritten, "librdkafka");
    }
}

/// Whether something may be said now, and then how often it was not since it last was.
pub(super) fn may_be_said(what: &str) -> Option<u64> {
    COMPLAINTS.hear_text(what, Instant::now())
}
