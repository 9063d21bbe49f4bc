//! What becomes of each record that librdkafka was given: told to whoever published it, and counted.
//!
//! librdkafka carries a box of ours with every record and gives it back with the report of its delivery. So nothing is
//! looked up and no task waits: the report itself wakes the request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::{PublishError, trace_librdkafka};

/// Who is told, and what is counted then.
pub(super) struct Pending {
    told: Box<dyn FnOnce(Result<(), PublishError>) + Send + Sync>,
    started: Instant,
    bytes: f64,
}

/// Takes librdkafka's reports, of this producer and of any that replaces it; cheap to clone.
#[derive(Clone)]
pub(super) struct Reports {
    shared: Arc<Shared>,
}

/// Handles, looked up once.
struct Shared {
    available: AtomicBool,
    queued_bytes: Gauge,
    seconds: Histogram,
    acked: Counter,
    failed: Counter,
    timed_out: Counter,
}

impl Reports {
    /// All samples begin with the process: a first failure is then an increase, and a name that is not there a mistake.
    pub(super) fn new() -> Self {
        let outcome = |label| {
            let outcome = counter!("rollbook_log_publish_total", "outcome" => label);
            outcome.increment(0);
            outcome
        };
        let queued_bytes = gauge!("rollbook_log_queue_bytes");
        queued_bytes.increment(0);
        let shared = Shared {
            available: AtomicBool::new(false),
            queued_bytes,
            seconds: histogram!("rollbook_log_publish_seconds"),
            acked: outcome("acked"),
            failed: outcome("failed"),
            timed_out: outcome("timed_out"),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A record of so many bytes is on its way.
    pub(super) fn begin(
        &self,
        bytes: usize,
        told: impl FnOnce(Result<(), PublishError>) + Send + Sync + 'static,
    ) -> Box<Pending> {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.shared.queued_bytes.increment(bytes);
        Box::new(Pending { told: Box::new(told), started: Instant::now(), bytes })
    }

    /// It is known what became of it.
    pub(super) fn finish(&self, pending: Pending, outcome: Result<(), PublishError>) {
        let Pending { told, started, bytes } = pending;
        self.shared.queued_bytes.decrement(bytes);
        self.shared.seconds.record(started.elapsed().as_secs_f64());
        let counter = match &outcome {
            Ok(()) => &self.shared.acked,
            Err(PublishError::TimedOut) => &self.shared.timed_out,
            Err(PublishError::QueueFull | PublishError::Failed(_)) => &self.shared.failed,
        };
        counter.increment(1);
        told(outcome);
    }

    /// Whether the last probe or acknowledgement says that the log takes records.
    pub(super) fn is_available(&self) -> bool {
        self.shared.available.load(Ordering::Relaxed)
    }

    /// Gives back what was said before.
    pub(super) fn set_available(&self, available: bool) -> bool {
        self.shared.available.swap(available, Ordering::Relaxed)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, pending: Box<Pending>) {
        let outcome = match delivered {
            Ok(_) => {
                self.shared.available.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err((error, _)) => Err(error.clone().into()),
        };
        self.finish(*pending, outcome);
    }
}

/// Sends librdkafka's own log to ours.
impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_librdkafka(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "librdkafka");
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}
