//! The offsets that the group keeps in Kafka, with the generation that they speak of.
//!
//! Kafka knows a topic by its name and gives a new one of that name the old offsets; so each commit says in its metadata
//! which generation of the log it is about, and one of another generation is no commit. One that says nothing was made
//! by a person's tool, for the log as it is.

use std::collections::HashMap;

use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

/// The start of a commit's metadata.
const GENERATION: &str = "generation=";

/// Where a group is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub next_offset: i64,
    /// Which life of the log it speaks of; `None`: it does not say.
    generation: Option<i32>,
}

impl Committed {
    /// The next offset to read, unless it is about another generation.
    pub fn in_generation(self, generation: i32) -> Option<i64> {
        (self.generation.unwrap_or(generation) == generation).then_some(self.next_offset)
    }
}

/// What to commit, as librdkafka wants it.
pub(super) fn to_commit(
    topic: &str,
    generation: i32,
    next_offsets: &[(i32, i64)],
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(next_offsets.len());
    for (partition, next_offset) in next_offsets {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(*next_offset))?;
        element.set_metadata(format!("{GENERATION}{generation}"));
    }
    Ok(list)
}

/// What such a list commits.
pub(super) fn next_offsets(list: &TopicPartitionList) -> Vec<(i32, i64)> {
    let elements = list.elements();
    let next_offsets = elements.iter().filter_map(|element| match element.offset() {
        Offset::Offset(next_offset) => Some((element.partition(), next_offset)),
        _ => None,
    });
    next_offsets.collect()
}

/// What Kafka says was committed, by partition.
pub(super) fn committed(list: &TopicPartitionList) -> HashMap<i32, Committed> {
    let elements = list.elements();
    let committed = elements.iter().filter_map(|element| {
        let Offset::Offset(next_offset) = element.offset() else { return None };
        let generation = element.metadata().strip_prefix(GENERATION).and_then(|text| text.parse().ok());
        Some((element.partition(), Committed { next_offset, generation }))
    });
    committed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_counts_in_its_own_generation_only() {
        let list = to_commit("events", 2, &[(0, 7)]).expect("a good list");
        let committed = committed(&list)[&0];
        assert_eq!((committed.in_generation(2), committed.in_generation(3)), (Some(7), None));
        let by_hand = Committed { next_offset: 7, generation: None };
        assert_eq!(by_hand.in_generation(3), Some(7));
    }
}
