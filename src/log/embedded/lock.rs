//! Who has a folder: one process that writes to it, or any number of them that only look.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::folder::make_new;
use super::open::OpenError;

pub(super) const NAME: &str = "lock";
/// How long a process that is to write waits for those that look, which are soon done.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Locks the folder against all others, for as long as the file is open. Those that look at it are waited for.
pub(super) fn to_write(folder: &Path, patience: Duration) -> Result<File, OpenError> {
    let deadline = Instant::now() + patience;
    let file = open(folder).map_err(reading)?;
    let mut is_said = false;
    while !has(file.try_lock())? {
        // What keeps us out and lets in who looks, looks.
        if !has(file.try_lock_shared())? {
            return Err(OpenError::Locked { folder: folder.to_owned() });
        }
        file.unlock().map_err(reading)?;
        if Instant::now() >= deadline {
            return Err(OpenError::LookedAt { folder: folder.to_owned() });
        }
        if !is_said {
            tracing::info!(?folder, "another process looks at the log (`audit`, `status`): it is waited for");
            is_said = true;
        }
        thread::sleep(PAUSE);
    }
    Ok(file)
}

/// Makes the file where there is none, for the folder's owner.
fn open(folder: &Path) -> io::Result<File> {
    match make_new(folder, NAME) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(folder.join(NAME))
}

/// Locks the folder against all that would write to it, for as long as the file is open. Makes nothing: a folder that was
/// never locked was never a log.
pub(super) fn to_look(folder: &Path) -> Result<File, OpenError> {
    let none = || OpenError::NoLog { folder: folder.to_owned() };
    let file = match File::open(folder.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
        opened => opened.map_err(reading)?,
    };
    match has(file.try_lock_shared())? {
        true => Ok(file),
        false => Err(OpenError::Locked { folder: folder.to_owned() }),
    }
}

fn has(locked: Result<(), TryLockError>) -> Result<bool, OpenError> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(reading(error)),
    }
}

fn reading(source: io::Error) -> OpenError {
    OpenError::reading(NAME, source)
}
