//! What the engine knows of its log: the segments, where each partition begins and ends, what is loaded and what is
//! damaged. The appender changes it, and whoever reads waits for it to change.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Ends;
use super::format::Key;
use super::gaps::{Damage, Gaps};
use super::trouble::Trouble;

/// Bytes of a segment after which a partition's next record gets a place in the index: more is not read for one record.
const INDEX_STEP: u64 = 1 << 20;

/// A place to begin reading at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: u32,
    position: u32,
    offset: i64,
}

/// One segment, as far as it is synced.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// By which its frames are known; none where its header is gone, and with it all that it held.
    pub(super) key: Option<Key>,
    /// The next offset of every partition where it begins.
    pub(super) first: Arc<[i64]>,
    /// Where its last frame ends.
    pub(super) end: u64,
    index: Vec<Place>,
    /// Where each partition's last place in the index is.
    indexed_at: Vec<Option<u64>>,
}

impl Segment {
    pub(super) fn new(number: u64, key: Option<Key>, first: &[i64], end: u64) -> Self {
        let indexed_at = vec![None; first.len()];
        Self { number, key, first: first.into(), end, index: Vec::new(), indexed_at }
    }

    /// A frame stands here.
    pub(super) fn note(&mut self, partition: usize, offset: i64, position: u64) {
        if self.indexed_at[partition].is_some_and(|before| position < before + INDEX_STEP) {
            return;
        }
        if let (Ok(partition), Ok(place)) = (u32::try_from(partition), u32::try_from(position)) {
            self.indexed_at[partition as usize] = Some(position);
            self.index.push(Place { partition, position: place, offset });
        }
    }

    /// Nothing more will be noted.
    pub(super) fn seal(&mut self) {
        self.indexed_at = Vec::new();
        self.index.shrink_to_fit();
    }

    /// From where on no record of the partition is missed that has this offset or a later one; `None`: the segment has
    /// none of it.
    pub(super) fn place_of(&self, partition: usize, offset: i64) -> Option<u64> {
        let mut places = self.index.iter().filter(|place| place.partition as usize == partition);
        let first = places.next()?;
        let last = places.take_while(|place| place.offset <= offset).last();
        Some(u64::from(last.unwrap_or(first).position))
    }
}

/// What is known now.
#[derive(Debug)]
pub(super) struct State {
    /// The oldest first. Only the last one grows, and only while the appender has it open.
    pub(super) segments: VecDeque<Segment>,
    /// The next offset of each partition.
    pub(super) next: Vec<i64>,
    /// Below it all of a partition is loaded; `None`: nobody has said so since the log was opened.
    pub(super) loaded: Vec<Option<i64>>,
    /// What cannot be read, given up or not.
    pub(super) damage: Gaps,
    /// What readers pass over.
    pub(super) given_up: Arc<Gaps>,
    /// Since when the appender waits for the disk, or since when it has not answered in time.
    pub(super) writing_since: Option<Instant>,
    /// Why the disk takes nothing now.
    pub(super) trouble: Option<Trouble>,
    /// Bytes for which there was no room when a record was last refused.
    pub(super) no_room_for: Option<u64>,
    pub(super) retention_bytes: u64,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn partitions(&self) -> usize {
        self.next.len()
    }

    /// What the log takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// Of those, what cannot go to make room: the oldest segment that has a record which is not loaded, and all behind it.
    pub(super) fn unloaded_bytes(&self) -> u64 {
        let first = (0..self.segments.len()).find(|at| !self.is_loaded(*at));
        first.map_or(0, |at| self.segments.range(at..).map(|segment| segment.end).sum())
    }

    /// Where the partition begins and ends.
    pub(super) fn ends(&self, partition: usize) -> Ends {
        let end = self.next[partition];
        Ends { start: self.segments.front().map_or(end, |oldest| oldest.first[partition]), end }
    }

    /// Where every partition begins.
    pub(super) fn starts(&self) -> Vec<i64> {
        (0..self.partitions()).map(|partition| self.ends(partition).start).collect()
    }

    /// The next offsets where the segment at this place in the list ends.
    pub(super) fn first_behind(&self, at: usize) -> &[i64] {
        self.segments.get(at + 1).map_or(&self.next, |behind| &behind.first)
    }

    /// Whether all records of the segment at this place are loaded.
    pub(super) fn is_loaded(&self, at: usize) -> bool {
        let behind = self.first_behind(at);
        let loaded = |partition: usize| self.loaded[partition].is_some_and(|mark| mark >= behind[partition]);
        (0..self.partitions())
            .all(|partition| self.segments[at].first[partition] == behind[partition] || loaded(partition))
    }

    /// Whether nothing would be lost with all that is there.
    pub(super) fn is_all_loaded(&self) -> bool {
        (0..self.segments.len()).all(|at| self.is_loaded(at))
    }

    /// Takes the oldest segment out if another follows it and all of it is loaded.
    pub(super) fn take_oldest_loaded(&mut self) -> Option<Segment> {
        if self.segments.len() < 2 || !self.is_loaded(0) {
            return None;
        }
        self.segments.pop_front()
    }

    /// Whether so many more bytes are within the limit, once what is loaded has gone.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        let mut kept = self.bytes();
        for at in 0..self.segments.len() {
            if kept + bytes <= self.retention_bytes || !self.is_loaded(at) {
                break;
            }
            kept -= self.segments[at].end;
        }
        // An empty log takes any record, however small it is to be.
        kept == 0 || kept + bytes <= self.retention_bytes
    }

    /// A reader has found these unreadable.
    pub(super) fn note_damage(&mut self, partition: usize, damage: Damage) {
        self.damage.add(partition, damage);
    }
}

/// The state, and a bell that rings when it changes.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The state, for a moment: nothing waits or reads a file with it in hand.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait.
    pub(super) fn ring(&self) {
        self.changed.notify_all();
    }

    /// Waits until the bell rings or the deadline passes, which it says.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> Option<MutexGuard<'a, State>> {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }
}
