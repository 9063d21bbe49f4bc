//! What a person with too many rights does to a topic.

use std::collections::HashMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Site, eventually};

const ASK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

impl Site {
    /// Deletes this site's topic and makes it anew, with as many partitions.
    pub(crate) async fn make_topic_anew(&self) {
        let (admin, partitions) = (self.log_admin(), self.log_ends().len());
        let deleted = admin.delete_topics(&[&self.database], &AdminOptions::new()).await;
        deleted.expect("an answer").pop().expect("one topic").expect("the topic is deleted");
        let partitions = i32::try_from(partitions).expect("few");
        let new = NewTopic::new(&self.database, partitions, TopicReplication::Fixed(1));
        // The broker remembers the name for a moment.
        eventually("the topic is made anew", async || {
            let made = admin.create_topics([&new], &AdminOptions::new()).await;
            made.expect("an answer").pop().expect("one topic").is_ok()
        })
        .await;
        eventually("the topic is empty", async || self.log_ends().values().all(|ends| *ends == (0, 0))).await;
    }

    /// Deletes every record that the topic has, as retention would.
    pub(crate) async fn drop_records(&self) {
        let mut below = TopicPartitionList::new();
        for (partition, (_, end)) in self.log_ends() {
            below.add_partition_offset(&self.database, partition, Offset::Offset(end)).expect("an offset");
        }
        let deleted = self.log_admin().delete_records(&below, &AdminOptions::new()).await;
        deleted.expect("records are deleted");
    }

    /// First and next offset of each partition.
    pub(crate) fn log_ends(&self) -> HashMap<i32, (i64, i64)> {
        let onlooker: BaseConsumer = self.log_client().create().expect("a client");
        let metadata = onlooker.fetch_metadata(Some(&self.database), ASK_TIMEOUT).expect("metadata");
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let ends = partitions.map(|partition| {
            let ends = onlooker.fetch_watermarks(&self.database, partition.id(), ASK_TIMEOUT);
            (partition.id(), ends.unwrap_or((-1, -1)))
        });
        ends.collect()
    }

    fn log_admin(&self) -> AdminClient<DefaultClientContext> {
        self.log_client().create().expect("a client")
    }

    fn log_client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}
