//! The protobuf form: a `rollbook.v1.IngestRequest`, its events left encoded.

use super::super::protobuf::{scalar, varint};
use super::super::wire::{Malformed, Wire, WireFields};
use super::{Envelope, EnvelopeError, MAX_EVENTS, RawEvent};

/// The names of its fields, in the order of their numbers from 1 on. The events come after them.
const NAMES: [&str; 7] = ["organization", "key", "sent_at", "sdk", "viewer_id", "session_id", "content_id"];
const EVENTS: u32 = 8;

pub(super) fn cut(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    // A complaint about one field must not hide that the body is no protobuf at all.
    if WireFields::of(body).any(|field| field.is_err()) {
        return Err(Malformed.into());
    }
    let mut envelope = Envelope::default();
    let mut seen = Vec::with_capacity(NAMES.len());
    for field in WireFields::of(body) {
        match field? {
            (EVENTS, Wire::Bytes(_)) if envelope.events.len() == MAX_EVENTS => {
                return Err(EnvelopeError::too_many());
            }
            (EVENTS, Wire::Bytes(event)) => envelope.events.push(RawEvent::Protobuf(event)),
            (EVENTS, _) => return Err(Malformed.into()),
            (number, wire) => {
                let name = name_of(number)?;
                if seen.contains(&number) {
                    return Err(EnvelopeError::repeated(name));
                }
                seen.push(number);
                let value = if name == "sent_at" { varint(wire)? } else { scalar(wire)? };
                envelope.set(name, value)?;
            }
        }
    }
    envelope.with_events()
}

fn name_of(number: u32) -> Result<&'static str, EnvelopeError> {
    let position = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let name = position.and_then(|position| NAMES.get(position).copied());
    name.ok_or_else(|| EnvelopeError::unknown(&number.to_string()))
}

impl From<Malformed> for EnvelopeError {
    fn from(Malformed: Malformed) -> Self {
        Self::BadBody("the body is not a rollbook.v1.IngestRequest".to_owned())
    }
}
