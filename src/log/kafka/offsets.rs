//! The offsets that the group keeps in Kafka, for others to look at: a loader begins at its anchors, never here.

use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

/// What to commit, as librdkafka wants it.
pub(super) fn to_commit(topic: &str, next_offsets: &[(i32, i64)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(next_offsets.len());
    for (partition, next_offset) in next_offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset))?;
    }
    Ok(list)
}
