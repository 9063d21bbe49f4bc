//! One event against every rule, in the order of judging: size, shape, `id`, `type`, unknown fields, then the tables'.

use std::borrow::Cow;

use uuid::Uuid;

use super::RefusalCode::{MissingField, TooLarge, UnknownType};
use super::answer::answer;
use super::details::Details;
use super::ext::ext;
use super::fault::{Fault, quoted};
use super::fields::{Fields, find, first_unknown};
use super::names::Slot;
use super::number::{number, whole};
use super::table::{COMMON, EventType, Field, Kind, Presence, Target};
use super::text::{check_is_pseudonym, check_length};
use super::value::Value;
use super::watched::watched;
use super::{Clock, Defaults, Event, RawEvent, Refusal, UnixMillis};

/// The most that one event takes: its raw JSON, or its encoded protobuf.
const MAX_EVENT_BYTES: usize = 16 * 1_024;

/// Checks the events of one batch, one after the other.
pub(super) struct Checker<'e, 'a> {
    defaults: &'e Defaults<'a>,
    clock: Clock,
    fields: Fields<'a>,
    /// The one that is being checked, or was last.
    event: Event<'a>,
}

impl<'e, 'a> Checker<'e, 'a> {
    pub(super) fn new(defaults: &'e Defaults<'a>, clock: Clock) -> Self {
        Self { defaults, clock, fields: Fields::new(), event: Event::empty() }
    }

    /// The event, or the first rule that it breaks.
    pub(super) fn check(&mut self, raw: RawEvent<'a>) -> Result<&Event<'a>, Refusal> {
        let bytes = raw.size_bytes();
        if bytes > MAX_EVENT_BYTES {
            let fault = Fault::new(TooLarge, format!("is {bytes} bytes, the limit is {MAX_EVENT_BYTES}"));
            return Err(fault.of_event(find_id(raw)));
        }
        self.fields.fill(raw).map_err(|misfit| misfit.refuse(find_id(raw)))?;
        let id = self.id()?;
        let event_type = self.event_type(id)?;
        if !self.fields.are_within(event_type.known)
            && let Some(refusal) = first_unknown(raw, event_type.known, id)
        {
            return Err(refusal);
        }
        self.fill(id, event_type)?;
        Ok(&self.event)
    }

    fn id(&self) -> Result<Uuid, Refusal> {
        read_id(self.fields.get(Slot::ID)).map_err(|fault| fault.of_field("id", None))
    }

    fn event_type(&self, id: Uuid) -> Result<&'static EventType, Refusal> {
        read_type(self.fields.get(Slot::TYPE)).map_err(|fault| fault.of_field("type", Some(id)))
    }

    /// Takes the fields into [`Self::event`].
    fn fill(&mut self, id: Uuid, event_type: &'static EventType) -> Result<(), Refusal> {
        begin_again(&mut self.event, id, event_type, self.defaults);
        let mut details = Details::default();
        for field in COMMON.iter().chain(event_type.fields) {
            let judged = match self.fields.get(field.slot) {
                Value::Null if self.can_do_without(field) => Ok(()),
                Value::Null => Err(missing()),
                value => self.put(field, value, &mut details),
            };
            judged.map_err(|fault| fault.of_field(field.name, Some(id)))?;
        }
        self.event.details = details.finish();
        Ok(())
    }

    fn can_do_without(&self, field: &Field) -> bool {
        match field.presence {
            Presence::Required => false,
            Presence::OrDefault(default_of) => default_of(self.defaults).is_some(),
            Presence::Optional => true,
        }
    }

