//! One message of the log: the accepted events of one batch, of one organization.
//!
//! The format is `proto/rollbook/v1/record.proto`. Both ways of it are written by hand over the wire format, so that an
//! event's bytes are copied once on the way in and not at all on the way out; a test holds both against the generated
//! messages.

mod build;
mod outline;
mod view;

pub use build::{RecordBuilder, SealedRecord};
pub(super) use outline::outline;
pub use view::{BadRecord, Events, RecordView};

/// No record is larger than this, encoded and before compression; a larger batch becomes several.
pub const MAX_RECORD_BYTES: usize = 900_000;

/// The newest format of records that this release reads, and the one that it writes: see `format` in `record.proto`.
pub const FORMAT: u32 = 0;

/// Field numbers of `Record`.
mod record_field {
    pub(super) const ORGANIZATION_ID: u32 = 1;
    pub(super) const RECORD_ID: u32 = 2;
    pub(super) const REQUEST_ID: u32 = 3;
    pub(super) const RECEIVED_AT_MS: u32 = 4;
    pub(super) const EVENTS: u32 = 5;
    pub(super) const FORMAT: u32 = 6;
    pub(super) const SPAN: u32 = 7;
}

/// Field numbers of `RecordEvent`.
mod event_field {
    pub(super) const EVENT_ID: u32 = 1;
    pub(super) const TYPE: u32 = 2;
    pub(super) const SESSION_ID: u32 = 3;
    pub(super) const VIEWER_ID: u32 = 4;
    pub(super) const CONTENT_ID: u32 = 5;
    pub(super) const ITEM_ID: u32 = 6;
    pub(super) const OCCURRED_AT_MS: u32 = 7;
    pub(super) const CLIENT_OCCURRED_AT_MS: u32 = 8;
    pub(super) const SEQ: u32 = 9;
    pub(super) const POSITION_MS: u32 = 10;
    pub(super) const RATE: u32 = 11;
    pub(super) const WATCHED: u32 = 12;
    pub(super) const PLAYED_MS: u32 = 13;
    pub(super) const ANSWER: u32 = 14;
    pub(super) const CORRECT: u32 = 15;
    pub(super) const SCORE: u32 = 16;
    pub(super) const ATTEMPT: u32 = 17;
    pub(super) const ELAPSED_MS: u32 = 18;
    pub(super) const DETAILS: u32 = 19;
}

/// Field number of `Watched`.
const BOUNDS_MS: u32 = 1;

#[cfg(test)]
mod tests;
