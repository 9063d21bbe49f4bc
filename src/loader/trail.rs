//! One line for each record that leaves a lane, at debug: which request it was of, and what became of it.

use tracing::Level;

use super::position::Position;
use crate::log::record::RecordView;

/// What became of records: their offsets, and their bytes.
pub(super) fn trail<'a>(
    position: Position,
    records: impl IntoIterator<Item = (i64, &'a [u8])>,
    fate: &'static str,
) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let partition = position.partition;
    for (offset, bytes) in records {
        match RecordView::parse(bytes) {
            Ok(view) => {
                tracing::debug!(request.id = %view.request_id, organization.id = %view.organization_id,
                partition, offset, events = view.event_count, fate, "a record left its lane")
            }
            Err(error) => {
                tracing::debug!(partition, offset, fate, %error, "a record that cannot be read left its lane")
            }
        }
    }
}
