//! The one thread that writes: it takes all records that wait, writes them as a group, syncs once, and tells each.
//!
//! While a sync is under way the next group gathers: so there is nothing to linger for. A write that fails is answered, and
//! the segment ends where the last group did; the next one begins in a new segment. A sync that fails ends the process:
//! what the kernel then shows is not what the disk has, and no later sync would say so.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use super::format::{FrameHead, MAX_OFFSET, as_index};
use super::queue::{Queue, Told, Waiting};
use super::state::Shared;
use super::tail::{NoPlace, Tail};
use super::trouble::AppendError;
use super::{LONGEST_WRITE, partition_id};

/// A group is no larger, unless one record is.
const MAX_GROUP_BYTES: usize = 8 << 20;
/// A disk that refuses is asked again even when there is nothing to write: readiness comes back by itself.
const PROBE: Duration = Duration::from_secs(1);

/// A record in the group that is being gathered.
struct Gathered {
    partition: usize,
    offset: i64,
    position: u64,
    bytes: usize,
    told: Told,
}

/// Records that have been taken and are not gathered yet.
struct Taken {
    records: IntoIter<Waiting>,
    /// The one that did not fit into the last group.
    first: Option<Waiting>,
}

impl Taken {
    fn next(&mut self) -> Option<Waiting> {
        self.first.take().or_else(|| self.records.next())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.records.len() == 0
    }
}

pub(super) struct Appender {
    pub(super) tail: Tail,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Arc<Queue>,
    /// Locks the folder for as long as the appender lives.
    pub(super) lock: Option<File>,
}

impl Drop for Appender {
    /// However it ends: nobody waits for it in vain, and the folder is free.
    fn drop(&mut self) {
        self.queue.abandon();
        drop(self.lock.take());
        self.shared.lock().closed = true;
        self.shared.ring();
    }
}

impl Appender {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // The group as it is written.
        let mut frames = Vec::new();
        loop {
            let work = self.queue.take(self.tail.is_refused().then_some(PROBE));
            let idle = work.records.is_empty();
            let mut taken = Taken { records: work.records.into_iter(), first: None };
            while !taken.is_empty() {
                let began = self.ask_the_disk();
                let group = self.gather(&mut taken, &mut frames);
                self.commit(group, &frames);
                frames.shrink_to(MAX_GROUP_BYTES);
                if began.elapsed() <= LONGEST_WRITE {
                    self.shared.lock().writing_since = None;
                }
            }
            self.ask_the_disk();
            self.tail.trim();
            if idle && work.closing {
                break;
            }
            if idle && self.tail.is_refused() {
                self.tail.begin();
            }
            // Where more waits, a disk that was slow has to be quick first.
            if self.queue.bytes() == 0 {
                self.shared.lock().writing_since = None;
            }
        }
        self.tail.close();
    }

    /// From now on it is waited for; it is, and has been, where it has not answered in time before.
    fn ask_the_disk(&self) -> Instant {
        let now = Instant::now();
        self.shared.lock().writing_since.get_or_insert(now);
        now
    }

    /// Takes records until the group is full or the segment is.
    fn gather(&mut self, taken: &mut Taken, frames: &mut Vec<u8>) -> Vec<Gathered> {
        frames.clear();
        let mut group = Vec::new();
        let mut next = self.shared.lock().next.clone();
        while let Some(record) = taken.next() {
            let place = match frames.len() + record.bytes.len() > MAX_GROUP_BYTES && !group.is_empty() {
                true => Err(NoPlace::InThisGroup),
                false => self.tail.place(record.bytes.len(), frames.len() as u64),
            };
            match place {
                Ok(place) => {
                    let Waiting { partition, bytes, told } = record;
                    let (position, offset) = (place.group + frames.len() as u64, next[partition]);
                    if offset >= MAX_OFFSET {
                        let unfit =
                            AppendError::Unfit { partition: partition_id(partition), bytes: bytes.len() };
                        self.tell(bytes.len(), told, Err(unfit));
                        continue;
                    }
                    let (group_at, id) = (small(place.group), small(partition as u64));
                    FrameHead::encode(place.key, group_at, id, offset, &bytes, frames);
                    group.push(Gathered { partition, offset, position, bytes: bytes.len(), told });
                    next[partition] += 1;
                }
                Err(NoPlace::InThisGroup) => {
                    taken.first = Some(record);
                    break;
                }
                Err(NoPlace::Full) => self.tell(record.bytes.len(), record.told, Err(AppendError::Full)),
                Err(NoPlace::Disk(error)) => {
                    self.tell(record.bytes.len(), record.told, Err(AppendError::Disk(error)));
                }
            }
        }
        group
    }

    /// Writes the group, syncs it and tells all who wait for it.
    fn commit(&mut self, group: Vec<Gathered>, frames: &[u8]) {
        if group.is_empty() {
            return;
        }
        match self.tail.write(frames) {
            Ok(end) => {
                self.publish(&group, end);
                for record in group {
                    self.tell(record.bytes, record.told, Ok(record.offset));
                }
            }
            Err(error) => {
                for record in group {
                    self.tell(record.bytes, record.told, Err(AppendError::Disk(Arc::clone(&error))));
                }
            }
        }
    }

    /// From now on the group can be read.
    fn publish(&self, group: &[Gathered], end: u64) {
        let mut state = self.shared.lock();
        for record in group {
            state.next[record.partition] = record.offset + 1;
        }
        if let Some(segment) = state.segments.back_mut() {
            for record in group {
                segment.note(record.partition, record.offset, record.position);
            }
            segment.end = end;
        }
        drop(state);
        self.shared.ring();
    }

    fn tell(&self, bytes: usize, told: Told, outcome: Result<i64, AppendError>) {
        self.queue.settled(bytes);
        told.tell(outcome);
    }
}

/// Positions in a segment, and partitions, are far below.
fn small(number: u64) -> u32 {
    u32::try_from(as_index(number)).unwrap_or(u32::MAX)
}
