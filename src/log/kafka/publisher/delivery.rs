//! What becomes of each record that librdkafka was given: told to whoever published it, and counted.
//!
//! librdkafka carries a box of ours with every record and gives it back with the report of its delivery. So nothing is
//! looked up and no task waits: the report itself wakes the request.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::super::complaints::{trace_error, trace_log};
use super::super::refusal::refusal;
use super::Trouble;
use crate::log::LogRefusal;
use crate::log::publish::{Meter, Pending, PublishError, Told};

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
    meter: Meter,
}

impl Reports {
    pub(super) fn new() -> Self {
        let shared = Shared {
            trouble: ArcSwapOption::from_pointee(Trouble::Unasked),
            made_it_fail: ArcSwapOption::empty(),
            meter: Meter::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A record of so many bytes is on its way.
    pub(super) fn begin(&self, bytes: usize, told: Told) -> Box<Pending> {
        Box::new(self.shared.meter.begin(bytes, told))
    }

    /// The log has the record, and so would have others; of a partition without a leader that says nothing.
    fn acknowledge(&self, pending: Pending) {
        if self.shared.trouble.load().as_deref().is_some_and(Trouble::is_of_all) {
            self.shared.trouble.store(None);
        }
        if self.shared.made_it_fail.load().is_some() {
            self.shared.made_it_fail.store(None);
        }
        self.shared.meter.finish(pending, Ok(()));
    }

    /// The log has it not, or has not said so.
    pub(super) fn fail(&self, pending: Pending, error: KafkaError) {
        self.shared.meter.finish(pending, Err(self.reason(error)));
    }

    fn reason(&self, error: KafkaError) -> PublishError {
        let Some(code) = error.rdkafka_error_code() else { return PublishError::Failed(error.into()) };
        if let Some(refused) = refusal(code) {
            return PublishError::Refused(refused);
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
                    None => PublishError::Failed(error.into()),
                }
            }
            _ => PublishError::Failed(error.into()),
        }
    }

    /// A producer failed for good with this error.
    pub(super) fn failed_for_good(&self, code: RDKafkaErrorCode) {
        self.shared.made_it_fail.store(refusal(code).map(Arc::new));
    }

    /// Why the log takes no records, not even those of some partitions, as far as the last probe or acknowledgement says.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.load();
        trouble.as_deref().filter(|trouble| trouble.is_of_all()).map(ToString::to_string)
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
