//! The folder a log lives in, as far as the engine uses it: so that tests can put one under the same code that forgets
//! what was not synced, or runs full.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::format::{BLOCK, as_index};

/// How long the disk may fail on a block before that is damage.
const BAD_BLOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is read again.
const BAD_BLOCK_PAUSE: Duration = Duration::from_millis(100);

/// Files by name. What is created, renamed or removed is so for good once the folder is synced.
pub(super) trait Folder: Send + Sync {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// An empty file of this name, whatever was there before.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// The file of this name.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Takes a file away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of the one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes what became of names durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file. What is written is durable once it is synced.
pub(super) trait LogFile: Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads what is there, which may be less than asked for, and nothing only at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of it, or fails with any part of it written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes it so long, with room on the disk where that can be had beforehand.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Cuts it off.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes what was written durable, length included.
    fn sync(&self) -> io::Result<()>;
    /// Whether it has no name any more: what it holds is then gone with the process, synced or not.
    fn is_removed(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// How long it may fail on a block before that is damage.
    fn patience(&self) -> Duration {
        BAD_BLOCK_PATIENCE
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(file: &dyn LogFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// How long a walk over a file waits for blocks on which the disk fails (`EIO`), all of them together. A path to the disk that
/// comes back is no damage.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(4 * BAD_BLOCK_PATIENCE)
    }
}

/// As `read_full`, but for blocks that the disk has lost: those are filled with what is no frame, and not nothing either. One is lost
/// if the disk has failed on it for some seconds.
pub(super) fn read_around_bad_places(
    file: &dyn LogFile,
    buffer: &mut [u8],
    at: u64,
    patience: &mut Patience,
) -> io::Result<usize> {
    match read_full(file, buffer, at) {
        Err(error) if is_bad_place(&error) => {}
        read => return read,
    }
    let length = as_index(file.length()?.saturating_sub(at)).min(buffer.len());
    let (mut from, mut position) = (0, at);
    while from < length {
        // Up to the end of the block, wherever in it the walk is.
        let to = (from + BLOCK - as_index(position) % BLOCK).min(length);
        read_block(file, &mut buffer[from..to], position, patience)?;
        position += (to - from) as u64;
        from = to;
    }
    Ok(length)
}

fn read_block(
    file: &dyn LogFile,
    block: &mut [u8],
    at: u64,
    Patience(left): &mut Patience,
) -> io::Result<()> {
    let (started, most) = (Instant::now(), file.patience().min(*left));
    let read = loop {
        match read_full(file, block, at) {
            Err(error) if is_bad_place(&error) => {}
            read => break read.map(drop),
        }
        if started.elapsed() >= most {
            block.fill(0xff);
            break Ok(());
        }
        std::thread::sleep(BAD_BLOCK_PAUSE);
    };
    *left = left.saturating_sub(started.elapsed());
    read
}

fn is_bad_place(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// A new file, where nothing has its name yet, not even a link. It is its folder's owner's: an administrator's command may run as
/// root, and the service could not read what is root's. Whoever may not give it away keeps it.
pub(super) fn make_new(folder: &Path, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(folder.join(name))?;
    let owner = folder.metadata()?;
    if owner.uid() == file.metadata()?.uid() {
        return Ok(file);
    }
    match fchown(&file, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(file),
    }
}

/// A folder on a disk.
#[derive(Debug)]
pub(super) struct DiskFolder {
    path: PathBuf,
    itself: File,
    access: Access,
}

/// What may be done with its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadAndWrite,
    /// The system itself refuses all that would change a file, and we all that would change the folder.
    Read,
}

impl DiskFolder {
    /// Opens the folder, and makes it first where there is none: for its owner alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
            let made = path.ancestors().take_while(is_missing).count();
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            // Else a folder made just before a power cut could be gone with all that was acknowledged in it.
            for parent in path.canonicalize()?.ancestors().skip(1).take(made) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path: path.to_owned(), itself: File::open(path)?, access: Access::ReadAndWrite })
    }

    /// Opens a folder that is there, and changes nothing in it.
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), itself: File::open(path)?, access: Access::Read })
    }

    fn may_write(&self) -> io::Result<()> {
        match self.access {
            Access::ReadAndWrite => Ok(()),
            Access::Read => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}

impl Folder for DiskFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.may_write()?;
        // Where a link stands, what it leads to is none of ours.
        match std::fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Arc::new(make_new(&self.path, name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(
            OpenOptions::new().read(true).write(self.may_write().is_ok()).open(self.path.join(name))?,
        ))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_write()?;
        std::fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        self.itself.sync_all()
    }
}

impl LogFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // A file system without it: a write may find the disk full then, which is answered as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.set_len(length),
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn is_removed(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() == 0)
    }
}
