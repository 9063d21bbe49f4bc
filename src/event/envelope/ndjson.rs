//! One event a line; everything around the events comes in headers.

use serde_json::value::RawValue;

use super::{Envelope, EnvelopeError, MAX_EVENTS, RawEvent};

pub(super) fn cut(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::not_utf8(error.valid_up_to()))?;
    // One more than the limit is enough to know.
    let events = text.split('\n').filter(|line| !is_blank(line)).take(MAX_EVENTS + 1).map(event).collect();
    Envelope { events, ..Envelope::default() }.with_events()
}

fn event(line: &str) -> RawEvent<'_> {
    match serde_json::from_str::<&RawValue>(line) {
        Ok(raw) => RawEvent::Json(raw.get()),
        Err(_) => RawEvent::NotJson(line),
    }
}

/// Only what JSON counts as white space.
fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
