//! What becomes of each record that librdkafka was given: told to whoever published it, and counted.
//!
//! librdkafka carries a box of ours with every record and gives it back with the report of its delivery. So nothing is
//! looked up and no task waits: the report itself wakes the request.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::super::complaints::{trace_error, trace_log};
use super::super::refusal::LogRefusal;
use super::{PublishError, Trouble};
use crate::ops::metrics::catalogue::{LOG_PUBLISH, LOG_PUBLISH_SECONDS, LOG_QUEUE_BYTES};

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

struct Shared {
    /// Why a record would not be acknowledged, as far as the last probe or acknowledgement tells; `None`: it would be.
    trouble: ArcSwapOption<Trouble>,
    /// Why a producer failed for good, where that says more than that it has. Until a record is acknowledged the next one
    /// fails for the same reason.
    made_it_fail: ArcSwapOption<LogRefusal>,
    /// Handles, looked up once.
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
            let outcome = counter!(LOG_PUBLISH, "outcome" => label);
            outcome.increment(0);
            outcome
        };
        let queued_bytes = gauge!(LOG_QUEUE_BYTES);
        queued_bytes.increment(0);
        let shared = Shared {
            trouble: ArcSwapOption::from_pointee(Trouble::Unasked),
            made_it_fail: ArcSwapOption::empty(),
            queued_bytes,
            seconds: histogram!(LOG_PUBLISH_SECONDS),
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

    /// The log has the record.
    fn acknowledge(&self, pending: Pending) {
        if self.shared.trouble.load().is_some() {
            self.shared.trouble.store(None);
        }
        if self.shared.made_it_fail.load().is_some() {
            self.shared.made_it_fail.store(None);
        }
        self.finish(pending, Ok(()));
    }

    /// The log has it not, or has not said so.
    pub(super) fn fail(&self, pending: Pending, error: KafkaError) {
        self.finish(pending, Err(self.reason(error)));
    }

    fn finish(&self, pending: Pending, outcome: Result<(), PublishError>) {
        let Pending { told, started, bytes } = pending;
        self.shared.queued_bytes.decrement(bytes);
        self.shared.seconds.record(started.elapsed().as_secs_f64());
        let counter = match &outcome {
            Ok(()) => &self.shared.acked,
            Err(PublishError::TimedOut) => &self.shared.timed_out,
            Err(PublishError::QueueFull | PublishError::Refused(_) | PublishError::Failed(_)) => {
                &self.shared.failed
            }
        };
        counter.increment(1);
        told(outcome);
    }

    fn reason(&self, error: KafkaError) -> PublishError {
        let Some(code) = error.rdkafka_error_code() else { return PublishError::Failed(error) };
        if let Some(refusal) = LogRefusal::of(code) {
            return PublishError::Refused(refusal);
        }
        match code {
            RDKafkaErrorCode::QueueFull => PublishError::QueueFull,
            RDKafkaErrorCode::OperationTimedOut => PublishError::TimedOut,
            RDKafkaErrorCode::MessageTimedOut => match self.shared.trouble.load().as_deref() {
                // librdkafka hopes that a topic which is not there is about to be.
                Some(Trouble::Refuses(refusal)) => PublishError::Refused(*refusal),
                _ => PublishError::TimedOut,
            },
            // Of a producer that failed for good.
            RDKafkaErrorCode::Fatal | RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight => {
                match self.shared.made_it_fail.load().as_deref() {
                    Some(refusal) => PublishError::Refused(*refusal),
                    None => PublishError::Failed(error),
                }
            }
            _ => PublishError::Failed(error),
        }
    }

    /// A producer failed for good with this error.
    pub(super) fn failed_for_good(&self, code: RDKafkaErrorCode) {
        self.shared.made_it_fail.store(LogRefusal::of(code).map(Arc::new));
    }

    /// Whether the last probe or acknowledgement says that the log takes records.
    pub(super) fn is_available(&self) -> bool {
        self.shared.trouble.load().is_none()
    }

    /// Gives back what was said before.
    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) -> Option<Arc<Trouble>> {
        self.shared.trouble.swap(trouble.map(Arc::new))
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, pending: Box<Pending>) {
        match delivered {
            Ok(_) => self.acknowledge(*pending),
            Err((error, _)) => self.fail(*pending, error.clone()),
        }
    }
}

/// Sends librdkafka's own log to ours.
impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        trace_error(&error, reason);
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}
