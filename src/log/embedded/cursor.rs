//! Reads the log in the order in which it was written, all partitions in one pass, and waits for what is written next.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::format::{FrameHead, Key, body_at, file_name};
use super::gaps::{Damage, Gaps};
use super::scan::{Found, Scan};
use super::state::{Shared, State};
use super::{partition_id, partition_index};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// Why a partition is read no further, or nothing is for now.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// The record cannot be read. Told once; the partition is read no further.
    #[error("the log is damaged at offset {offset} of partition {partition}")]
    Damaged {
        /// The partition.
        partition: i32,
        /// The first record that is not there, or not as it was written.
        offset: i64,
    },
    /// The record was removed before it was read here. Told once; the partition is read no further.
    #[error("partition {partition} begins at offset {start} now, and was to be read from {offset} on")]
    Gone {
        /// The partition.
        partition: i32,
        /// The record that was to be read next.
        offset: i64,
        /// The first that is kept.
        start: i64,
    },
    /// The disk refused. The same is read again when asked again.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
}

/// Reads some partitions from an offset each, each record once and in order. Its methods block: call them off the async
/// threads.
pub struct Cursor {
    folder: Arc<dyn Folder>,
    shared: Arc<Shared>,
    /// The next offset of each partition; `None`: it is not read.
    next: Vec<Option<i64>>,
    given_up: Arc<Gaps>,
    /// The segment that is read, or was read last.
    number: Option<u64>,
    scan: Option<Scan>,
    /// What has to be said first.
    untold: VecDeque<CursorError>,
}

/// What a segment is to a cursor that comes to it.
struct Entry {
    number: u64,
    key: Option<Key>,
    from: u64,
    end: u64,
}

/// How the log goes on for the cursor.
enum Onward {
    /// There is more in the segment that it reads.
    Here,
    /// In this one.
    Next(Entry),
    /// It is at the end.
    AtEnd,
}

impl Cursor {
    pub(super) fn new(folder: Arc<dyn Folder>, shared: Arc<Shared>, starts: &HashMap<i32, i64>) -> Self {
        let state = shared.lock();
        let mut next = vec![None; state.partitions()];
        for (partition, start) in starts {
            if let Some(at) = partition_index(*partition, next.len()) {
                next[at] = Some(*start);
            }
        }
        let given_up = Arc::clone(&state.given_up);
        drop(state);
        Self { folder, shared, next, given_up, number: None, scan: None, untold: VecDeque::new() }
    }

