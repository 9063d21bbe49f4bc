//! One assigned partition: its lanes, and how far it is safe.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::lane::{Arrival, Lane, Nobody, Room, Waiting};
use super::position::{Position, Watermark};
use crate::event::UnixMillis;
use crate::tenant::OrganizationId;

/// Whose lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LaneKey {
    /// An organization's.
    Organization(OrganizationId),
    /// That of records which do not say whose they are.
    Undecodable,
}

/// Of so many records in a row one is remembered as a place for the anchor.
const RECORDS_A_PLACE: u32 = if cfg!(test) { 2 } else { 256 };

/// See the module. A value without IO or clock, like its lanes.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    position: Position,
    /// Tells this time that it is read from every other: a task that began before is not listened to.
    reading: u64,
    lanes: HashMap<LaneKey, Lane>,
    /// The next offset that the log brings.
    next_offset: i64,
    /// Right behind records that were brought, in order: where an anchor may stand.
    places: VecDeque<Watermark>,
    last: Option<Watermark>,
    since_place: u32,
    is_closing: bool,
}

impl Partition {
    /// A partition that is read from `start` on: its anchor, or `first` where there is none.
    pub(super) fn new(position: Position, reading: u64, start: Option<Watermark>, first: i64) -> Self {
        Self {
            position,
            reading,
            lanes: HashMap::new(),
            next_offset: start.map_or(first, |start| start.next_offset),
            places: start.into_iter().collect(),
            last: start,
            since_place: 0,
            is_closing: false,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn reading(&self) -> u64 {
        self.reading
    }

    /// The next offset that the log brings.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Right behind the last record that the log brought; where it brought none, where it is read from.
    pub(super) fn records_end(&self) -> i64 {
        self.last.map_or(self.next_offset, |last| last.next_offset)
    }

    /// The log brings a record. Offsets grow; what lies between two is no record.
    pub(super) fn arrive(&mut self, key: LaneKey, record: Waiting, room: Room) -> Arrival {
        let offset = record.offset;
        self.next_offset = self.next_offset.max(offset + 1);
        let place = Watermark::after(offset, record.record_id);
        self.last = Some(place);
        self.since_place += 1;
        if self.since_place >= RECORDS_A_PLACE {
            self.since_place = 0;
            self.places.push_back(place);
        }
        self.lane_or_new(key).arrive(record, room)
    }

    /// Whether everything that the log brought is safe.
    pub(super) fn is_at_rest(&self) -> bool {
        self.low_water() == self.next_offset
    }

    /// The log has no record below `next_offset` that it did not bring: what lies there are marks of its own.
    pub(super) fn reach(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// The lane of this key, which is made where there is none.
    pub(super) fn lane_or_new(&mut self, key: LaneKey) -> &mut Lane {
        self.lanes.entry(key).or_insert_with(|| match key {
            LaneKey::Organization(_) => Lane::new(),
            LaneKey::Undecodable => Lane::nowhere(Nobody::Undecodable),
        })
    }

    pub(super) fn lane(&self, key: LaneKey) -> Option<&Lane> {
        self.lanes.get(&key)
    }

    pub(super) fn lane_mut(&mut self, key: LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(&key)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = (LaneKey, &Lane)> {
        self.lanes.iter().map(|(key, lane)| (*key, lane))
    }

    pub(super) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.values_mut()
    }

    /// Forgets a lane without a schema that has nothing: ids that no organization has may be any number.
    pub(super) fn forget_if_nowhere(&mut self, key: LaneKey) {
        if self.lanes.get(&key).is_some_and(|lane| lane.is_nowhere() && lane.is_empty()) {
            self.lanes.remove(&key);
        }
    }

    /// The lowest offset that is not safe: below it every record is stored, held or written down.
    pub(super) fn low_water(&self) -> i64 {
        self.lanes.values().filter_map(Lane::low_water).min().unwrap_or(self.next_offset)
    }

    /// The lowest offset that is still to be read from the log.
    pub(super) fn to_be_read(&self) -> i64 {
        self.lanes.values().filter_map(Lane::left_from).min().unwrap_or(self.next_offset)
    }

    /// The lane of this organization has one before it that was confirmed so much.
    pub(super) fn remind(&mut self, key: LaneKey, before: Watermark) {
        self.lanes.entry(key).or_insert_with(|| Lane::after(before));
    }

    /// The highest place that is safe and known by the record below it: what the next owner begins at.
    pub(super) fn safe_place(&mut self) -> Option<Watermark> {
        let low_water = self.low_water();
        // Behind the last record come marks of the log's own, which retention takes like records.
        if self.next_offset == low_water && self.last.is_none_or(|last| last.next_offset < low_water) {
            return Some(Watermark { next_offset: low_water, last_record_id: Uuid::nil() });
        }
        if let Some(last) = self.last.filter(|last| last.next_offset <= low_water) {
            self.places.clear();
            self.places.push_back(last);
            return Some(last);
        }
        while self.places.get(1).is_some_and(|second| second.next_offset <= low_water) {
            self.places.pop_front();
        }
        self.places.front().copied().filter(|first| first.next_offset <= low_water)
    }

    /// Where its anchor may stand, for the model.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = i64> {
        self.places.iter().map(|place| place.next_offset)
    }

    /// When intake received the oldest record that is not safe, in memory or left in the log.
    pub(super) fn oldest_received_at(&self) -> Option<UnixMillis> {
        self.lanes.values().filter_map(Lane::oldest_received_at).min()
    }

    /// It is to be given up: lanes write what they have, and nothing new begins.
    pub(super) fn begin_close(&mut self) {
        self.is_closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether nothing is left to be written of what is in memory.
    pub(super) fn has_written_all(&self) -> bool {
        self.lanes.values().all(Lane::has_nothing_to_write)
    }

    /// Whether a lane found a watermark lower than one that the database once confirmed.
    pub(super) fn went_back(&self) -> bool {
        self.lanes.values().any(Lane::went_back)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::loader::lane::{BatchLimits, First, Kept, Told};

    const ALL: BatchLimits = BatchLimits { rows: usize::MAX, bytes: usize::MAX };

    fn partition_with(records: i64) -> Partition {
        let mut partition = Partition::new(Position { generation: 1, partition: 0 }, 1, None, 0);
        for offset in 0..records {
            let record = Waiting::undecodable(offset, Bytes::new());
            assert_eq!(partition.arrive(LaneKey::Undecodable, record, Room::Free), Arrival::Waits);
        }
        partition
    }

    #[test]
    fn an_anchor_stands_only_where_all_below_it_is_safe() {
        let mut partition = partition_with(5);
        assert_eq!((partition.low_water(), partition.safe_place()), (0, None));
        let lane = partition.lane_or_new(LaneKey::Undecodable);
        lane.begin(ALL, First::Pending);
        lane.told(Told::WrittenDown(Kept::confirmed()), Instant::now());
        assert_eq!(partition.low_water(), 5);
        assert_eq!(partition.safe_place().map(|place| place.next_offset), Some(5));
    }

    #[test]
    fn an_anchor_moves_on_though_not_all_that_was_read_is_safe() {
        let mut partition = partition_with(3);
        let lane = partition.lane_or_new(LaneKey::Undecodable);
        lane.begin(ALL, First::Pending);
        for offset in 3..5 {
            partition.arrive(LaneKey::Undecodable, Waiting::undecodable(offset, Bytes::new()), Room::Free);
        }
        let lane = partition.lane_or_new(LaneKey::Undecodable);
        lane.told(Told::WrittenDown(Kept::confirmed()), Instant::now());
        assert_eq!(partition.low_water(), 3);
        // A place is remembered behind every second record, in tests.
        assert_eq!(partition.safe_place().map(|place| place.next_offset), Some(2));
    }

    #[test]
    fn an_anchor_passes_marks_of_the_logs_own_once_all_before_them_is_safe() {
        let mut partition = partition_with(1);
        partition.reach(7);
        assert_eq!((partition.low_water(), partition.safe_place()), (0, None));
        let lane = partition.lane_or_new(LaneKey::Undecodable);
        lane.begin(ALL, First::Pending);
        lane.told(Told::WrittenDown(Kept::confirmed()), Instant::now());
        assert_eq!(partition.safe_place(), Some(Watermark { next_offset: 7, last_record_id: Uuid::nil() }));
    }
}
