//! What Kafka refuses for good: the same record would be refused again until a person changes something.

use rdkafka::error::RDKafkaErrorCode;

use crate::log::LogRefusal;

/// What clients are told where the log's settings are to blame.
const WRONG_SETTINGS: &str = "the log refuses this service's records until an operator changes its settings";

/// Larger than the topic or the producer takes.
const TOO_LARGE: LogRefusal = LogRefusal::new(
    "it takes no records of this size: raise `max.message.bytes` of the topic to what `rollbook setup` says is needed",
    "the log refuses records of this size until an operator raises its limit; smaller batches may pass",
);

/// Our principal may not write.
const NOT_AUTHORIZED: LogRefusal = LogRefusal::new(
    "it does not let us write: the principal needs WRITE and DESCRIBE on the topic, and IDEMPOTENT_WRITE on old brokers",
    "the log refuses this service's records until an operator authorizes it",
);

/// There is no such topic.
pub(super) const NO_TOPIC: LogRefusal =
    LogRefusal::new("the topic does not exist: `rollbook setup` makes it", "the log has not been set up yet");

/// A rule of the brokers.
const POLICY: LogRefusal = LogRefusal::new("a policy of the brokers forbids it", WRONG_SETTINGS);

/// Not a record as the topic wants them, such as one without a time, or uncompressed.
const INVALID: LogRefusal = LogRefusal::new(
    "it takes no records of this form: a setting of the topic asks for another one",
    WRONG_SETTINGS,
);

/// Why Kafka refuses for good; `None`: the error may pass by itself.
pub(super) fn refusal(code: RDKafkaErrorCode) -> Option<LogRefusal> {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge
        | RDKafkaErrorCode::InvalidMessageSize
        | RDKafkaErrorCode::MessageBatchTooLarge => Some(TOO_LARGE),
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
        | RDKafkaErrorCode::SaslAuthenticationFailed => Some(NOT_AUTHORIZED),
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => Some(NO_TOPIC),
        RDKafkaErrorCode::PolicyViolation => Some(POLICY),
        RDKafkaErrorCode::InvalidRecord
        | RDKafkaErrorCode::InvalidTimestamp
        | RDKafkaErrorCode::UnsupportedForMessageFormat
        | RDKafkaErrorCode::UnsupportedCompressionType => Some(INVALID),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_no_refusal() {
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::AllBrokersDown,
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
            RDKafkaErrorCode::LeaderNotAvailable,
            RDKafkaErrorCode::QueueFull,
            RDKafkaErrorCode::KafkaStorageError,
        ] {
            assert_eq!(refusal(code), None, "{code:?}");
        }
    }
}
