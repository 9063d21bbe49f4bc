//! Looks at an embedded log that is not this process's: through the process that has it open, or, where none does, in its
//! folder.
//!
//! The process is asked first. It is named by its address wherever the command runs, and the folder need not be its folder:
//! by default that is one below where the command was started. Only where no process tells of a log is the folder looked at,
//! and its lock says whether a process has it after all.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::running::Unanswered;
use super::{LocalLog, RunningScanner, Scanner};
use crate::log::ScanError;
use crate::log::embedded::OpenError;

/// Where the log is; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::log) struct Elsewhere {
    running: SocketAddr,
    folder: Arc<Path>,
}

/// An onlooker of such a log.
pub(in crate::log) enum ElsewhereScanner {
    /// Of the log of a process that runs. It tells of each record whose it is and which events it holds, and nothing that
    /// they say.
    Running(Box<RunningScanner>),
    /// Of a log that no process has open; none can as long as this lives.
    AtRest(Scanner),
}

/// Neither a process tells of the log nor its folder.
#[derive(Debug, thiserror::Error)]
#[error("{process}, and its folder (ROLLBOOK_DATA_DIR) cannot be read instead")]
struct Neither {
    process: Unanswered,
    #[source]
    folder: OpenError,
}

impl Elsewhere {
    pub(in crate::log) fn new(running: SocketAddr, folder: &Path) -> Self {
        Self { running, folder: folder.into() }
    }

    /// Call it on a thread of the runtime that may block.
    ///
    /// # Errors
    /// Neither a process tells of the log nor its folder.
    pub(in crate::log) fn scanner(&self) -> Result<ElsewhereScanner, ScanError> {
        let process = match RunningScanner::new(self.running) {
            Ok(scanner) => return Ok(ElsewhereScanner::Running(Box::new(scanner))),
            Err(unanswered) if unanswered.has_no_log() => unanswered,
            Err(unanswered) => return Err(unanswered.into()),
        };
        match LocalLog::look(&self.folder) {
            Ok(log) => Ok(ElsewhereScanner::AtRest(Scanner::new(&log))),
            Err(folder) => Err(ScanError::Unreadable(Neither { process, folder }.into())),
        }
    }
}
