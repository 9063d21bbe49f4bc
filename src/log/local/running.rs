//! Looks at the log of a process that runs, through its operator's listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::runtime::Handle;

use super::pages::{ENDS, PartEnd, Partition, RECORDS, take};
use crate::log::{Go, PartitionEnds, ScanError, Stretch};
use crate::ops::AdminClient;
use crate::ops::client::{AnswerLimits, NoAnswer};

/// A part is read from disk. None is larger: it is over behind the record that makes it too large.
const LIMITS: AnswerLimits = AnswerLimits { patience: Duration::from_secs(30), most_bytes: 64 * 1024 * 1024 };

/// An onlooker.
pub(in crate::log) struct RunningScanner {
    addr: SocketAddr,
    process: AdminClient,
    runtime: Handle,
}

/// Why the process did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("no process answers at {0} (ROLLBOOK_ADMIN_ADDR)")]
    Nobody(SocketAddr, #[source] hyper_util::client::legacy::Error),
    #[error("what answers at {0} (ROLLBOOK_ADMIN_ADDR) has no embedded log open")]
    NoLog(SocketAddr),
    #[error("the process at {0} does not answer in time")]
    Slow(SocketAddr),
    #[error("the process at {addr} says {status}: {said}")]
    Refused { addr: SocketAddr, status: StatusCode, said: String },
    #[error("the answer of {0} cannot be read")]
    Unreadable(SocketAddr),
}

impl Unanswered {
    fn new(addr: SocketAddr, error: NoAnswer) -> Self {
        match error {
            NoAnswer::Nobody(error) => Self::Nobody(addr, error),
            NoAnswer::Slow => Self::Slow(addr),
            NoAnswer::Unreadable(_) => Self::Unreadable(addr),
        }
    }

    /// Whether no process is there that has such a log open, as far as this shows.
    pub(super) fn has_no_log(&self) -> bool {
        match self {
            Self::Nobody(..) | Self::NoLog(_) => true,
            Self::Slow(_) | Self::Refused { .. } | Self::Unreadable(_) => false,
        }
    }
}

impl From<Unanswered> for ScanError {
    fn from(error: Unanswered) -> Self {
        Self::Unreadable(error.into())
    }
}

impl RunningScanner {
    /// Call it on a thread of the runtime that may block.
    ///
    /// # Errors
    /// No process is there, or it has no such log.
    pub(super) fn new(addr: SocketAddr) -> Result<Self, Unanswered> {
        let scanner = Self { addr, process: AdminClient::new(addr, LIMITS), runtime: Handle::current() };
        scanner.ask_for_ends()?;
        Ok(scanner)
    }

    pub(in crate::log) fn ends(&self) -> Result<Vec<(i32, PartitionEnds)>, ScanError> {
        Ok(self.ask_for_ends()?.iter().map(|one| (one.partition, one.ends())).collect())
    }

    pub(in crate::log) fn ends_of(&self, partition: i32) -> Result<PartitionEnds, ScanError> {
        Ok(self.ask_for(partition)?.ends())
    }

    pub(in crate::log) fn is_damaged(&self, partition: i32, offset: i64) -> Result<bool, ScanError> {
        let one = self.ask_for(partition)?;
        Ok(one.damaged.iter().any(|(from, to)| (*from..*to).contains(&offset)))
    }

    pub(in crate::log) fn read_until(
        &self,
        stretches: &[Stretch],
        see: &mut dyn FnMut(i32, i64, &[u8]) -> Go,
    ) -> Result<(), ScanError> {
        stretches.iter().try_for_each(|stretch| self.read(*stretch, see))
    }

    fn read(&self, stretch: Stretch, see: &mut dyn FnMut(i32, i64, &[u8]) -> Go) -> Result<(), ScanError> {
        let Stretch { partition, mut from, to } = stretch;
        while from < to {
            let part = self.get(&format!("{RECORDS}?partition={partition}&from={from}&to={to}"))?;
            let mut rest = &part[..];
            loop {
                match take(&mut rest).ok_or(Unanswered::Unreadable(self.addr))? {
                    Ok((offset, bytes)) => {
                        if see(partition, offset, bytes) == Go::NoFurther {
                            return Ok(());
                        }
                    }
                    Err(PartEnd::Whole) => return Ok(()),
                    Err(PartEnd::Damaged(offset)) => return Err(ScanError::Damaged { partition, offset }),
                    Err(PartEnd::More(next)) if next > from => {
                        from = next;
                        break;
                    }
                    Err(PartEnd::More(_)) => return Err(Unanswered::Unreadable(self.addr).into()),
                }
            }
        }
        Ok(())
    }

    fn ask_for(&self, partition: i32) -> Result<Partition, ScanError> {
        let found = self.ask_for_ends()?.into_iter().find(|one| one.partition == partition);
        found.ok_or_else(|| ScanError::Unreadable(format!("the log has no partition {partition}").into()))
    }

    fn ask_for_ends(&self) -> Result<Vec<Partition>, Unanswered> {
        let answer = self.get(ENDS)?;
        serde_json::from_slice(&answer).map_err(|_| Unanswered::Unreadable(self.addr))
    }

    fn get(&self, page: &str) -> Result<Bytes, Unanswered> {
        let addr = self.addr;
        let (status, body) =
            self.runtime.block_on(self.process.get(page)).map_err(|error| Unanswered::new(addr, error))?;
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::NOT_FOUND => Err(Unanswered::NoLog(addr)),
            status => {
                let said = String::from_utf8_lossy(&body).chars().take(200).collect();
                Err(Unanswered::Refused { addr, status, said })
            }
        }
    }
}
