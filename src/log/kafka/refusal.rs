//! What the log refuses for good: the same record would be refused again until a person changes something.

use rdkafka::error::RDKafkaErrorCode;

/// Why the log refuses a record. The text is for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogRefusal {
    /// Larger than the topic or the producer takes.
    #[error(
        "it takes no records of this size: raise `max.message.bytes` of the topic to what `rollbook setup` says is needed"
    )]
    TooLarge,
    /// Our principal may not write.
    #[error(
        "it does not let us write: the principal needs WRITE and DESCRIBE on the topic, and IDEMPOTENT_WRITE on old brokers"
    )]
    NotAuthorized,
    /// There is no such topic.
    #[error("the topic does not exist: `rollbook setup` makes it")]
    NoTopic,
    /// A rule of the brokers.
    #[error("a policy of the brokers forbids it")]
    Policy,
    /// Not a record as the topic wants them, such as one without a time, or uncompressed.
    #[error("it takes no records of this form: a setting of the topic asks for another one")]
    Invalid,
}

impl LogRefusal {
    /// Whether an error is one that waiting does not mend. Every other may pass by itself.
    pub(super) fn of(code: RDKafkaErrorCode) -> Option<Self> {
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge => Some(Self::TooLarge),
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed => Some(Self::NotAuthorized),
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition => Some(Self::NoTopic),
            RDKafkaErrorCode::PolicyViolation => Some(Self::Policy),
            RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::UnsupportedForMessageFormat
            | RDKafkaErrorCode::UnsupportedCompressionType => Some(Self::Invalid),
            _ => None,
        }
    }

    /// What a client may be told: nothing of it is the client's to mend, and nothing of it is a secret.
    pub fn told(self) -> &'static str {
        match self {
            Self::TooLarge => {
                "the log refuses records of this size until an operator raises its limit; smaller batches may pass"
            }
            Self::NotAuthorized => "the log refuses this service's records until an operator authorizes it",
            Self::NoTopic => "the log has not been set up yet",
            Self::Policy | Self::Invalid => {
                "the log refuses this service's records until an operator changes its settings"
            }
        }
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
            assert_eq!(LogRefusal::of(code), None, "{code:?}");
        }
    }
}
