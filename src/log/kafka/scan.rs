//! Reads the topic from one offset to another, as an onlooker: no group is joined and nothing is committed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::complaints::Tracing;
use super::consumer::PartitionEnds;
use super::{ASK_TIMEOUT, client_config};
use crate::config::log::LogSettings;

const POLL: Duration = Duration::from_millis(100);
/// A log that says nothing for so long, neither a record nor that there is none, does not answer.
const SILENCE: Duration = Duration::from_secs(30);

/// An onlooker of the log. Its methods block: call them off the async threads.
pub struct Scanner {
    consumer: BaseConsumer<Tracing>,
    topic: String,
}

/// Offsets of one partition, the first included and the last not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The partition.
    pub partition: i32,
    /// The first offset to read.
    pub from: i64,
    /// The first offset not to read.
    pub to: i64,
}

/// Whether a partition is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// It is.
    On,
    /// This is enough of it.
    NoFurther,
}

/// Why a stretch was not read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Kafka refused, or is not reachable.
    #[error("the log cannot be read")]
    Kafka(#[from] KafkaError),
    /// Neither records nor an end came.
    #[error("the log stopped answering in partition {partition}")]
    Silent {
        /// Where it was to be read on.
        partition: i32,
    },
}

impl Scanner {
    /// Makes the client. `group` is only asked after, never joined.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(settings: &LogSettings, group: &str) -> Result<Self, ScanError> {
        let consumer = client_config(settings)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // What retention takes while we read is found out by asking for the ends again.
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create_with_context(Tracing)?;
        Ok(Self { consumer, topic: settings.topic.clone() })
    }

    /// Puts a question to an onlooker made for it, off the async threads.
    ///
    /// # Errors
    /// Those of [`Scanner::new`] and of the question.
    pub async fn ask<T: Send + 'static>(
        settings: &LogSettings,
        group: &str,
        question: impl FnOnce(&Self) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<T, ScanError> {
        let (settings, group) = (settings.clone(), group.to_owned());
        let asking = tokio::task::spawn_blocking(move || question(&Self::new(&settings, &group)?));
        asking.await.unwrap_or(Err(KafkaError::Canceled.into()))
    }

    /// First and next offset of every partition.
    ///
    /// # Errors
    /// Kafka does not answer, or there is no such topic.
    pub fn ends(&self) -> Result<Vec<(i32, PartitionEnds)>, ScanError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ASK_TIMEOUT)?;
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        let mut ends = Vec::with_capacity(partitions.len());
        for partition in partitions {
            ends.push((partition.id(), self.ends_of(partition.id())?));
        }
        Ok(ends)
    }

    /// First and next offset of one partition.
    ///
    /// # Errors
    /// Kafka does not answer, or there is no such partition.
    pub fn ends_of(&self, partition: i32) -> Result<PartitionEnds, ScanError> {
        let (start, end) = self.consumer.fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)?;
        Ok(PartitionEnds { start, end })
    }

    /// Where the next record at or behind each offset stands: there, further on, or not at all yet, which is the end of
    /// what can be read. Offsets in between are no records: marks that end a transaction, records that were withdrawn
    /// or compacted away.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn next_records(&self, next_offsets: &[(i32, i64)]) -> Result<HashMap<i32, i64>, ScanError> {
        let mut stretches = Vec::with_capacity(next_offsets.len());
        for (partition, from) in next_offsets {
            let ends = self.ends_of(*partition)?;
            // What retention takes is a loss, and no gap.
            if (ends.start..=ends.end).contains(from) {
                stretches.push(Stretch { partition: *partition, from: *from, to: ends.end });
            }
        }
        let mut next: HashMap<i32, i64> =
            stretches.iter().map(|stretch| (stretch.partition, stretch.to)).collect();
        self.read_until(&stretches, |partition, offset, _| {
            next.insert(partition, offset);
            Go::NoFurther
        })?;
        Ok(next)
    }

    /// Gives every record of the stretches to `see`: partition, offset, bytes. In order within a partition.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn read(&self, stretches: &[Stretch], mut see: impl FnMut(i32, i64, &[u8])) -> Result<(), ScanError> {
        self.read_until(stretches, |partition, offset, bytes| {
            see(partition, offset, bytes);
            Go::On
        })
    }

    /// The same until `see` has seen enough of a partition.
    fn read_until(
        &self,
        stretches: &[Stretch],
        mut see: impl FnMut(i32, i64, &[u8]) -> Go,
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

    /// Gives the records of one stretch to `see`, until it has seen enough. Gives back how far was read.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn read_some(
        &self,
        stretch: Stretch,
        mut see: impl FnMut(i64, &[u8]) -> Go,
    ) -> Result<i64, ScanError> {
        let mut read_to = stretch.to;
        self.read_until(&[stretch], |_, offset, bytes| {
            let go = see(offset, bytes);
            if go == Go::NoFurther {
                read_to = offset + 1;
            }
            go
        })?;
        Ok(read_to)
    }

    /// Reads no further in a partition.
    fn close(&self, open: &mut HashMap<i32, i64>, partition: i32) -> Result<(), ScanError> {
        if open.remove(&partition).is_some() {
            let mut done = TopicPartitionList::with_capacity(1);
            done.add_partition(&self.topic, partition);
            self.consumer.pause(&done)?;
        }
        Ok(())
    }
}
