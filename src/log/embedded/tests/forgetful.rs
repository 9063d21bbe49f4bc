//! A folder in memory that forgets what was not synced, refuses when it is told to, and runs full.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;

use super::super::folder::{Folder, LogFile};
use super::random::Random;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// After so many more operations nothing is done any more.
    pub(super) stops_after: Option<u64>,
    /// It holds so many bytes.
    pub(super) size: Option<u64>,
    pub(super) syncs_fail: bool,
    pub(super) writes_fail: bool,
    /// Syncs wait.
    pub(super) held: bool,
    /// Reading these bytes of any file fails.
    pub(super) bad_place: Option<(u64, u64)>,
    /// How long that may be no damage yet.
    pub(super) patience: Duration,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Inside {
    contents: Vec<Content>,
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    faults: Faults,
    stopped: bool,
    /// A sync waits.
    waiting: bool,
    bytes_read: u64,
    failed_reads: u64,
}

/// The folder; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgetful {
    inside: Arc<(Mutex<Inside>, Condvar)>,
}

struct File {
    folder: Forgetful,
    at: usize,
}

impl Forgetful {
    /// One with these files, all synced.
    pub(super) fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let folder = Self::default();
        let mut inside = folder.lock();
        for (name, bytes) in files {
            let at = inside.contents.len();
            let (now, durable) = (bytes.clone(), bytes.clone());
            inside.contents.push(Content { now, durable, unsynced: BTreeSet::new() });
            inside.now.insert(name.clone(), at);
            inside.durable.insert(name.clone(), at);
        }
        drop(inside);
        folder
    }

    /// All files as a process sees them.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let inside = self.lock();
        inside.now.iter().map(|(name, at)| (name.clone(), inside.contents[*at].now.clone())).collect()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
        self.inside.1.notify_all();
    }

    /// Changes bytes behind the engine's back.
    pub(super) fn change(&self, mut change: impl FnMut(&str, &mut Vec<u8>)) {
        let inside = &mut *self.lock();
        for (name, at) in &inside.now {
            change(name, &mut inside.contents[*at].now);
        }
    }

    /// Bytes that were read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.lock().bytes_read
    }

    /// How often reading failed so far.
    pub(super) fn failed_reads(&self) -> u64 {
        self.lock().failed_reads
    }

    /// Whether a sync waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.lock().waiting
    }

    /// What the next process finds where this one was killed: all that was written, synced or not.
    pub(super) fn after_kill(&self) -> Self {
        let inside = self.lock();
        let (contents, now, durable) = (inside.contents.clone(), inside.now.clone(), inside.durable.clone());
        let next = Self::default();
        *next.lock() = Inside { contents, now, durable, ..Inside::default() };
        next
    }

    /// What the power cut leaves: what was synced, and any part of what was not.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Self {
        let inside = self.lock();
        let mut files = BTreeMap::new();
        let names: BTreeSet<&String> = inside.now.keys().chain(inside.durable.keys()).collect();
        for name in names {
            let (now, durable) = (inside.now.get(name), inside.durable.get(name));
            let survivor = if now == durable || random.percent(50) { now } else { durable };
            if let Some(at) = survivor {
                files.insert(name.clone(), inside.contents[*at].survivor(random));
            }
        }
        Self::with(&files)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.0.lock().expect("no test panics with it in hand")
    }

    /// One operation that changes something.
    fn operate(&self) -> io::Result<MutexGuard<'_, Inside>> {
        let mut inside = self.lock();
        match &mut inside.faults.stops_after {
            Some(0) => inside.stopped = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if inside.stopped {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(inside)
    }
}

impl Inside {
    fn check_room(&self, at: usize, length: usize) -> io::Result<()> {
        let others = self.now.values().filter(|other| **other != at);
        let used: usize = others.map(|other| self.contents[*other].now.len()).sum();
        let is_full = self.faults.size.is_some_and(|size| (used + length) as u64 > size);
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Content {
    fn survivor(&self, random: &mut Random) -> Vec<u8> {
        let mut left = self.durable.clone();
        if self.now.len() != self.durable.len() && random.percent(50) {
            set_length(&mut left, self.now.len());
        }
        for sector in &self.unsynced {
            let begin = sector * SECTOR;
            let end = (begin + SECTOR).min(left.len()).min(self.now.len());
            if begin < end && random.percent(50) {
                left[begin..end].copy_from_slice(&self.now[begin..end]);
            }
        }
        left
    }
}

/// `Vec::resize` goes by single bytes where nothing is optimized.
fn set_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.truncate(length);
    let missing = length - bytes.len();
    if missing > 0 {
        bytes.extend_from_slice(&vec![0; missing]);
    }
}

impl Folder for Forgetful {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().now.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut inside = self.operate()?;
        inside.contents.push(Content::default());
        let at = inside.contents.len() - 1;
        inside.now.insert(name.to_owned(), at);
        Ok(Arc::new(File { folder: self.clone(), at }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let at = self.lock().now.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(File { folder: self.clone(), at }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate()?.now.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inside = self.operate()?;
        let at = inside.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inside.now.insert(to.to_owned(), at);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.operate()?;
        inside.durable = inside.now.clone();
        Ok(())
    }
}

impl LogFile for File {
    fn patience(&self) -> Duration {
        self.folder.lock().faults.patience
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.folder.lock().contents[self.at].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut inside = self.folder.lock();
        let fails = |(from, to): (u64, u64)| at < to && from < at + buffer.len() as u64;
        if inside.faults.bad_place.is_some_and(fails) {
            inside.failed_reads += 1;
            return Err(Errno::IO.into());
        }
        let there = &inside.contents[self.at].now;
        let from = usize::try_from(at).expect("small").min(there.len());
        let read = buffer.len().min(there.len() - from);
        buffer[..read].copy_from_slice(&there[from..from + read]);
        inside.bytes_read += read as u64;
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut inside = self.folder.operate()?;
        let from = usize::try_from(at).expect("small");
        let fails = inside.faults.writes_fail;
        // A write that fails has written some of it.
        let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        let length = inside.contents[self.at].now.len().max(from + bytes.len());
        inside.check_room(self.at, length)?;
        let content = &mut inside.contents[self.at];
        set_length(&mut content.now, length);
        content.now[from..from + bytes.len()].copy_from_slice(bytes);
        content.unsynced.extend(from / SECTOR..(from + bytes.len()).div_ceil(SECTOR));
        if fails { Err(io::Error::other("a write failed")) } else { Ok(()) }
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut inside = self.folder.operate()?;
        let length = usize::try_from(length).expect("small");
        inside.check_room(self.at, length)?;
        let now = &mut inside.contents[self.at].now;
        let length = length.max(now.len());
        set_length(now, length);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut inside = self.folder.operate()?;
        let length = usize::try_from(length).expect("small");
        set_length(&mut inside.contents[self.at].now, length);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.folder.operate()?;
        while inside.faults.held {
            inside.waiting = true;
            inside = self.folder.inside.1.wait(inside).expect("no test panics with it in hand");
        }
        inside.waiting = false;
        if inside.faults.syncs_fail {
            return Err(io::Error::other("a sync failed"));
        }
        let Content { now, durable, unsynced } = &mut inside.contents[self.at];
        set_length(durable, now.len());
        for sector in std::mem::take(unsynced) {
            let begin = (sector * SECTOR).min(now.len());
            let end = (begin + SECTOR).min(now.len());
            durable[begin..end].copy_from_slice(&now[begin..end]);
        }
        Ok(())
    }
}
