//! What would come of opening a folder. Nothing of it is changed, and nothing is made.
//!
//! The files are read as they are when the folder is opened, so that what keeps a process from opening it is said in the
//! same words. What opening would do beside that is asked of the system: whether this process may write there.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use super::folder::{DiskFolder, Folder as _};
use super::format::number_of;
use super::open::{OpenError, partitions_asked, read};
use super::{EngineSettings, lock};

/// What a process that opens the folder would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A log that it can open.
    Log,
    /// No log, and room to make one.
    NoLogYet,
}

/// Looks at a folder that no process has open.
pub(super) fn outlook(settings: &EngineSettings) -> Result<Outlook, OpenError> {
    let path = &settings.folder;
    let partitions = partitions_asked(settings)?;
    let _lock = match lock::to_look(path) {
        // Segments may stand there all the same: the lock is made anew by the process that opens them.
        Err(OpenError::NoLog { .. }) if path.is_dir() => None,
        Err(OpenError::NoLog { .. }) => return can_be_made(path).map(|()| Outlook::NoLogYet),
        locked => Some(locked?),
    };
    let refused = |source| OpenError::reading(&path.display().to_string(), source);
    let folder = DiskFolder::look(path).map_err(refused)?;
    let found = read(&folder, partitions)?;
    may_write(path)?;
    let names = folder.names().map_err(refused)?;
    for name in names.iter().filter(|name| *name == lock::NAME || number_of(name).is_some()) {
        may_write(&path.join(name))?;
    }
    Ok(if found.is_empty() { Outlook::NoLogYet } else { Outlook::Log })
}

/// Whether the nearest folder above that is there takes a new name.
fn can_be_made(folder: &Path) -> Result<(), OpenError> {
    let here = Path::new(".");
    let mut above = folder.ancestors().map(|one| if one.as_os_str().is_empty() { here } else { one });
    // A link that leads nowhere is there, too, and is no folder.
    let nearest = above.find(|one| one.symlink_metadata().is_ok()).unwrap_or(here);
    let allowed = if nearest.is_dir() { allowed(nearest) } else { Err(io::ErrorKind::NotADirectory.into()) };
    allowed.map_err(|source| {
        let (folder, nearest) = (folder.to_owned(), nearest.to_owned());
        OpenError::CannotMake { folder, nearest, source }
    })
}

fn may_write(path: &Path) -> Result<(), OpenError> {
    allowed(path).map_err(|source| OpenError::reading(&path.display().to_string(), source))
}

/// Whether this process may read and write there. Names are made in a folder by who may also pass through it.
fn allowed(path: &Path) -> io::Result<()> {
    let wanted = Access::READ_OK | Access::WRITE_OK;
    let wanted = if path.is_dir() { wanted | Access::EXEC_OK } else { wanted };
    access(path, wanted).map_err(io::Error::from)
}