    /// The next record in the log's order; `None`: none was written within `timeout`.
    ///
    /// # Errors
    /// See [`CursorError`]: the other partitions, and after a refusal all, are read on by calling it again.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, CursorError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(untold) = self.untold.pop_front() {
                return Err(untold);
            }
            match self.scan.as_mut().map(Scan::step).transpose()?.flatten() {
                Some(Found::Frame { position, head }) => {
                    if let Some(frame) = self.frame(position, &head)? {
                        return Ok(Some(frame));
                    }
                }
                // Which records are missing, the next offsets tell.
                Some(Found::Unreadable { .. }) => {}
                None => {
                    if !self.go_on(deadline)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads a partition no further.
    pub fn stop(&mut self, partition: i32) {
        if let Some(at) = partition_index(partition, self.next.len()) {
            self.next[at] = None;
        }
    }

    /// The record of this frame, if it is wanted.
    fn frame(&mut self, position: u64, head: &FrameHead) -> Result<Option<Frame>, CursorError> {
        let partition = head.partition as usize;
        let wanted = self.next[partition].is_some_and(|next| head.offset >= next);
        let Some(scan) = self.scan.as_mut().filter(|_| wanted) else { return Ok(None) };
        let payload = match scan.payload(position, head) {
            Ok(payload) => payload.map(<[u8]>::to_vec),
            Err(error) => {
                scan.step_back(position);
                return Err(error.into());
            }
        };
        let to = if payload.is_some() { head.offset } else { head.offset + 1 };
        if self.next[partition] != Some(to) {
            let shared = Arc::clone(&self.shared);
            self.miss(partition, to, &mut shared.lock());
        }
        let frame = payload.filter(|_| self.next[partition] == Some(head.offset)).map(|bytes| {
            self.next[partition] = Some(head.offset + 1);
            Frame { partition: partition_id(partition), offset: head.offset, bytes }
        });
        Ok(frame)
    }

    /// The partition's records up to this offset are not there.
    fn miss(&mut self, partition: usize, to: i64, state: &mut State) {
        let Some(mut next) = self.next[partition] else { return };
        while next < to
            && let Some(end) = self.given_up.end_around(partition, next)
        {
            next = end.min(to);
        }
        self.next[partition] = Some(next);
        if next >= to {
            return;
        }
        self.next[partition] = None;
        let start = state.ends(partition).start;
        let (id, offset) = (partition_id(partition), next);
        self.untold.push_back(if offset < start {
            CursorError::Gone { partition: id, offset, start }
        } else {
            state.note_damage(partition, Damage { from: offset, to });
            CursorError::Damaged { partition: id, offset }
        });
    }

    /// Goes on behind what was read, as soon as there is more; says whether there is before the deadline.
    fn go_on(&mut self, deadline: Instant) -> Result<bool, CursorError> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            let onward = self.onward(&mut state);
            if !self.untold.is_empty() {
                return Ok(true);
            }
            match onward {
                Onward::Here => return Ok(true),
                Onward::Next(entry) => {
                    drop(state);
                    self.enter(&entry)?;
                    return Ok(true);
                }
                Onward::AtEnd => match shared.wait(state, deadline) {
                    Some(woken) => state = woken,
                    None => return Ok(false),
                },
            }
        }
    }

    fn onward(&mut self, state: &mut MutexGuard<'_, State>) -> Onward {
        let at = match self.number {
            None => self.first_segment(state),
            Some(number) => state.segments.partition_point(|segment| segment.number < number),
        };
        let Some(segment) = state.segments.get(at) else { return Onward::AtEnd };
        if Some(segment.number) != self.number {
            return Onward::Next(self.entry(state, at));
        }
        if let Some(scan) = &mut self.scan
            && scan.position() < segment.end
        {
            scan.set_limit(segment.end);
            return Onward::Here;
        }
        if at + 1 < state.segments.len() {
            return Onward::Next(self.entry(state, at + 1));
        }
        for partition in 0..self.next.len() {
            let end = state.next[partition];
            if self.next[partition].is_some_and(|next| next < end) {
                self.miss(partition, end, state);
            }
        }
        Onward::AtEnd
    }

    /// Where the segment stands in which the first wanted record is.
    fn first_segment(&self, state: &State) -> usize {
        let last = state.segments.len().saturating_sub(1);
        (0..last).find(|at| self.has_wanted(state, *at)).unwrap_or(last)
    }

    fn has_wanted(&self, state: &State, at: usize) -> bool {
        let behind = state.first_behind(at).iter();
        self.next.iter().zip(behind).any(|(next, behind)| next.is_some_and(|next| next < *behind))
    }

    /// What is missing before the segment is told; then it is read from the first wanted record on.
    fn entry(&mut self, state: &mut MutexGuard<'_, State>, at: usize) -> Entry {
        let first = Arc::clone(&state.segments[at].first);
        for (partition, first) in first.iter().enumerate() {
            if self.next[partition].is_some_and(|next| next < *first) {
                self.miss(partition, *first, state);
            }
        }
        let segment = &state.segments[at];
        let wanted = self.next.iter().enumerate().filter_map(|(partition, next)| Some((partition, (*next)?)));
        let place = wanted.filter_map(|(partition, next)| segment.place_of(partition, next)).min();
        // A segment that has none of what is wanted is passed over.
        let from = place.unwrap_or(segment.end).max(body_at(self.next.len()).min(segment.end));
        Entry { number: segment.number, key: segment.key, from, end: segment.end }
    }

    fn enter(&mut self, entry: &Entry) -> Result<(), CursorError> {
        let Some(key) = entry.key else {
            (self.number, self.scan) = (Some(entry.number), None);
            return Ok(());
        };
        match self.folder.open(&file_name(entry.number)) {
            Ok(file) => {
                self.scan = Some(Scan::new(file, key, self.next.len(), entry.from, entry.end));
                self.number = Some(entry.number);
                Ok(())
            }
            // It was loaded and has gone in between; or it is missing, and then no less than its records are.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.number, self.scan) = (Some(entry.number), None);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