    /// Checks one value and puts it where it belongs.
    #[inline]
    fn put(&mut self, field: &Field, value: Value<'a>, details: &mut Details<'a>) -> Result<(), Fault> {
        let event = &mut self.event;
        match field.kind {
            // Judged before all others.
            Kind::Id | Kind::TypeName => {}
            Kind::OccurredAt => {
                event.client_occurred_at = UnixMillis::read(value)?;
                event.occurred_at = self.clock.judge(event.client_occurred_at)?;
            }
            Kind::ViewerId { max_chars } => event.viewer_id = viewer_id(value, max_chars)?,
            Kind::Text { min_chars, max_chars, to } => {
                let text = bounded_text(value, min_chars, max_chars)?;
                match to {
                    Target::Column(column) => *column(event) = text,
                    Target::Details => details.add(field.name, value),
                }
            }
            Kind::Whole { min, max, to } => {
                let number = whole(value, min, max)?;
                match to {
                    Target::Column(set) => set(event, number),
                    Target::Details => details.add(field.name, value),
                }
            }
            Kind::Number { min, max, to } => {
                let number = number(value, min, max)?;
                match to {
                    Target::Column(set) => set(event, number),
                    Target::Details => details.add(field.name, value),
                }
            }
            Kind::Bool { to } => {
                let is = value.boolean()?;
                match to {
                    Target::Column(set) => set(event, is),
                    Target::Details => details.add(field.name, Value::Bool(is)),
                }
            }
            Kind::Watched => event.watched = Some(watched(value)?),
            Kind::Answer => event.answer = Some(answer(value)?),
            Kind::Ext => details.set_ext(ext(value)?),
        }
        Ok(())
    }
}

/// The event's id if it can be read, for the reply of an event that is wrong in another way.
fn find_id(raw: RawEvent<'_>) -> Option<Uuid> {
    read_id(find(raw, Slot::ID)?).ok()
}

fn read_id(value: Value<'_>) -> Result<Uuid, Fault> {
    let wanted = "a UUID in its 36-character form, neither nil nor max";
    let text = match value {
        Value::Null => return Err(missing()),
        Value::Text(text) => text.read()?,
        _ => return Err(Fault::kind(wanted)),
    };
    // The parser also takes three other forms, all of other lengths.
    match Uuid::try_parse(&text) {
        Ok(id) if text.len() == 36 && !id.is_nil() && !id.is_max() => Ok(id),
        _ => Err(Fault::kind(wanted)),
    }
}

fn read_type(value: Value<'_>) -> Result<&'static EventType, Fault> {
    let name = match value {
        Value::Null => return Err(missing()),
        _ => value.text()?,
    };
    EventType::find(&name)
        .ok_or_else(|| Fault::new(UnknownType, format!("is `{}`, which is no type of event", quoted(&name))))
}

/// A string of so many characters.
#[inline]
pub(super) fn bounded_text(
    value: Value<'_>,
    min_chars: usize,
    max_chars: usize,
) -> Result<Cow<'_, str>, Fault> {
    let text = value.text()?;
    check_length(&text, min_chars, max_chars)?;
    Ok(text)
}

/// A string of 1 to so many characters that does not look like an e-mail address.
#[inline]
pub(super) fn viewer_id(value: Value<'_>, max_chars: usize) -> Result<Cow<'_, str>, Fault> {
    let text = bounded_text(value, 1, max_chars)?;
    check_is_pseudonym(&text)?;
    Ok(text)
}

fn missing() -> Fault {
    Fault::new(MissingField, "is required")
}

/// Makes of an event one that so far has only what the envelope gives. It is done column by column, each of which is named, so
/// that none is forgotten: a new event would be made elsewhere and copied here.
fn begin_again<'a>(
    event: &mut Event<'a>,
    its_id: Uuid,
    event_type: &'static EventType,
    defaults: &Defaults<'a>,
) {
    let or_empty = |default: &Option<Cow<'a, str>>| default.clone().unwrap_or_default();
    let Event {
        id,
        type_name,
        session_id,
        viewer_id,
        content_id,
        item_id,
        occurred_at,
        client_occurred_at,
        seq,
        position_ms,
        rate,
        watched,
        played_ms,
        answer,
        correct,
        score,
        attempt,
        elapsed_ms,
        details,
    } = event;
    (*id, *type_name) = (its_id, Cow::Borrowed(event_type.name));
    *session_id = or_empty(&defaults.session_id);
    *viewer_id = or_empty(&defaults.viewer_id);
    *content_id = or_empty(&defaults.content_id);
    (*occurred_at, *client_occurred_at) = (UnixMillis(0), UnixMillis(0));
    (*item_id, *answer, *details, *watched) = (None, None, None, None);
    (*seq, *position_ms, *played_ms, *elapsed_ms) = (None, None, None, None);
    (*rate, *score, *correct, *attempt) = (None, None, None, None);
}
