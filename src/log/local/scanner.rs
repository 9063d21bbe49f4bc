//! Looks at this process's own log.

use super::LocalLog;
use crate::log::embedded::ReadError;
use crate::log::{Go, PartitionEnds, ScanError, Stretch};

/// An onlooker.
pub(in crate::log) struct Scanner {
    log: LocalLog,
}

impl Scanner {
    pub(in crate::log) fn new(log: &LocalLog) -> Self {
        Self { log: log.clone() }
    }

    pub(in crate::log) fn partitions(&self) -> Vec<i32> {
        (0..self.log.partitions()).collect()
    }

    pub(in crate::log) fn ends_of(&self, partition: i32) -> Result<PartitionEnds, ScanError> {
        let none = || ScanError::Unreadable(format!("the log has no partition {partition}").into());
        self.log.ends_of(partition).ok_or_else(none)
    }

    pub(in crate::log) fn is_damaged(&self, partition: i32, offset: i64) -> bool {
        self.log.is_damaged(partition, offset)
    }

    pub(in crate::log) fn read_until(
        &self,
        stretches: &[Stretch],
        see: &mut dyn FnMut(i32, i64, &[u8]) -> Go,
    ) -> Result<(), ScanError> {
        stretches.iter().try_for_each(|stretch| self.read(*stretch, see))
    }

    /// What the log has forgotten meanwhile is passed over: whoever has to know asks for the ends again.
    fn read(&self, stretch: Stretch, see: &mut dyn FnMut(i32, i64, &[u8]) -> Go) -> Result<(), ScanError> {
        let Stretch { partition, mut from, to } = stretch;
        loop {
            let read = self
                .log
                .engine
                .read(partition, from, to, |offset, bytes| see(partition, offset, bytes) == Go::On);
            match read {
                Ok(()) => return Ok(()),
                Err(ReadError::Gone { start }) if start > from => from = start,
                Err(ReadError::Damaged { offset }) => return Err(ScanError::Damaged { partition, offset }),
                Err(error @ (ReadError::Gone { .. } | ReadError::Io(_))) => {
                    return Err(ScanError::Unreadable(error.into()));
                }
            }
        }
    }
}
