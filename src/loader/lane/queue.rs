//! A lane's records: those in memory, in order, and where those begin that it left in the log for want of room.

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use super::rule::{Rule, keeps};
use crate::event::UnixMillis;

/// A record in memory that is not safe yet.
#[derive(Clone, Debug)]
pub(in crate::loader) struct Waiting {
    /// Where it stands in the log.
    pub(in crate::loader) offset: i64,
    /// Its own id.
    pub(in crate::loader) record_id: Uuid,
    /// How many events it says it carries.
    pub(in crate::loader) events: usize,
    /// When intake received its batch.
    pub(in crate::loader) received_at: UnixMillis,
    /// As the log has it.
    pub(in crate::loader) bytes: Bytes,
}

impl Waiting {
    /// A record that says nothing of itself. It counts as received now: what comes from elsewhere is no lag of ours.
    pub(in crate::loader) fn undecodable(offset: i64, bytes: Bytes) -> Self {
        Self { offset, record_id: Uuid::nil(), events: 0, received_at: UnixMillis::now(), bytes }
    }

    /// Bytes that it takes in memory, roughly: with what lies beside the record's own, any number of empty ones is
    /// bounded, too.
    pub(in crate::loader) fn cost(&self) -> usize {
        const BESIDE_BYTES: usize = 256;
        self.bytes.len() + BESIDE_BYTES
    }
}

/// Whether a lane may take one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Room {
    /// It may.
    Free,
    /// The record stays in the log for now.
    None,
}

/// What became of a record that the log brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Arrival {
    /// It waits for a writer.
    Waits,
    /// The schema has it already.
    Stored,
    /// The lane has no room for it, or for one before it: it stays in the log.
    Left,
}

/// What a lane left in the log.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// From this offset on.
    from: i64,
    /// What the first of it takes in memory, as far as the lane has seen it.
    first_cost: usize,
    /// When intake received it, or one before it.
    received_at: UnixMillis,
}

impl Left {
    fn at(record: &Waiting) -> Option<Self> {
        Some(Self { from: record.offset, first_cost: record.cost(), received_at: record.received_at })
    }
}

/// Records behind those that a lane is given again: with them it has caught up, once it has all before them.
#[derive(Clone, Debug)]
struct Ahead {
    from: i64,
    records: Vec<Waiting>,
    left: Option<Left>,
}

/// Batches end at either of these; the record that passes one is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) struct BatchLimits {
    /// Events.
    pub(in crate::loader) rows: usize,
    /// Bytes of records.
    pub(in crate::loader) bytes: usize,
}

impl BatchLimits {
    /// What one statement keeps in the control schema: no more than Postgres takes in one message.
    pub(super) fn for_keeping(self) -> Self {
        const MOST_BYTES: usize = 64 * 1024 * 1024;
        Self { rows: usize::MAX, bytes: self.bytes.min(MOST_BYTES) }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Not safe yet.
    pending: VecDeque<Waiting>,
    /// Of `pending` and `ahead`.
    bytes: usize,
    /// Everything from there on is left in the log, but for what is in `ahead`.
    left: Option<Left>,
    /// What the log brings while the lane is given again all before it.
    ahead: Option<Ahead>,
}

impl Queue {
    /// The log brings the lane's next record.
    pub(in crate::loader) fn arrive(&mut self, record: Waiting, room: Room) -> Arrival {
        if self.left.is_some() {
            return self.arrive_ahead(record, room);
        }
        match room {
            Room::None => {
                self.left = Left::at(&record);
                Arrival::Left
            }
            Room::Free => {
                self.push(record);
                Arrival::Waits
            }
        }
    }

    fn arrive_ahead(&mut self, record: Waiting, room: Room) -> Arrival {
        let Some(ahead) = self.ahead.as_mut().filter(|ahead| ahead.left.is_none()) else {
            return Arrival::Left;
        };
        match room {
            Room::None => {
                ahead.left = Left::at(&record);
                Arrival::Left
            }
            Room::Free => {
                self.bytes += record.cost();
                ahead.records.push(record);
                Arrival::Waits
            }
        }
    }

    /// The log is about to bring once more what the lane left there, up to `to`, where the partition is read at present.
    pub(in crate::loader) fn begin_to_catch_up(&mut self, to: i64) {
        self.drop_ahead();
        self.ahead = Some(Ahead { from: to, records: Vec::new(), left: None });
    }

