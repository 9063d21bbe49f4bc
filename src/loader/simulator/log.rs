//! The log, in memory: partitions of one generation after the other, and whose each record is.

use bytes::Bytes;
use uuid::Uuid;

use super::super::model::database::{Offsets, record_id};
use crate::event::UnixMillis;
use crate::loader::lane::Waiting;
use crate::loader::partition::LaneKey;
use crate::tenant::OrganizationId;

pub(super) const PARTITIONS: usize = 3;
pub(super) const GENERATIONS: usize = 2;
/// Organizations that exist; then come an id that no organization ever had, and records without one.
pub(super) const ORGANIZATIONS: usize = 6;
pub(super) const UNKNOWN: usize = ORGANIZATIONS;
pub(super) const UNDECODABLE: usize = ORGANIZATIONS + 1;
pub(super) const KEYS: usize = ORGANIZATIONS + 2;
/// Offsets end below this one.
pub(super) const MOST_RECORDS: usize = 120;

/// One event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// A client's retry has the same one.
    pub(super) id: u32,
    /// Postgres refuses its row.
    pub(super) is_refused: bool,
}

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: usize,
    pub(super) events: Vec<Event>,
    /// Its header reads, its events do not.
    pub(super) is_garbled: bool,
    pub(super) bytes: usize,
    pub(super) at: u64,
}

/// One partition in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: usize,
    pub(super) partition: usize,
}

impl Place {
    pub(super) fn number(self) -> usize {
        self.generation * PARTITIONS + self.partition
    }

    pub(super) fn shelf(self, key: usize) -> usize {
        self.number() * KEYS + key
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..GENERATIONS)
            .flat_map(|generation| (0..PARTITIONS).map(move |partition| Self { generation, partition }))
    }
}

/// See the module. A record that is no record of ours (a transaction's marker) leaves a gap.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    partitions: [Vec<Option<Record>>; GENERATIONS * PARTITIONS],
    of: [[Offsets; KEYS]; GENERATIONS * PARTITIONS],
}

impl Log {
    pub(super) fn push(&mut self, place: Place, record: Option<Record>) -> i64 {
        let partition = &mut self.partitions[place.number()];
        let offset = i64::try_from(partition.len()).unwrap_or(i64::MAX);
        if let Some(record) = &record {
            let of = &mut self.of[place.number()][record.key];
            *of = of.with(Offsets::one(offset));
        }
        partition.push(record);
        offset
    }

    pub(super) fn is_full(&self, place: Place) -> bool {
        self.partitions[place.number()].len() >= MOST_RECORDS
    }

    pub(super) fn end(&self, place: Place) -> i64 {
        i64::try_from(self.partitions[place.number()].len()).unwrap_or(i64::MAX)
    }

    pub(super) fn record(&self, place: Place, offset: i64) -> Option<&Record> {
        self.partitions[place.number()].get(usize::try_from(offset).ok()?)?.as_ref()
    }

    /// The offsets of one key's records.
    pub(super) fn of(&self, place: Place, key: usize) -> Offsets {
        self.of[place.number()][key]
    }

    /// As a lane takes it.
    pub(super) fn waiting(&self, place: Place, offset: i64) -> Option<(LaneKey, Waiting)> {
        static BYTES: [u8; 2048] = [0; 2048];
        let record = self.record(place, offset)?;
        let bytes = Bytes::from_static(&BYTES[..record.bytes]);
        let events = if record.key == UNDECODABLE { 0 } else { record.events.len() };
        let record_id = if record.key == UNDECODABLE { Uuid::nil() } else { record_id(offset) };
        let received_at = UnixMillis(0);
        Some((lane_key(record.key), Waiting { offset, record_id, events, received_at, bytes }))
    }
}

pub(super) fn lane_key(key: usize) -> LaneKey {
    match key {
        UNDECODABLE => LaneKey::Undecodable,
        _ => LaneKey::Organization(OrganizationId(Uuid::from_u128(key as u128 + 1))),
    }
}

pub(super) fn number_of(key: LaneKey) -> usize {
    match key {
        LaneKey::Undecodable => UNDECODABLE,
        LaneKey::Organization(id) => usize::try_from(id.0.as_u128() - 1).unwrap_or(UNDECODABLE),
    }
}
