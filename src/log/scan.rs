//! Reading the log from one offset to another, as an onlooker: nothing is taken and nothing is committed.

use std::collections::HashMap;

#[cfg(feature = "kafka")]
use super::kafka;
use super::{Cause, PartitionEnds, local};

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
    /// The log refused, or is not reachable.
    #[error("the log cannot be read")]
    Unreadable(#[source] Cause),
    /// No broker can be asked anything.
    #[error("Kafka cannot be reached: {reason}")]
    Unreachable {
        /// As librdkafka tells it.
        reason: String,
    },
    /// Neither records nor an end came.
    #[error("the log stopped answering in partition {partition}")]
    Silent {
        /// Where it was to be read on.
        partition: i32,
    },
    /// It brought more before: a broker that leads the partition since just now may not have all of it yet.
    #[error(
        "partition {partition} ends at offset {next_offset} at present, below records that the log brought before"
    )]
    Short {
        /// Which.
        partition: i32,
        /// Right behind the last record that it brings.
        next_offset: i64,
    },
    /// What stands there is not what was written.
    #[error("the log is damaged at offset {offset} of partition {partition}")]
    Damaged {
        /// Where.
        partition: i32,
        /// The first record that is damaged or missing.
        offset: i64,
    },
    /// Whoever asked was stopped.
    #[error("reading the log was interrupted")]
    Interrupted,
}

/// A log that can be looked at; cheap to clone.
#[derive(Clone, Debug)]
pub struct Readable(pub(super) Of);

/// Which log.
#[derive(Clone, Debug)]
pub(super) enum Of {
    /// A topic.
    #[cfg(feature = "kafka")]
    Kafka(kafka::KafkaLog),
    /// This process's own log.
    Embedded(local::LocalLog),
    /// The log of another process, or of one that has ended.
    Elsewhere(local::Elsewhere),
}

impl Readable {
    /// Puts a question to the log, off the async threads.
    ///
    /// # Errors
    /// The question's own, and see [`ScanError`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scanner) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<T, ScanError> {
        let log = self.clone();
        let asking = tokio::task::spawn_blocking(move || question(&log.scanner()?));
        asking.await.unwrap_or(Err(ScanError::Interrupted))
    }

    /// An onlooker. Call it off the async threads.
    ///
    /// # Errors
    /// The log's client does not take the settings, or the log is not there.
    pub fn scanner(&self) -> Result<Scanner, ScanError> {
        let eye = match &self.0 {
            #[cfg(feature = "kafka")]
            Of::Kafka(log) => kafka::Scanner::new(log).map(Eye::Kafka),
            Of::Embedded(log) => Ok(Eye::Embedded(local::Scanner::new(log))),
            Of::Elsewhere(log) => log.scanner().map(|own| match own {
                local::ElsewhereScanner::Running(own) => Eye::Running(own),
                local::ElsewhereScanner::AtRest(own) => Eye::Embedded(own),
            }),
        };
        eye.map(Scanner)
    }
}

/// An onlooker of the log. Its methods block: call them off the async threads.
pub struct Scanner(Eye);

enum Eye {
    /// Of a topic.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Scanner),
    /// Of this process's own log, or of one that no process has open.
    Embedded(local::Scanner),
    /// Of the log of a process that runs. It tells of each record whose it is and which events it holds, and nothing that
    /// they say.
    Running(Box<local::RunningScanner>),
}

impl Scanner {
    /// First and next offset of every partition.
    ///
    /// # Errors
    /// The log does not answer, or is not there.
    pub fn ends(&self) -> Result<Vec<(i32, PartitionEnds)>, ScanError> {
        let partitions = match &self.0 {
            #[cfg(feature = "kafka")]
            Eye::Kafka(scanner) => scanner.partitions()?,
            Eye::Embedded(scanner) => scanner.partitions(),
            // One answer tells of all.
            Eye::Running(scanner) => return scanner.ends(),
        };
        partitions.into_iter().map(|partition| Ok((partition, self.ends_of(partition)?))).collect()
    }

    /// First and next offset of one partition.
    ///
    /// # Errors
    /// The log does not answer, or there is no such partition.
    pub fn ends_of(&self, partition: i32) -> Result<PartitionEnds, ScanError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Eye::Kafka(scanner) => Ok(scanner.ends_of(partition)?),
            Eye::Embedded(scanner) => scanner.ends_of(partition),
            Eye::Running(scanner) => scanner.ends_of(partition),
        }
    }

    /// Where the record that is to be read next is damaged or missing, if it is. Kafka looks after that by itself.
    ///
    /// # Errors
    /// The log does not answer.
    pub(super) fn damage_at(&self, partition: i32, offset: i64) -> Result<bool, ScanError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Eye::Kafka(_) => Ok(false),
            Eye::Embedded(scanner) => Ok(scanner.is_damaged(partition, offset)),
            Eye::Running(scanner) => scanner.is_damaged(partition, offset),
        }
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
        self.read_until(&stretches, &mut |partition, offset, _| {
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
        self.read_until(stretches, &mut |partition, offset, bytes| {
            see(partition, offset, bytes);
            Go::On
        })
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
        self.read_until(&[stretch], &mut |_, offset, bytes| {
            let go = see(offset, bytes);
            if go == Go::NoFurther {
                read_to = offset + 1;
            }
            go
        })?;
        Ok(read_to)
    }

    fn read_until(
        &self,
        stretches: &[Stretch],
        see: &mut dyn FnMut(i32, i64, &[u8]) -> Go,
    ) -> Result<(), ScanError> {
        match &self.0 {
            #[cfg(feature = "kafka")]
            Eye::Kafka(scanner) => scanner.read_until(stretches, see),
            Eye::Embedded(scanner) => scanner.read_until(stretches, see),
            Eye::Running(scanner) => scanner.read_until(stretches, see),
        }
    }
}
