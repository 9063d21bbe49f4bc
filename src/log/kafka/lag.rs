//! How far the loaders are behind the log, as the log itself tells it.

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::{ASK_TIMEOUT, client_config};
use crate::config::log::LogSettings;

/// Records of each partition that the group has not committed yet, in the order of the partitions.
///
/// # Errors
/// Kafka does not answer, or there is no such topic.
pub async fn lag_by_partition(settings: &LogSettings, group: &str) -> Result<Vec<u64>, KafkaError> {
    let (settings, group) = (settings.clone(), group.to_owned());
    let asking = tokio::task::spawn_blocking(move || ask(&settings, &group));
    asking.await.unwrap_or(Err(KafkaError::Canceled))
}

fn ask(settings: &LogSettings, group: &str) -> Result<Vec<u64>, KafkaError> {
    // Never subscribes, so it never becomes a member of the group.
    let consumer: BaseConsumer = client_config(settings).set("group.id", group).create()?;
    let metadata = consumer.fetch_metadata(Some(&settings.topic), ASK_TIMEOUT)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut asked = TopicPartitionList::with_capacity(partitions);
    let numbers = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
    for number in numbers.clone() {
        asked.add_partition(&settings.topic, number);
    }
    let committed = consumer.committed_offsets(asked, ASK_TIMEOUT)?;
    numbers
        .map(|number| {
            let (start, end) = consumer.fetch_watermarks(&settings.topic, number, ASK_TIMEOUT)?;
            let next = match committed.find_partition(&settings.topic, number).map(|found| found.offset()) {
                Some(Offset::Offset(next)) => next,
                _ => start,
            };
            Ok((end - next).max(0).unsigned_abs())
        })
        .collect()
}
