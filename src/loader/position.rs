//! Where a lane stands in the log.

use uuid::Uuid;

use crate::log::Anchor;

/// One partition within one life of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Which life of the log: offsets mean nothing across two.
    pub(super) generation: i32,
    /// The partition.
    pub(super) partition: i32,
}

/// How far an organization's schema has come in one partition, as its `ingest_watermark` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    /// The next offset to store; what lies below is stored.
    pub(super) next_offset: i64,
    /// The record just below it, which tells one life of a topic from another.
    pub(super) last_record_id: Uuid,
}

impl Watermark {
    /// The watermark after the record at `offset` was stored. The one place that adds 1.
    pub(super) fn after(offset: i64, record_id: Uuid) -> Self {
        Self { next_offset: offset + 1, last_record_id: record_id }
    }

    /// The higher of two, where there are any.
    pub(super) fn higher(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).max_by_key(|watermark| watermark.next_offset)
    }

    /// What the log has to have here still; `None`: the record says nothing of itself.
    pub(super) fn anchor(self) -> Option<Anchor> {
        (!self.last_record_id.is_nil())
            .then_some(Anchor { next_offset: self.next_offset, record_id: self.last_record_id })
    }

    /// Whether a schema with this watermark (`None`: it never stored anything) already has the record at `offset`.
    pub(super) fn covers(watermark: Option<&Self>, offset: i64) -> bool {
        watermark.is_some_and(|watermark| offset < watermark.next_offset)
    }
}
