//! The embedded log: the log in one process, in files of its own.
//!
//! One sequence of segment files is shared by all partitions, so that one `fdatasync` covers every record that waits
//! (`appender`). A record is acknowledged once it is synced, and only then read. Nothing is kept in memory but where things
//! are (`state`), which opening finds out by reading the files (`recovery`). What is not loaded is never dropped: a
//! segment goes when all of it is loaded and the log is larger than it may be. The bytes are described in `format`.
//!
//! What holds, whatever becomes of the files:
//! - What was acknowledged is read back equal, or its partition is said to be damaged there. Nothing is passed over in
//!   silence but what a person has given up ([`Engine::accept_damage`]).
//! - What a crash cut off was never acknowledged. It is dropped, and said ([`Findings`]).
//! - An offset is given out once. Where it is not known how many records were lost, more are taken to be lost.
//! - No order, age or name depends on the clock.
//!
//! What it cannot know: whether a last segment that was whole is missing altogether, or a last group that a disk lost
//! after it had said that it was synced. Those who read compare with what they remember (the loader's anchor does).

mod appender;
mod cursor;
mod folder;
mod format;
mod gaps;
mod given_up;
mod listing;
mod lock;
mod open;
mod outlook;
mod queue;
mod recovery;
mod scan;
mod state;
mod tail;
mod trouble;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use folder::Folder;
use format::MAX_PAYLOAD;
use queue::{Queue, Told, Waiting};
use state::Shared;

pub use cursor::{Cursor, CursorError, Frame};
pub use gaps::Damage;
pub use open::OpenError;
pub use outlook::Outlook;
pub use trouble::{AppendError, Trouble};

/// A disk that takes longer for a group of records does not answer, as far as those know who wait.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// How soon it is looked again whether all is written.
const CLOSING_PAUSE: Duration = Duration::from_millis(2);

/// Which log, and how large.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// The folder it lives in; made where there is none.
    pub folder: PathBuf,
    /// Its partitions: those it was made with.
    pub partitions: u32,
    /// The bytes it may take. What is loaded is kept as long as they allow, and records are refused where what is not
    /// loaded takes all of them. A new segment's file takes its room beforehand: up to an eighth, at most 64 MiB, more.
    pub retention_bytes: u64,
}

/// What there is of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The oldest record that is kept.
    pub start: i64,
    /// The record that will be written next.
    pub end: i64,
}

/// What was not as it should be when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What a crash had cut off; it is dropped. Also a segment that it kept from being begun.
    pub torn: Option<Torn>,
    /// What is damaged and was not given up.
    pub damage: Vec<FoundDamage>,
    /// Whether the note of what was given up cannot be read: that is damage again.
    pub forgot_given_up: bool,
}

/// The end of the log that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub file: String,
    /// Where it begins there.
    pub position: u64,
    /// What it takes.
    pub bytes: u64,
    /// Records of which at least the head was there.
    pub records: u64,
}

/// Records that are not there, or not as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// Their partition.
    pub partition: i32,
    /// Their offsets.
    pub damage: Damage,
    /// The segment in which it showed.
    pub file: String,
    /// Where in it.
    pub position: u64,
}

/// Why a stretch of a partition was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It begins before what is kept.
    #[error("the partition begins at offset {start} now")]
    Gone {
        /// The oldest record that is kept.
        start: i64,
    },
    /// A record cannot be read.
    #[error("the log is damaged at offset {offset}")]
    Damaged {
        /// The first that is not there, or not as it was written.
        offset: i64,
    },
    /// The disk refused.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
}

/// An open log; cheap to clone. It is closed with the last clone, or by [`Engine::close`].
#[derive(Clone)]
pub struct Engine {
    inside: Arc<Inside>,
}

struct Inside {
    folder: Arc<dyn Folder>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    partitions: usize,
    /// Until it is waited for.
    appender: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever writes down what is given up.
    giving_up: Mutex<()>,
    /// Keeps the folder from being written to for as long as it is looked at.
    _looking: Option<File>,
}

