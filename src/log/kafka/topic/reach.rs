//! The first question to Kafka, and why it is not answered.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::super::client_config;
use super::super::listening::{Listening, Unanswered};
use super::TopicError;
use crate::config::log::KafkaSettings;

/// What is known of a topic by its name alone.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) partitions: usize,
    /// Copies of the partition that has fewest.
    pub(super) copies: usize,
}

/// Asks for the topic; `None`: it is not there. Blocks.
pub(super) fn find(settings: &KafkaSettings) -> Result<Option<Found>, TopicError> {
    let listening = Listening::default();
    let config = client_config(settings);
    let client: BaseProducer<Listening> = config
        .create_with_context(listening.clone())
        .map_err(|source| TopicError::Kafka { doing: "making a client", source })?;
    let asked = listening.ask(client.client(), &settings.topic, |time| {
        client.poll(time);
    });
    let metadata = asked.map_err(|unanswered| match unanswered {
        Unanswered::Because(reason) => TopicError::Unreachable { reason },
        Unanswered::Failed(source) => TopicError::Kafka { doing: "asking for the topic", source },
    })?;
    let Some(topic) = metadata.topics().first() else { return Ok(None) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
        Some(code) => {
            let doing = "asking for the topic";
            return Err(TopicError::Kafka { doing, source: KafkaError::MetadataFetch(code) });
        }
    }
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
    Ok(Some(Found { partitions: topic.partitions().len(), copies: copies.unwrap_or_default() }))
}
