//! What becomes of each record that is handed to the log: told to whoever published it, and counted.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{PublishError, Told};
use crate::ops::metrics::catalogue::{LOG_PUBLISH, LOG_PUBLISH_SECONDS, LOG_QUEUE_BYTES};

/// A record on its way: who is told, and what is counted then.
pub(in crate::log) struct Pending {
    told: Told,
    started: Instant,
    bytes: f64,
}

/// Handles, looked up once.
pub(in crate::log) struct Meter {
    queued_bytes: Gauge,
    seconds: Histogram,
    acked: Counter,
    failed: Counter,
    timed_out: Counter,
}

impl Meter {
    /// All samples begin with the process: a first failure is then an increase, and a name that is not there a mistake.
    pub(in crate::log) fn new() -> Self {
        let outcome = |label| {
            let outcome = counter!(LOG_PUBLISH, "outcome" => label);
            outcome.increment(0);
            outcome
        };
        let queued_bytes = gauge!(LOG_QUEUE_BYTES);
        queued_bytes.increment(0);
        Self {
            queued_bytes,
            seconds: histogram!(LOG_PUBLISH_SECONDS),
            acked: outcome("acked"),
            failed: outcome("failed"),
            timed_out: outcome("timed_out"),
        }
    }

    /// A record of so many bytes is on its way.
    pub(in crate::log) fn begin(&self, bytes: usize, told: Told) -> Pending {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.queued_bytes.increment(bytes);
        Pending { told, started: Instant::now(), bytes }
    }

    /// The log has it, or is known not to.
    pub(in crate::log) fn finish(&self, pending: Pending, outcome: Result<(), PublishError>) {
        let Pending { told, started, bytes } = pending;
        self.queued_bytes.decrement(bytes);
        self.seconds.record(started.elapsed().as_secs_f64());
        let counter = match &outcome {
            Ok(()) => &self.acked,
            Err(PublishError::TimedOut) => &self.timed_out,
            Err(
                PublishError::QueueFull
                | PublishError::Refused(_)
                | PublishError::NotTaken(_)
                | PublishError::Failed(_),
            ) => &self.failed,
        };
        counter.increment(1);
        told(outcome);
    }
}
