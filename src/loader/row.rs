//! One event on its way into the `event` table.

use uuid::Uuid;

use crate::event::{Event, UnixMillis};
use crate::log::RecordBuilder;
use crate::tenant::OrganizationId;

/// An event, with what its record says of it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// The event.
    pub(super) event: Event<'a>,
    /// When intake received its batch.
    pub(super) received_at: UnixMillis,
    /// The organization that its record names.
    pub(super) organization: OrganizationId,
    /// The request that carried it.
    pub(super) request_id: Uuid,
    /// The offset of its record.
    pub(super) log_offset: i64,
}

impl Row<'_> {
    /// The dedupe key.
    pub(super) fn id(&self) -> Uuid {
        self.event.id
    }

    /// The event alone in a record, for where a row cannot be kept by column.
    pub(super) fn as_record(&self) -> Vec<u8> {
        let mut builder = RecordBuilder::new(self.organization, self.request_id, self.received_at);
        builder.push(&self.event);
        builder.finish().pop().map(|record| record.bytes).unwrap_or_default()
    }
}

/// Milliseconds from 1970 to 2000, where Postgres counts from.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

/// A time as Postgres has it on the wire: microseconds since 2000. Times that far out that they do not fit are kept at
/// the end of the range, which Postgres then refuses.
pub(super) fn postgres_micros(at: UnixMillis) -> i64 {
    at.0.saturating_sub(POSTGRES_EPOCH_MS).saturating_mul(1000)
}
