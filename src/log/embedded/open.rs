//! Opens a folder: locks it, reads what is there, and starts the appender.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::appender::Appender;
use super::folder::{DiskFolder, Folder};
use super::format::{MAX_PARTITIONS, as_index};
use super::queue::Queue;
use super::recovery::{Recovered, recover};
use super::state::{Shared, State};
use super::tail::{OnSyncFailed, Tail};
use super::{Engine, EngineSettings, Findings, Inside, given_up};

/// Bytes of a segment: an eighth of what the log may take, within these limits.
const SEGMENT_BYTES: (u64, u64) = (64 << 10, 64 << 20);

/// Why a folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process: a log has one", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
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
    let lock = lock(&settings.folder)?;
    open_in(Arc::new(folder), Some(lock), settings, Box::new(end_the_process))
}

/// Opens this folder, which nothing else has open.
pub(super) fn open_in(
    folder: Arc<dyn Folder>,
    lock: Option<File>,
    settings: &EngineSettings,
    on_sync_failed: OnSyncFailed,
) -> Result<(Engine, Findings), OpenError> {
    let asked = settings.partitions;
    let partitions = as_index(u64::from(asked));
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        return Err(OpenError::TooManyPartitions { asked });
    }
    let recovered = recover(&*folder, partitions)?;
    let given_up = given_up::read(&*folder).map_err(|source| OpenError::reading("given-up", source))?;
    let forgot_given_up = given_up.is_none();
    let given_up = given_up.unwrap_or_default();
    let Recovered { segments, next, damage, mut found, torn, empty, last_number } = recovered;
    found.retain(|found| {
        let end =
            given_up.end_around(as_index(u64::from(found.partition.cast_unsigned())), found.damage.from);
        end.is_none_or(|end| end < found.damage.to)
    });
    let shared = Arc::new(Shared::new(State {
        segments,
        loaded: vec![None; next.len()],
        next,
        damage,
        given_up: Arc::new(given_up),
        trouble: None,
        no_room_for: None,
        retention_bytes: settings.retention_bytes,
        closed: false,
    }));
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
    let inside = Inside { folder, shared, queue, partitions, appender, giving_up };
    Ok((Engine { inside: Arc::new(inside) }, Findings { torn, damage: found, forgot_given_up }))
}

/// Locks the folder for as long as the file is open.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let reading = |source| OpenError::reading("lock", source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(folder.join("lock")).map_err(reading)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(reading(error)),
    }
}

/// What the kernel shows after a sync that failed is not what the disk has, and the next sync would not say so. Only who
/// reads the files anew, after a restart, knows what is there.
fn end_the_process(error: &io::Error) {
    tracing::error!(error = %error, "the log could not be synced: the process ends, so that what the disk has is read anew");
    std::process::exit(1);
}