impl Engine {
    /// Opens the log, or makes a new one. Reads all of it; a missing folder is made, for its owner alone.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(settings: &EngineSettings) -> Result<(Self, Findings), OpenError> {
        open::open(settings)
    }

    /// Looks at a log that no process has open, and changes nothing of it: what a crash cut off is passed over and stays
    /// where it is. It reads as it would after [`Engine::close`]. Others may look as well; a process that is to write waits
    /// until the last clone is gone.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn look(folder: &Path) -> Result<Self, OpenError> {
        open::look(folder)
    }

    /// What [`Engine::open`] would come to, in a folder that no process has open. Changes nothing, and makes nothing.
    ///
    /// # Errors
    /// It could not be opened, see [`OpenError`]; or not be made or written to by this process.
    pub fn outlook(settings: &EngineSettings) -> Result<Outlook, OpenError> {
        outlook::outlook(settings)
    }

    /// Appends a record. Never waits: `told` hears once it is durable, from the thread that writes, or at once where
    /// the record is refused at once. It is called exactly once, and must not wait either.
    pub fn append(
        &self,
        partition: i32,
        bytes: impl Into<Bytes>,
        told: Box<dyn FnOnce(Result<i64, AppendError>) + Send>,
    ) {
        let bytes = bytes.into();
        let told = Told::new(told);
        match partition_index(partition, self.inside.partitions) {
            Some(at) if bytes.len() <= MAX_PAYLOAD => {
                self.inside.queue.push(Waiting { partition: at, bytes, told });
            }
            _ => told.tell(Err(AppendError::Unfit { partition, bytes: bytes.len() })),
        }
    }

    /// How many partitions the log has.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        partition_id(self.inside.partitions)
    }

    /// What there is of a partition; `None`: there is no such partition.
    #[must_use]
    pub fn ends(&self, partition: i32) -> Option<Ends> {
        partition_index(partition, self.inside.partitions).map(|at| self.inside.shared.lock().ends(at))
    }

    /// Below these offsets all is loaded: the log may forget it. A partition of which nothing was said since the log was
    /// opened counts as not loaded at all, and so does one whose mark lies beyond its end: that mark is of another log. A mark
    /// that goes back is taken back, as far as the records are still there.
    pub fn loaded(&self, marks: &[(i32, i64)]) {
        let mut state = self.inside.shared.lock();
        for (partition, mark) in marks {
            if let Some(at) = partition_index(*partition, self.inside.partitions) {
                state.loaded[at] = Some(*mark).filter(|mark| *mark <= state.next[at]);
            }
        }
        let is_large = state.bytes() > state.retention_bytes || state.no_room_for.is_some();
        drop(state);
        if is_large {
            self.inside.queue.call();
        }
    }

    /// Reads these partitions, from an offset each.
    #[must_use]
    pub fn cursor(&self, starts: &HashMap<i32, i64>) -> Cursor {
        Cursor::new(Arc::clone(&self.inside.folder), Arc::clone(&self.inside.shared), starts)
    }

    /// Gives the records of a partition with offsets from `from` to before `to` to `see`, until it says that it has seen
    /// enough or the log ends. Reads no more of the log than lies between.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        mut see: impl FnMut(i64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let to = self.ends(partition).map_or(from, |ends| ends.end.min(to));
        if from >= to {
            return Ok(());
        }
        let mut cursor = self.cursor(&HashMap::from([(partition, from)]));
        loop {
            match cursor.next(Duration::ZERO) {
                Ok(Some(frame)) if frame.offset >= to => return Ok(()),
                Ok(Some(frame)) => {
                    let enough = !see(frame.offset, &frame.bytes);
                    if enough || frame.offset + 1 >= to {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(CursorError::Damaged { offset, .. }) if offset >= to => return Ok(()),
                Err(CursorError::Damaged { offset, .. }) => return Err(ReadError::Damaged { offset }),
                Err(CursorError::Gone { start, .. }) => return Err(ReadError::Gone { start }),
                Err(CursorError::Io(error)) => return Err(ReadError::Io(error)),
            }
        }
    }

    /// What is damaged and not given up, by partition: found when the log was opened, or read since.
    #[must_use]
    pub fn damage(&self) -> HashMap<i32, Vec<Damage>> {
        let state = self.inside.shared.lock();
        state.damage.without(&state.given_up).not_below(&state.starts()).told()
    }

    /// Gives up what is damaged now, for good: whoever reads from now on passes over it.
    ///
    /// # Errors
    /// It could not be written down; nothing is given up then.
    pub fn accept_damage(&self) -> io::Result<()> {
        let _one_at_a_time = self.inside.giving_up.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.inside.shared.lock();
        let starts = state.starts();
        let mut given_up = state.given_up.not_below(&starts);
        for (partition, damage) in state.damage.not_below(&starts).each() {
            given_up.add(partition, damage);
        }
        drop(state);
        given_up::write(&*self.inside.folder, &given_up)?;
        self.inside.shared.lock().given_up = Arc::new(given_up);
        Ok(())
    }

    /// What the log takes on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inside.shared.lock().bytes()
    }

    /// Of those, what cannot go to make room, because it is not loaded.
    #[must_use]
    pub fn unloaded_bytes(&self) -> u64 {
        self.inside.shared.lock().unloaded_bytes()
    }

    /// Bytes of records that wait to be written.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.inside.queue.bytes()
    }

    /// Why a record would be refused now. What passes by itself is noticed without a record that tries.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.inside.shared.lock();
        if state.closed {
            return Some(Trouble::Closed);
        }
        let full = state.no_room_for.filter(|bytes| !state.has_room_for(*bytes)).map(|_| Trouble::Full);
        let hangs =
            state.writing_since.filter(|since| since.elapsed() > LONGEST_WRITE).map(|_| Trouble::Hangs);
        state.trouble.clone().or(hangs).or(full)
    }

    /// Takes no more records, writes those that wait, and lets go of the folder. What is written can still be read.
    /// Waits for all that; not where the thread that writes calls it.
    pub fn close(&self) {
        self.close_within(Duration::MAX);
    }

    /// The same, but waits no longer than this; says whether all is done. What is not goes on.
    pub fn close_within(&self, patience: Duration) -> bool {
        self.inside.queue.close();
        let taken = || self.inside.appender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(appender) = taken().take().filter(|one| one.thread().id() != std::thread::current().id())
        else {
            return true;
        };
        let started = Instant::now();
        while !appender.is_finished() {
            if started.elapsed() > patience {
                *taken() = Some(appender);
                return false;
            }
            std::thread::sleep(CLOSING_PAUSE);
        }
        // It panics only where it has a fault of its own, which was said.
        let _ended = appender.join();
        true
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A partition as a place in a list of all.
fn partition_index(partition: i32, partitions: usize) -> Option<usize> {
    usize::try_from(partition).ok().filter(|at| *at < partitions)
}

/// The number of the partition at this place.
fn partition_id(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}
