//! The fields of one event, each in its slot, whatever order and form they came in.

use std::borrow::Cow;
use std::collections::HashSet;

use uuid::Uuid;

use super::RefusalCode::{BadText, BadType, UnknownField};
use super::fault::Fault;
use super::names::{NAMES, Slot, Slots};
use super::text::Text;
use super::value::Value;
use super::wire::Malformed;
use super::{RawEvent, Refusal, Scanned, json, protobuf};

/// What a value was sent under.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    Known(Slot),
    /// A key in JSON that no field has.
    Stranger(Text<'a>),
    /// A field number of protobuf that no field has.
    Number(u32),
}

/// The fields of one event. Made once for a batch and filled again for each event.
pub(super) struct Fields<'a> {
    /// Only what `seen` tells of; the rest is left from earlier events.
    values: [Value<'a>; NAMES.len()],
    seen: Slots,
    has_strangers: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new() -> Self {
        Self { values: [Value::Null; NAMES.len()], seen: Slots::NONE, has_strangers: false }
    }

    /// What was sent for a field, `Null` if nothing was.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Value<'a> {
        if self.seen.contains(slot) { self.values[slot.index()] } else { Value::Null }
    }

    /// Takes the fields of the next event in.
    ///
    /// # Errors
    /// The event is no object (field: none), or a key is in it twice (field: that key).
    pub(super) fn fill(&mut self, event: RawEvent<'a>) -> Result<(), Misfit<'a>> {
        self.seen = Slots::NONE;
        self.has_strangers = false;
        match event {
            RawEvent::Scanned(Scanned { fields, .. }) => {
                for &(slot, value) in fields {
                    self.seen = self.seen.with(slot);
                    self.values[slot.index()] = value;
                }
                Ok(())
            }
            RawEvent::Json(text) if text.starts_with('{') => self.fill_from(json_fields(text).map(Ok)),
            RawEvent::Json(_) => Err(Misfit::NoObject("is not an object")),
            RawEvent::NotJson(_) => Err(Misfit::NoObject("is not JSON")),
            RawEvent::Protobuf(bytes) => self.fill_from(protobuf::fields(bytes)),
        }
    }

    /// Whether every field that was sent, null or not, is one of `known`.
    #[inline]
    pub(super) fn are_within(&self, known: Slots) -> bool {
        !self.has_strangers && self.seen.is_within(known)
    }

    #[inline]
    fn fill_from(
        &mut self,
        fields: impl Iterator<Item = Result<(Key<'a>, Value<'a>), Malformed>>,
    ) -> Result<(), Misfit<'a>> {
        let mut strangers = HashSet::new();
        for field in fields {
            let (key, value) = field.map_err(|Malformed| Misfit::NoObject("is not a rollbook.v1.Event"))?;
            let is_new = match key {
                Key::Known(slot) => {
                    let is_new = !self.seen.contains(slot);
                    self.seen = self.seen.with(slot);
                    self.values[slot.index()] = value;
                    is_new
                }
                Key::Stranger(_) | Key::Number(_) => {
                    self.has_strangers = true;
                    strangers.insert(key.show())
                }
            };
            if !is_new {
                return Err(Misfit::Repeated(key));
            }
        }
        Ok(())
    }
}

/// Why an event's fields cannot be told apart.
#[derive(Debug)]
pub(super) enum Misfit<'a> {
    NoObject(&'static str),
    Repeated(Key<'a>),
}

impl Misfit<'_> {
    pub(super) fn refuse(self, id: Option<Uuid>) -> Refusal {
        match self {
            Self::NoObject(what) => Fault::new(BadType, what).of_event(id),
            Self::Repeated(key) => Fault::new(BadType, "is there more than once").of_field(&key.show(), id),
        }
    }
}

impl<'a> Key<'a> {
    fn show(self) -> Cow<'a, str> {
        match self {
            Self::Known(slot) => slot.name().into(),
            Self::Stranger(text) => text.show(),
            Self::Number(number) => number.to_string().into(),
        }
    }

    /// Why this key has no place in an event that may carry `known`; `None` if it has.
    fn misplaced(self, known: Slots) -> Option<Fault> {
        match self {
            Self::Known(slot) if known.contains(slot) => None,
            Self::Known(_) => Some(Fault::new(UnknownField, "is no field of this type")),
            Self::Number(_) => Some(Fault::new(UnknownField, "is no field number of an event")),
            Self::Stranger(text) => Some(match text.read() {
                Ok(_) => {
                    Fault::new(UnknownField, "is no field of an event; an organization's own go in `ext`")
                }
                Err(fault) => fault.filed_under(BadText),
            }),
        }
    }
}

/// The first field, in the order sent, that is not one of `known`.
pub(super) fn first_unknown(event: RawEvent<'_>, known: Slots, id: Uuid) -> Option<Refusal> {
    find_map(event, |key, _| key.misplaced(known).map(|fault| fault.of_field(&key.show(), Some(id))))
}

/// The first value that was sent as `slot`, in an event that may be wrong in any way.
pub(super) fn find(event: RawEvent<'_>, slot: Slot) -> Option<Value<'_>> {
    find_map(event, |key, value| matches!(key, Key::Known(known) if known == slot).then_some(value))
}

fn find_map<'a, T>(event: RawEvent<'a>, mut look: impl FnMut(Key<'a>, Value<'a>) -> Option<T>) -> Option<T> {
    let mut look = |(key, value)| look(key, value);
    match event {
        RawEvent::Json(text) | RawEvent::Scanned(Scanned { text, .. }) => {
            json_fields(text).find_map(&mut look)
        }
        RawEvent::NotJson(_) => None,
        RawEvent::Protobuf(bytes) => protobuf::fields(bytes).map_while(Result::ok).find_map(&mut look),
    }
}

fn json_fields<'a>(text: &'a str) -> impl Iterator<Item = (Key<'a>, Value<'a>)> {
    json::members(text).map(|(text, value)| {
        let slot = match text {
            Text::Plain(name) => Slot::find(name),
            _ => text.read().ok().and_then(|name| Slot::find(&name)),
        };
        (slot.map_or(Key::Stranger(text), Key::Known), value)
    })
}
