//! The JSON form: one pass that proves the body to be JSON and cuts it at the same time.
//!
//! A deeply nested event is just that event's own fault: the scan does not recurse.

use serde_json::value::RawValue;

use super::super::json::{NotJson, Scanner};
use super::super::text::Text;
use super::{Envelope, EnvelopeError, Events, MAX_EVENTS};

pub(super) fn cut(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let text =
        simdutf8::compat::from_utf8(body).map_err(|error| EnvelopeError::not_utf8(error.valid_up_to()))?;
    let mut scanner = Scanner::new(text);
    match envelope(&mut scanner).and_then(|envelope| Ok(scanner.end().map(|()| envelope)?)) {
        Ok(envelope) => envelope.with_events(),
        Err(complaint) => Err(why(text, complaint)),
    }
}

/// A complaint ends the cut where it is found; a body that is not even JSON further on is a `bad_body` all the same.
fn why(text: &str, complaint: EnvelopeError) -> EnvelopeError {
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => EnvelopeError::BadBody(format!("the body is not JSON: {error}")),
        Ok(_) => complaint,
    }
}

fn envelope<'a>(scanner: &mut Scanner<'a>) -> Result<Envelope<'a>, EnvelopeError> {
    if scanner.token()? != b'{' {
        return Err(EnvelopeError::BadEnvelope("the top level must be an object".to_owned()));
    }
    let mut envelope = Envelope::default();
    let mut seen = Vec::with_capacity(8);
    while let Some(key) = scanner.key(seen.is_empty())? {
        let name = Text::show(key);
        if seen.contains(&name) {
            return Err(EnvelopeError::repeated(&name));
        }
        if name == "events" {
            envelope.events = events(scanner)?;
        } else {
            let value = scanner.value()?;
            envelope.set(&name, value)?;
        }
        seen.push(name);
    }
    Ok(envelope)
}

fn events<'a>(scanner: &mut Scanner<'a>) -> Result<Events<'a>, EnvelopeError> {
    if scanner.token()? != b'[' {
        return Err(EnvelopeError::BadEnvelope("events must be a list of 1 to 500".to_owned()));
    }
    let mut events = Events::of_json(scanner.bytes_left());
    while let Some(first) = scanner.element(events.is_empty())? {
        if events.len() == MAX_EVENTS {
            return Err(EnvelopeError::too_many());
        }
        events.scan(scanner, first)?;
    }
    Ok(events)
}

impl From<NotJson> for EnvelopeError {
    fn from(NotJson: NotJson) -> Self {
        Self::BadBody("the body is not JSON".to_owned())
    }
}
