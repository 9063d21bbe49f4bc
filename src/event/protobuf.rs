//! The protobuf form of an event: its fields as the same values that the JSON form gives.
//!
//! Field numbers are the places of [`NAMES`](super::names::NAMES). What a parser of protobuf would let pass silently, a
//! number that no field has or a field that is there twice, is refused as it is in JSON.

use super::fields::Key;
use super::json::Scanner;
use super::names::Slot;
use super::text::Text;
use super::value::Value;
use super::wire::{Malformed, Wire, WireFields};

const OCCURRED_AT: Slot = Slot::of("occurred_at");
const EXT: Slot = Slot::of("ext");
const WATCHED: Slot = Slot::of("watched");
const FROM: Slot = Slot::of("from");
const TO: Slot = Slot::of("to");
const ANSWER: Slot = Slot::of("answer");

/// The fields of an encoded `rollbook.v1.Event`, in the order sent.
pub(super) fn fields(event: &[u8]) -> impl Iterator<Item = Result<(Key<'_>, Value<'_>), Malformed>> {
    WireFields::of(event).map(|field| {
        let (number, wire) = field?;
        Ok(match Slot::of_number(number) {
            Some(slot) => (Key::Known(slot), value_in(slot, wire)?),
            None => (Key::Number(number), Value::Null),
        })
    })
}

/// A scalar, for the rule of its field to judge.
pub(super) fn scalar(wire: Wire<'_>) -> Result<Value<'_>, Malformed> {
    match wire {
        Wire::Varint(bits) => Ok(Value::Whole(bits.cast_signed())),
        Wire::Fixed64(bits) => Ok(Value::Double(f64::from_le_bytes(bits))),
        Wire::Bytes(bytes) => Ok(Value::Text(Text::of_protobuf(bytes))),
        Wire::Fixed32(_) => Err(Malformed),
    }
}

/// A whole number; a rule that takes other kinds too must not see them here.
pub(super) fn varint(wire: Wire<'_>) -> Result<Value<'_>, Malformed> {
    match wire {
        Wire::Varint(_) => scalar(wire),
        _ => Err(Malformed),
    }
}

fn value_in(slot: Slot, wire: Wire<'_>) -> Result<Value<'_>, Malformed> {
    match (slot, wire) {
        (OCCURRED_AT, _) => varint(wire),
        (EXT, Wire::Bytes(text)) => Ok(ext(text)),
        (WATCHED, Wire::Bytes(message)) => Ok(Value::Intervals(message)),
        (ANSWER, Wire::Bytes(message)) => Ok(Value::Answer(message)),
        (FROM | TO, Wire::Bytes(message)) => setting(message),
        (EXT | WATCHED | ANSWER | FROM | TO, _) => Err(Malformed),
        _ => scalar(wire),
    }
}

/// The JSON in `ext`. What is no JSON stays a string, and is refused for that.
fn ext(text: &[u8]) -> Value<'_> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| Scanner::whole(text).ok());
    parsed.unwrap_or(Value::Text(Text::of_protobuf(text)))
}

/// What a `rollbook.v1.Setting` is set to; one without anything in it counts as left out.
fn setting(message: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut fields = WireFields::of(message);
    match (fields.next().transpose()?, fields.next()) {
        (None, _) => Ok(Value::Null),
        (Some((1, wire @ Wire::Fixed64(_)) | (2, wire @ Wire::Bytes(_))), None) => scalar(wire),
        _ => Err(Malformed),
    }
}

/// The kind of a `rollbook.v1.Answer`, if it has exactly one, and the answer itself.
pub(super) fn answer(message: &[u8]) -> Option<(&'static str, Value<'_>)> {
    let mut fields = WireFields::of(message);
    let (Some(Ok(field)), None) = (fields.next(), fields.next()) else { return None };
    let kind = match field {
        (1, Wire::Bytes(_)) => "choice",
        (2, Wire::Bytes(choices)) => return Some(("choices", Value::Choices(choices))),
        (3, Wire::Bytes(_)) => "text",
        (4, Wire::Bytes(_)) => "number",
        (5, Wire::Varint(bits)) => return Some(("bool", Value::Bool(bits != 0))),
        _ => return None,
    };
    scalar(field.1).ok().map(|value| (kind, value))
}

/// The bounds of each interval in a `rollbook.v1.Intervals`.
pub(super) fn intervals(message: &[u8]) -> impl Iterator<Item = Result<(Value<'_>, Value<'_>), Malformed>> {
    WireFields::of(message).map(|field| {
        let (1, Wire::Bytes(interval)) = field? else { return Err(Malformed) };
        let (mut start, mut end) = (Value::Whole(0), Value::Whole(0));
        for bound in WireFields::of(interval) {
            match bound? {
                (1, wire) => start = varint(wire)?,
                (2, wire) => end = varint(wire)?,
                _ => return Err(Malformed),
            }
        }
        Ok((start, end))
    })
}

/// The strings of a `rollbook.v1.Choices`.
pub(super) fn choices(message: &[u8]) -> impl Iterator<Item = Result<Value<'_>, Malformed>> {
    WireFields::of(message).map(|field| match field? {
        (1, wire @ Wire::Bytes(_)) => scalar(wire),
        _ => Err(Malformed),
    })
}

#[cfg(test)]
mod tests;
