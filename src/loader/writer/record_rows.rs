//! The rows of a record.

use super::rows::Row;
use crate::log::record::{BadRecord, RecordView};

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
