//! One message of the log: the accepted events of one batch, of one organization.

use std::ops::Range;

use uuid::Uuid;

use crate::event::{Event, UnixMillis};
use crate::tenant::OrganizationId;

/// No record is larger than this, encoded and before compression; a larger batch becomes several.
pub const MAX_RECORD_BYTES: usize = 900_000;

/// An encoded record, ready for the log.
#[derive(Debug)]
pub struct SealedRecord {
    /// `rollbook.v1.Record`.
    pub bytes: Vec<u8>,
    /// Which of the pushed events it holds, counted from the first push.
    pub events: Range<usize>,
}

/// Encodes the accepted events of one batch.
#[derive(Debug)]
pub struct RecordBuilder {}

impl RecordBuilder {
    /// Starts the records of one batch.
    pub fn new(_organization: OrganizationId, _request_id: Uuid, _received_at: UnixMillis) -> Self {
        todo!()
    }

    /// Adds one event; seals a record and starts the next when it would grow too large.
    pub fn push(&mut self, _event: &Event<'_>) {
        todo!()
    }

    /// Every record, in order.
    pub fn finish(self) -> Vec<SealedRecord> {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BadRecord;
#[derive(Debug)]
pub struct RecordView<'a>(&'a [u8]);
impl<'a> RecordView<'a> {
    pub fn parse(b: &'a [u8]) -> Result<Self, BadRecord> {
        Ok(Self(b))
    }
    pub fn organization(&self) -> OrganizationId {
        todo!()
    }
    pub fn record_id(&self) -> Uuid {
        todo!()
    }
    pub fn request_id(&self) -> Uuid {
        todo!()
    }
    pub fn received_at(&self) -> UnixMillis {
        todo!()
    }
    pub fn event_count(&self) -> usize {
        todo!()
    }
    pub fn events(&self) -> std::vec::IntoIter<Result<Event<'a>, BadRecord>> {
        todo!()
    }
}
