//! Events on their way into the `event` table, one by one: for the ways that need a row as it is.

use jiff::SignedDuration;
use uuid::Uuid;

use crate::event::{Event, UnixMillis};
use crate::log::RecordBuilder;
use crate::log::record::{BadRecord, RecordView};
use crate::tenant::OrganizationId;

/// An event, with what its record says of it.
#[derive(Debug)]
pub(in crate::loader) struct Row<'a> {
    /// The event.
    pub(in crate::loader) event: Event<'a>,
    /// When intake received its batch.
    pub(in crate::loader) received_at: UnixMillis,
    /// The organization that its record names.
    pub(in crate::loader) organization: OrganizationId,
    /// The request that carried it.
    pub(in crate::loader) request_id: Uuid,
    /// The offset of its record.
    pub(in crate::loader) log_offset: i64,
}

impl Row<'_> {
    /// The dedupe key.
    pub(in crate::loader) fn id(&self) -> Uuid {
        self.event.id
    }

    /// The event alone in a record, for where a row cannot be kept by column.
    pub(in crate::loader) fn as_record(&self) -> Vec<u8> {
        let mut builder = RecordBuilder::new(self.organization, self.request_id, self.received_at);
        builder.push(&self.event);
        builder.finish().pop().map(|record| record.bytes).unwrap_or_default()
    }
}

/// Adds every row of a record, or none.
pub(in crate::loader) fn rows_of<'a>(
    record: &RecordView<'a>,
    offset: i64,
    rows: &mut Vec<Row<'a>>,
) -> Result<(), BadRecord> {
    let before = rows.len();
    for event in record.events() {
        match event {
            Ok(event) => rows.push(Row {
                event,
                received_at: record.received_at,
                organization: record.organization_id,
                request_id: record.request_id,
                log_offset: offset,
            }),
            Err(bad) => {
                rows.truncate(before);
                return Err(bad);
            }
        }
    }
    Ok(())
}

/// A time as text that Postgres reads. RFC 3339 has a year 0 and Postgres has none; it calls that one 1 BC.
pub(in crate::loader) fn postgres_text(at: UnixMillis) -> String {
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let Ok(time) = epoch.checked_add(SignedDuration::from_millis(at.0)) else { return at.to_string() };
    if time.year() > 0 {
        return format!("{time:.3}Z");
    }
    let before_christ = 1 - time.year();
    let (month, day, clock) = (time.month(), time.day(), time.time());
    format!("{before_christ:04}-{month:02}-{day:02} {clock:.3}+00 BC")
}

/// Milliseconds from 1970 to 2000, where Postgres counts from.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

/// A time as Postgres has it on the wire: microseconds since 2000. Times that far out that they do not fit are kept at
/// the end of the range, which Postgres then refuses.
pub(in crate::loader) fn postgres_micros(at: UnixMillis) -> i64 {
    at.0.saturating_sub(POSTGRES_EPOCH_MS).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_calendar_are_written_as_postgres_reads_them() {
        for (at, expected) in [
            (UnixMillis::MIN, "0001-01-01 00:00:00.000+00 BC"),
            (UnixMillis(-62_135_596_800_001), "0001-12-31 23:59:59.999+00 BC"),
            (UnixMillis(-62_135_596_800_000), "0001-01-01T00:00:00.000Z"),
            (UnixMillis(1_795_384_100_123), "2026-11-22T21:48:20.123Z"),
            (UnixMillis::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(postgres_text(at), expected);
        }
    }
}
