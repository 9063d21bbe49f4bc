//! Opens a folder: locks it, reads what is there, and starts the appender; or only looks at it, and then changes nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::appender::Appender;
use super::folder::{DiskFolder, Folder, LogFile};
use super::format::{MAX_PARTITIONS, as_index};
use super::listing::partitions_of;
use super::queue::Queue;
use super::recovery::{Leftovers, Recovered, recover};
use super::state::{Shared, State};
use super::tail::{OnSyncFailed, Tail};
use super::{Engine, EngineSettings, Findings, FoundDamage, Inside, given_up, lock};

/// Bytes of a segment: an eighth of what the log may take, within these limits.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 64 << 20);

/// What a usual batch takes, or a part of a log that is small: a log without room for it is as good as full.
const USUAL_BYTES: u64 = 64 << 10;
const USUAL_PART: u64 = 64;

/// Why a folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process: a log has one", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// Others look at it, and take long.
    #[error("{} is being read by another process (`audit`, `status`): start again when it is done", folder.display())]
    LookedAt {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing was ever written to it, so that there is nothing to look at.
    #[error("there is no log in {}", folder.display())]
    NoLog {
        /// The folder.
        folder: PathBuf,
    },
    /// There is none, and this process could not make one.
    #[error("there is no log in {}, and nothing can be made in {}", folder.display(), nearest.display())]
    CannotMake {
        /// The folder.
        folder: PathBuf,
        /// What is there of the way to it.
        nearest: PathBuf,
        /// Why nothing can be made there.
        source: io::Error,
    },
    /// It was made with another number of partitions.
    #[error("the log in this folder has {found} partitions, and the settings ask for {asked}")]
    Partitions {
        /// Those it has.
        found: usize,
        /// Those asked for.
        asked: usize,
    },
    /// No log has so many partitions, or none.
    #[error("a log cannot have {asked} partitions")]
    TooManyPartitions {
        /// Those asked for.
        asked: u32,
    },
    /// It was written by a version whose files this one does not know.
    #[error("{file} was written by another version of Rollbook")]
    Version {
        /// The segment.
        file: String,
    },
    /// No segment has a header that can be read, so that it is not known what the folder holds.
    #[error("nothing of the log can be read: the header of {file} is damaged, and no other segment has one")]
    Unreadable {
        /// The oldest segment.
        file: String,
    },
    /// A segment begins with offsets that those before it have passed.
    #[error("{file} is not of the same log as the files before it")]
    Mixed {
        /// The segment.
        file: String,
    },
    /// The disk refused.
    #[error("cannot use {file}")]
    Io {
        /// What was read or written.
        file: String,
        /// Why it was not.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn reading(file: &str, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }
}

/// Opens a folder on the disk.
pub(super) fn open(settings: &EngineSettings) -> Result<(Engine, Findings), OpenError> {
    let folder = DiskFolder::open(&settings.folder)
        .map_err(|source| OpenError::Io { file: settings.folder.display().to_string(), source })?;
    let lock = lock::to_write(&settings.folder, lock::PATIENCE)?;
    open_in(Arc::new(folder), Some(lock), settings, Box::new(end_the_process))
}

/// Opens this folder, which nothing else has open.
pub(super) fn open_in(
    folder: Arc<dyn Folder>,
    lock: Option<File>,
    settings: &EngineSettings,
    on_sync_failed: OnSyncFailed,
) -> Result<(Engine, Findings), OpenError> {
    let partitions = partitions_asked(settings)?;
    let Found { state, findings, leftovers, empty, last_number } = read(&*folder, partitions)?;
    leftovers.remove(&*folder)?;
    let retention_bytes = settings.retention_bytes;
    // A log that is full of what is not loaded says so before it refuses a record.
    let no_room_for = Some(USUAL_BYTES.min(retention_bytes / USUAL_PART));
    let shared = Arc::new(Shared::new(State { retention_bytes, no_room_for, ..state }));
    let queue = Arc::new(Queue::default());
    let segment_bytes = (settings.retention_bytes / 8).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
    let (tail_folder, tail_shared) = (Arc::clone(&folder), Arc::clone(&shared));
    let mut tail = Tail::new(tail_folder, tail_shared, segment_bytes, last_number, on_sync_failed);
    if let Some(file) = empty {
        tail.adopt(file);
    }
    tail.begin();
    let appender = Appender { tail, shared: Arc::clone(&shared), queue: Arc::clone(&queue), lock };
    let thread = std::thread::Builder::new().name("log-appender".to_owned());
    let thread = thread.spawn(move || appender.run());
    let thread = thread.map_err(|source| OpenError::reading("the appender's thread", source))?;
    let (appender, giving_up) = (Mutex::new(Some(thread)), Mutex::new(()));
    let inside = Inside { folder, shared, queue, partitions, appender, giving_up, _looking: None };
    Ok((Engine { inside: Arc::new(inside) }, findings))
}

/// How many partitions the log is to have.
pub(super) fn partitions_asked(settings: &EngineSettings) -> Result<usize, OpenError> {
    let asked = settings.partitions;
    let partitions = as_index(u64::from(asked));
    match (1..=MAX_PARTITIONS).contains(&partitions) {
        true => Ok(partitions),
        false => Err(OpenError::TooManyPartitions { asked }),
    }
}

/// Looks at a folder on the disk.
pub(super) fn look(path: &Path) -> Result<Engine, OpenError> {
    let lock = lock::to_look(path)?;
    let folder =
        DiskFolder::look(path).map_err(|source| OpenError::reading(&path.display().to_string(), source))?;
    look_in(Arc::new(folder), Some(lock), path)
}

/// Looks at this folder, to which nothing writes.
pub(super) fn look_in(folder: Arc<dyn Folder>, lock: Option<File>, path: &Path) -> Result<Engine, OpenError> {
    let none = || OpenError::NoLog { folder: path.to_owned() };
    let partitions = partitions_of(&*folder)?.ok_or_else(none)?;
    let Found { state, .. } = read(&*folder, partitions)?;
    let shared = Arc::new(Shared::new(State { closed: true, ..state }));
    let queue = Arc::new(Queue::default());
    queue.close();
    let (appender, giving_up) = (Mutex::new(None), Mutex::new(()));
    let inside = Inside { folder, shared, queue, partitions, appender, giving_up, _looking: lock };
    Ok(Engine { inside: Arc::new(inside) })
}

/// What is there.
pub(super) struct Found {
    state: State,
    findings: Findings,
    leftovers: Leftovers,
    empty: Option<Arc<dyn LogFile>>,
    last_number: u64,
}

impl Found {
    /// Whether no log was ever begun there.
    pub(super) fn is_empty(&self) -> bool {
        self.last_number == 0
    }
}

/// Reads what is there, and changes nothing.
pub(super) fn read(folder: &dyn Folder, partitions: usize) -> Result<Found, OpenError> {
    let recovered = recover(folder, partitions)?;
    let given_up = given_up::read(folder).map_err(|source| OpenError::reading("given-up", source))?;
    let forgot_given_up = given_up.is_none();
    let given_up = given_up.unwrap_or_default();
    let Recovered { segments, next, damage, mut found, torn, empty, last_number, leftovers } = recovered;
    found.retain(|FoundDamage { partition, damage, .. }| {
        let end = given_up.end_around(as_index(u64::from(partition.cast_unsigned())), damage.from);
        end.is_none_or(|end| end < damage.to)
    });
    let state = State {
        segments,
        loaded: vec![None; next.len()],
        next,
        damage,
        given_up: Arc::new(given_up),
        writing_since: None,
        trouble: None,
        no_room_for: None,
        retention_bytes: u64::MAX,
        closed: false,
    };
    let findings = Findings { torn, damage: found, forgot_given_up };
    Ok(Found { state, findings, leftovers, empty, last_number })
}

/// What the kernel shows after a sync that failed is not what the disk has, and the next sync would not say so. Only who
/// reads the files anew, after a restart, knows what is there.
fn end_the_process(error: &io::Error) {
    tracing::error!(error = %error, "the log could not be synced: the process ends, so that what the disk has is read anew");
    crate::ops::stderr::flush();
    std::process::exit(1);
}