    /// The log brings once more all records of the lane from `from` up to `to`, in order. The lane takes those that it
    /// left, as far as there is room; those below `stored_below` are stored already.
    pub(in crate::loader) fn catch_up(
        &mut self,
        stored_below: i64,
        from: i64,
        records: impl IntoIterator<Item = Waiting>,
        to: i64,
        mut room: impl FnMut(usize, &Waiting) -> Room,
    ) {
        let Some(Left { from: left_from, mut received_at, .. }) = self.left else { return };
        if keeps(Rule::CatchUpWithoutGap) && left_from < from {
            return self.drop_ahead();
        }
        for record in records {
            if record.offset < left_from.max(stored_below) {
                continue;
            }
            if room(self.bytes, &record) == Room::None {
                self.left = Left::at(&record);
                return self.drop_ahead();
            }
            received_at = record.received_at;
            self.push(record);
        }
        match self.ahead.take() {
            Some(ahead) if ahead.from <= to => {
                self.pending.extend(ahead.records);
                self.left = ahead.left;
                // The schema may have got them meanwhile, from another loader.
                self.remove_below(stored_below);
            }
            ahead => {
                self.ahead = ahead;
                self.drop_ahead();
                self.left = Some(Left { from: left_from.max(to), first_cost: 0, received_at });
            }
        }
    }

    /// What is ahead stays in the log.
    pub(in crate::loader) fn drop_ahead(&mut self) {
        let ahead = self.ahead.take().map(|ahead| ahead.records).unwrap_or_default();
        self.bytes -= ahead.iter().map(Waiting::cost).sum::<usize>();
    }

    /// From where the lane has to be given records again.
    pub(in crate::loader) fn left_from(&self) -> Option<i64> {
        self.left.map(|left| left.from)
    }

    /// What the first record takes in memory that it has to be given again, as far as it was seen.
    pub(in crate::loader) fn left_cost(&self) -> usize {
        self.left.map_or(0, |left| left.first_cost)
    }

    /// The lowest offset that is neither stored, held nor written down; `None`: all that the log brought is.
    pub(in crate::loader) fn low_water(&self) -> Option<i64> {
        let left_from = self.left_from().filter(|_| keeps(Rule::WhatIsLeftIsNotSafe));
        self.pending.front().map(|record| record.offset).or(left_from)
    }

    /// When intake received the oldest record that is not safe, in memory or left in the log.
    pub(in crate::loader) fn oldest_received_at(&self) -> Option<UnixMillis> {
        let left = self.left.map(|left| left.received_at);
        self.pending.front().map(|record| record.received_at).or(left)
    }

    /// What the records in memory take there, in bytes.
    pub(in crate::loader) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether none is in memory.
    pub(in crate::loader) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The first records.
    pub(in crate::loader) fn first(&self, records: usize) -> impl Iterator<Item = &Waiting> {
        self.pending.iter().take(records)
    }

    /// The first records are safe.
    pub(super) fn remove_first(&mut self, records: usize) {
        (0..records).for_each(|_| self.remove(0));
    }

    /// Those below the offset are safe.
    pub(super) fn remove_below(&mut self, offset: i64) {
        while self.pending.front().is_some_and(|first| first.offset < offset) {
            self.remove(0);
        }
    }

    /// The record at this place is safe.
    pub(super) fn remove(&mut self, at: usize) {
        if let Some(record) = self.pending.remove(at) {
            self.bytes -= record.cost();
        }
    }

    fn push(&mut self, record: Waiting) {
        self.bytes += record.cost();
        self.pending.push_back(record);
    }

    /// How many of the first records make a batch.
    pub(super) fn batch(&self, limits: BatchLimits) -> usize {
        let (mut rows, mut bytes) = (0, 0);
        let fits = |record: &&Waiting| {
            let has_room = rows < limits.rows && bytes < limits.bytes;
            rows += record.events;
            bytes += record.bytes.len();
            has_room
        };
        self.pending.iter().take_while(fits).count()
    }
}

#[cfg(test)]
impl Queue {
    /// For the model: what tells two of them apart.
    pub(super) fn digest(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash as _;

        let mut offsets = |records: &mut dyn Iterator<Item = &Waiting>| {
            records.for_each(|record| record.offset.hash(hasher));
            (-1).hash(hasher);
        };
        offsets(&mut self.pending.iter());
        if let Some(ahead) = &self.ahead {
            offsets(&mut ahead.records.iter());
            (ahead.from, ahead.left.map(|left| left.from)).hash(hasher);
        }
        self.left_from().hash(hasher);
    }
}
