//! What a person with too many rights does to a topic.

use std::collections::HashMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use prost::Message as _;
use rollbook::config::log::KafkaSettings;
use rollbook::event::{UnixMillis, proto};
use rollbook::log::record::FORMAT;
use uuid::Uuid;

use super::{Site, eventually};

const ASK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

impl Site {
    /// Deletes this site's topic and makes it anew, with as many partitions.
    pub(crate) async fn make_topic_anew(&self) {
        let (admin, partitions) = (self.log_admin(), self.log_ends().len());
        self.delete_topic().await;
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

    /// Writes two records into a partition in a transaction that is then taken back: three offsets without a record, for
    /// the mark at the end takes one, too.
    pub(crate) async fn withdraw_two_records(&self, partition: i32) {
        let mut config = self.log_client();
        config.set("transactional.id", &self.database);
        let topic = self.database.clone();
        let withdrawing = tokio::task::spawn_blocking(move || {
            let guest: FutureProducer = config.create().expect("a client");
            guest.init_transactions(ASK_TIMEOUT).expect("transactions");
            guest.begin_transaction().expect("a transaction");
            for _ in 0..2 {
                let record = FutureRecord::<(), _>::to(&topic).partition(partition).payload("withdrawn");
                drop(guest.send_result(record).expect("room for it"));
            }
            guest.flush(ASK_TIMEOUT).expect("they are in the log");
            guest.abort_transaction(ASK_TIMEOUT).expect("they are taken back");
        });
        withdrawing.await.expect("no panic");
    }

    /// A record of an organization with one event, as intake writes it.
    pub(crate) async fn record_of(&self, slug: &str) -> proto::Record {
        let id =
            self.texts(&format!("SELECT id::text FROM rollbook.organization WHERE slug = '{slug}'")).await;
        let bytes = |id: Uuid| bytes::Bytes::copy_from_slice(id.as_bytes());
        let now = UnixMillis::now().0;
        let event = proto::RecordEvent {
            event_id: bytes(Uuid::now_v7()),
            r#type: "video.played".to_owned(),
            session_id: "s".to_owned(),
            viewer_id: "v".to_owned(),
            content_id: "c".to_owned(),
            occurred_at_ms: now,
            client_occurred_at_ms: now,
            ..Default::default()
        };
        proto::Record {
            organization_id: bytes(id[0].parse().expect("a UUID")),
            record_id: bytes(Uuid::now_v7()),
            request_id: bytes(Uuid::now_v7()),
            received_at_ms: now,
            events: vec![event],
            format: FORMAT,
            span: bytes::Bytes::new(),
        }
    }

    /// Writes a record of an organization, as intake would, whatever it says.
    pub(crate) async fn write_record(&self, slug: &str, record: &proto::Record) {
        let mut config = self.log_client();
        let producer: FutureProducer =
            config.set("partitioner", "murmur2_random").create().expect("a client");
        let bytes = record.encode_to_vec();
        let written =
            producer.send(FutureRecord::to(&self.database).key(slug).payload(&bytes), ASK_TIMEOUT).await;
        written.expect("Kafka takes it");
    }

    /// Adds partitions, up to so many.
    pub(crate) async fn widen_topic(&self, partitions: usize) {
        let more = [NewPartitions::new(&self.database, partitions)];
        let made = self.log_admin().create_partitions(&more, &AdminOptions::new()).await;
        let made = made.expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes this site's topic.
    pub(crate) async fn delete_topic(&self) {
        let deleted = self.log_admin().delete_topics(&[&self.database], &AdminOptions::new()).await;
        deleted.expect("an answer").pop().expect("one topic").expect("the topic is deleted");
        eventually("the topic is gone", async || self.log_ends().is_empty()).await;
    }

    /// The log, for who uses its room and not the program.
    pub(crate) fn log(&self) -> KafkaSettings {
        KafkaSettings { brokers: self.brokers.clone(), topic: self.database.clone(), properties: Vec::new() }
    }

    /// Where the loaders' group goes on in a partition, by what it has told Kafka.
    pub(crate) async fn committed(&self, partition: i32) -> Option<i64> {
        let (mut config, group, topic) = (self.log_client(), self.database.clone(), self.database.clone());
        let asking = tokio::task::spawn_blocking(move || {
            let onlooker: BaseConsumer = config.set("group.id", &group).create().expect("a client");
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&topic, partition);
            onlooker.committed_offsets(asked, ASK_TIMEOUT).expect("Kafka answers")
        });
        let committed = asking.await.expect("no panic");
        let offset = committed.elements().first().map(|element| element.offset());
        offset.and_then(
            |offset| if let Offset::Offset(next_offset) = offset { Some(next_offset) } else { None },
        )
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
