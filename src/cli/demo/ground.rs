//! The folder that a demo stands on, and the folders of demos that were killed.
//!
//! A folder is known for a demo's by three things together: its name, its owner, who is us, and a mark in it. The demo has
//! the mark locked for as long as it lives, and the system lets go of it however the demo ends. So a mark that can be locked
//! is of a demo that is gone, and its folder goes with all that still runs in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

const PREFIX: &str = "rollbook-demo-";
const MARK: &str = "demo";
const TEXT: &str = "rollbook demo: this folder goes when no process has this file locked\n";
/// How long what still runs may take to end; there is nothing in it to be kept.
const ENDING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// What a demo starts, by the names that the system knows its programs by, and how each is ended at once.
const PROGRAMS: [(&str, Signal); 2] = [("postgres", Signal::QUIT), ("rollbook", Signal::KILL)];

/// This demo's folder.
#[derive(Debug)]
pub(super) struct Ground {
    folder: TempDir,
    _mark: File,
}

impl Ground {
    /// Makes it among the temporary folders.
    pub(super) fn make() -> io::Result<Self> {
        Self::make_in(&temporary()?)
    }

    fn make_in(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let path = folder.path();
        // PostgreSQL may run as another user, who has to get through to what is its own.
        fs::set_permissions(path, Permissions::from_mode(0o711))?;
        let new = path.join("demo.new");
        let mut mark = File::create_new(&new)?;
        mark.write_all(TEXT.as_bytes())?;
        // Before it has its name: another demo would find it free.
        mark.lock()?;
        fs::rename(new, path.join(MARK))?;
        Ok(Self { folder, _mark: mark })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it.
    pub(super) fn close(self) -> io::Result<()> {
        self.folder.close()
    }
}

/// What became of the folder of a demo that was killed.
#[derive(Debug)]
pub(super) struct Cleared {
    pub(super) folder: PathBuf,
    pub(super) removed: io::Result<()>,
}

/// Removes what is left of demos that were killed, from among the temporary folders. Blocks.
pub(super) fn clear() -> Vec<Cleared> {
    temporary().map_or(Vec::new(), |parent| clear_in(&parent))
}

fn clear_in(parent: &Path) -> Vec<Cleared> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let left = folders.filter_map(|entry| Some((mark_of_the_dead(&entry.path())?, entry.path())));
    left.map(|(_mark, folder)| Cleared { removed: remove(&folder), folder }).collect()
}

/// As the system itself calls it: so it calls the folders that processes work in.
fn temporary() -> io::Result<PathBuf> {
    fs::canonicalize(std::env::temp_dir())
}

/// The mark, now locked by us, of a demo that is gone; `None`: the folder is none of a demo's, or its demo lives.
fn mark_of_the_dead(folder: &Path) -> Option<File> {
    let found = fs::symlink_metadata(folder).ok()?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return None;
    }
    let mut options = OpenOptions::new();
    // Whatever has that name: no link is followed, and no pipe waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut mark = options.read(true).custom_flags(flags).open(folder.join(MARK)).ok()?;
    let mut text = String::new();
    (&mut mark).take(TEXT.len() as u64 + 1).read_to_string(&mut text).ok()?;
    (text == TEXT && mark.try_lock().is_ok()).then_some(mark)
}

fn remove(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + ENDING;
    let mut running = processes_in(folder);
    for (process, signal) in &running {
        // It may have ended since.
        let _ended = kill_process(*process, *signal);
        // What was stopped takes note of nothing else.
        let _ended = kill_process(*process, Signal::CONT);
    }
    while !running.is_empty() {
        if Instant::now() > deadline {
            return Err(io::Error::other("what runs in it does not end"));
        }
        thread::sleep(PAUSE);
        running = processes_in(folder);
    }
    fs::remove_dir_all(folder)
}

/// The processes that a demo started and that work in its folder; a person's shell may stand there as well.
fn processes_in(folder: &Path) -> Vec<(Pid, Signal)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let of = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).ok()?;
        let (_, signal) = PROGRAMS.iter().find(|(program, _)| *program == name.trim_end())?;
        fs::read_link(process.join("cwd")).ok().filter(|works_in| works_in.starts_with(folder))?;
        let id = process.file_name()?.to_str()?.parse().ok()?;
        Some((Pid::from_raw(id)?, *signal))
    };
    entries.flatten().filter_map(|entry| of(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_once_its_demo_is_gone_and_not_before() {
        let parent = tempfile::tempdir().expect("a folder");
        let ground = Ground::make_in(parent.path()).expect("a folder");
        fs::create_dir(ground.path().join("log")).expect("ours");
        assert!(clear_in(parent.path()).is_empty());
        let Ground { folder, _mark } = ground;
        let path = folder.keep();
        drop(_mark);
        let cleared = clear_in(parent.path());
        assert!(cleared.len() == 1 && cleared[0].folder == path && cleared[0].removed.is_ok(), "{cleared:?}");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_surely_a_demos_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        let elsewhere = Ground::make_in(parent.path()).expect("a folder").folder.keep();
        let moved = parent.path().join("another-name");
        fs::rename(&elsewhere, &moved).expect("ours");
        std::os::unix::fs::symlink(&moved, parent.path().join("rollbook-demo-link")).expect("ours");
        let folder = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).expect("ours");
            path
        };
        let unmarked = folder("rollbook-demo-unmarked");
        fs::write(unmarked.join("data"), "of someone's").expect("ours");
        let other = folder("rollbook-demo-other");
        fs::write(other.join(MARK), "something else").expect("ours");
        let linked = folder("rollbook-demo-linked");
        std::os::unix::fs::symlink(moved.join(MARK), linked.join(MARK)).expect("ours");
        assert!(clear_in(parent.path()).is_empty());
        assert!([&moved, &unmarked, &other, &linked].iter().all(|path| path.exists()));
    }
}
