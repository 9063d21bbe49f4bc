//! The JSON form: one pass that proves the body to be JSON and cuts it at the same time.
//!
//! `serde_json` skips over each event and keeps its text; it does so without recursion, so a deeply nested event is
//! just that event's own fault.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{json, value::Value};
use super::{Envelope, EnvelopeError, MAX_EVENTS, RawEvent};

pub(super) fn cut(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::not_utf8(error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut complaint = EnvelopeError::BadEnvelope("the top level must be an object".to_owned());
    let cut = deserializer.deserialize_map(Cut { complaint: &mut complaint });
    match cut.and_then(|envelope| deserializer.end().map(|()| envelope)) {
        Ok(envelope) => envelope.with_events(),
        Err(_) => Err(why(text, complaint)),
    }
}

/// A complaint ends the cut where it is found; a body that is not even JSON further on is a `bad_body` all the same.
fn why(text: &str, complaint: EnvelopeError) -> EnvelopeError {
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => EnvelopeError::BadBody(format!("the body is not JSON: {error}")),
        Ok(_) => complaint,
    }
}

/// Cuts the envelope.
struct Cut<'c> {
    /// What is wrong if this visit ends early although the body is JSON.
    complaint: &'c mut EnvelopeError,
}

impl<'a> Visitor<'a> for Cut<'_> {
    type Value = Envelope<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<Envelope<'a>, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = Vec::with_capacity(8);
        // A key is taken raw, for `serde_json` would stop at a lone surrogate in it.
        while let Some(key) = members.next_key::<&RawValue>()? {
            let Some(Value::Text(key)) = json::value(key.get()) else { continue };
            let name = key.show();
            if seen.contains(&name) {
                *self.complaint = EnvelopeError::repeated(&name);
                return Err(A::Error::custom("repeated field"));
            }
            if name == "events" {
                *self.complaint = EnvelopeError::BadEnvelope("events must be a list of 1 to 500".to_owned());
                envelope.events = members.next_value_seed(Events { complaint: self.complaint })?;
            } else {
                let raw = members.next_value::<&RawValue>()?;
                let value = json::value(raw.get()).unwrap_or(Value::Null);
                if let Err(error) = envelope.set(&name, value) {
                    *self.complaint = error;
                    return Err(A::Error::custom("wrong field"));
                }
            }
            seen.push(name);
        }
        Ok(envelope)
    }
}

/// Cuts the list of events.
struct Events<'c> {
    complaint: &'c mut EnvelopeError,
}

impl<'a> DeserializeSeed<'a> for Events<'_> {
    type Value = Vec<RawEvent<'a>>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Events<'_> {
    type Value = Vec<RawEvent<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(raw) = elements.next_element::<&RawValue>()? {
            if events.len() == MAX_EVENTS {
                *self.complaint = EnvelopeError::too_many();
                return Err(A::Error::custom("too many"));
            }
            events.push(RawEvent::Json(raw.get()));
        }
        Ok(events)
    }
}
