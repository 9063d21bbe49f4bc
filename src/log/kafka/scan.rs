//! Reads the topic from one offset to another, as an onlooker: no group is joined and nothing is committed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::listening::{Listening, Unanswered};
use super::{ASK_TIMEOUT, KafkaLog, client_config};
use crate::log::PartitionEnds;
use crate::log::scan::{Go, ScanError, Stretch};

const POLL: Duration = Duration::from_millis(100);
/// A log that says nothing for so long, neither a record nor that there is none, does not answer.
const SILENCE: Duration = Duration::from_secs(30);

/// An onlooker of the topic.
pub(in crate::log) struct Scanner {
    consumer: BaseConsumer<Listening>,
    listening: Listening,
    topic: String,
}

impl Scanner {
    /// Makes the client. The group is only asked after, never joined.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub(in crate::log) fn new(log: &KafkaLog) -> Result<Self, ScanError> {
        let listening = Listening::default();
        let consumer = client_config(&log.settings)
            .set("group.id", &*log.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // What retention takes while we read is found out by asking for the ends again.
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create_with_context(listening.clone())?;
        Ok(Self { consumer, listening, topic: log.settings.topic.clone() })
    }

    /// All that the topic has.
    pub(in crate::log) fn partitions(&self) -> Result<Vec<i32>, ScanError> {
        let asked = self.listening.ask(self.consumer.client(), &self.topic, |time| {
            // Whoever reads afterwards says where from.
            self.consumer.poll(time);
        });
        let metadata = asked.map_err(|unanswered| match unanswered {
            Unanswered::Because(reason) => ScanError::Unreachable { reason },
            Unanswered::Failed(error) => error.into(),
        })?;
        let topic = metadata.topics().first();
        Ok(topic.map_or(&[][..], |topic| topic.partitions()).iter().map(|partition| partition.id()).collect())
    }

    pub(in crate::log) fn ends_of(&self, partition: i32) -> Result<PartitionEnds, KafkaError> {
        let (start, end) = self.consumer.fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)?;
        Ok(PartitionEnds { start, end })
    }

    /// Gives every record of the stretches to `see`, until that has seen enough of a partition. In order within one.
    pub(in crate::log) fn read_until(
        &self,
        stretches: &[Stretch],
        see: &mut dyn FnMut(i32, i64, &[u8]) -> Go,
    ) -> Result<(), ScanError> {
        let mut open: HashMap<i32, i64> = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for stretch in stretches.iter().filter(|stretch| stretch.from < stretch.to) {
            open.insert(stretch.partition, stretch.to);
            assignment.add_partition_offset(&self.topic, stretch.partition, Offset::Offset(stretch.from))?;
        }
        self.consumer.assign(&assignment)?;
        // A partition that an earlier read has paused would stay so.
        self.consumer.resume(&assignment)?;
        let mut heard = Instant::now();
        while let Some(partition) = open.keys().next().copied() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(to) = open.get(&partition).copied() else { continue };
                    let go = match offset < to {
                        true => see(partition, offset, message.payload().unwrap_or_default()),
                        false => Go::NoFurther,
                    };
                    if matches!(go, Go::NoFurther) || offset + 1 >= to {
                        self.close(&mut open, partition)?;
                    }
                }
                // Also where the last offsets are no records but marks of the log's own.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    self.close(&mut open, partition)?;
                }
                // It was said by the client's context. librdkafka reconnects by itself; what it does not get over is
                // silence in the end.
                Some(Err(_)) => {}
                None => {}
            }
            if heard.elapsed() > SILENCE {
                return Err(ScanError::Silent { partition });
            }
        }
        self.consumer.unassign()?;
        Ok(())
    }

    /// Reads no further in a partition.
    fn close(&self, open: &mut HashMap<i32, i64>, partition: i32) -> Result<(), KafkaError> {
        if open.remove(&partition).is_some() {
            let mut done = TopicPartitionList::with_capacity(1);
            done.add_partition(&self.topic, partition);
            self.consumer.pause(&done)?;
        }
        Ok(())
    }
}

impl From<KafkaError> for ScanError {
    fn from(error: KafkaError) -> Self {
        Self::Unreadable(error.into())
    }
}
