//! What became of each record that leaves a lane: one line for it at debug, which names the request that it was of, and a span below
//! that request's where that is exported.

use std::time::Instant;

use tracing::Level;

use super::position::Position;
use super::writer::Fates;
use crate::log::record::RecordView;
use crate::ops::spans;

/// What became of records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// In their schema, in one transaction with these events among them.
    Loaded(Fates),
    /// They wait for their schema.
    Held,
    /// They waited for it, and are in it now.
    Drained(Fates),
    /// They belong to nobody, or nobody can read them; why.
    WrittenDown(&'static str),
}

impl Fate {
    /// As the line has it.
    fn told(self) -> &'static str {
        match self {
            Self::Loaded(_) => "loaded",
            Self::Held => "held",
            Self::Drained(_) => "drained",
            Self::WrittenDown(why) => why,
        }
    }

    /// What was done, as the span is called.
    fn done(self) -> &'static str {
        match self {
            Self::Loaded(_) => "load record",
            Self::Held => "hold record",
            Self::Drained(_) => "drain record",
            Self::WrittenDown(_) => "write record down",
        }
    }
}

/// Tells what became of records, at this since `begun`: their offsets, and their bytes.
pub(super) fn trail<'a>(
    position: Position,
    records: impl IntoIterator<Item = (i64, &'a [u8])>,
    fate: Fate,
    begun: Instant,
) {
    let are_lines_wanted = tracing::enabled!(Level::DEBUG);
    if !are_lines_wanted && !spans::are_exported() {
        return;
    }
    let (partition, told) = (position.partition, fate.told());
    for (offset, bytes) in records {
        let view = match RecordView::parse(bytes) {
            Ok(view) => view,
            Err(error) => {
                tracing::debug!(partition, offset, fate = told, %error, "a record that cannot be read left its lane");
                continue;
            }
        };
        if are_lines_wanted {
            tracing::debug!(request.id = %view.request_id, organization.id = %view.organization_id,
                partition, offset, events = view.event_count, fate = told, "a record left its lane");
        }
        export(&view, partition, offset, fate, begun);
    }
}

fn export(view: &RecordView<'_>, partition: i32, offset: i64, fate: Fate, begun: Instant) {
    let Some(request) = view.span else { return };
    let mut span = spans::of_record(request, fate.done(), begun);
    span.tell("rollbook.request_id", view.request_id.to_string());
    span.tell("rollbook.organization_id", view.organization_id.to_string());
    span.tell("rollbook.partition", i64::from(partition));
    span.tell("rollbook.offset", offset);
    span.tell("rollbook.events", view.event_count);
    span.tell("rollbook.fate", fate.told());
    match fate {
        Fate::Loaded(all) | Fate::Drained(all) => {
            let number = |events: u64| i64::try_from(events).unwrap_or(i64::MAX);
            span.tell("rollbook.transaction.stored", number(all.stored));
            span.tell("rollbook.transaction.duplicate", number(all.duplicate));
            span.tell("rollbook.transaction.dead", number(all.dead));
        }
        Fate::Held => span.fail("the schema cannot take it"),
        Fate::WrittenDown(why) => span.fail(why),
    }
    span.end();
}
