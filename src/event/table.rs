//! The types of events and their fields: the one place that says what an event may carry.
//!
//! The checker, the protobuf form, the assembly of `details` and the tests all go by these tables. A new event type
//! is a new line in [`TYPES`] (a new field name also goes to [`NAMES`](super::names::NAMES) and `ingest.proto`).
//! The order of the lines is the order of judging.

use std::borrow::Cow;

use super::names::{Slot, Slots};
use super::{Defaults, Event};

/// What every event may carry. `id` and `type` are judged before all others.
pub static COMMON: [Field; 10] = [
    required("id", Kind::Id),
    required("type", Kind::TypeName),
    required("occurred_at", Kind::OccurredAt),
    or_default("session_id", text(1, 64, |event| &mut event.session_id), |given| &given.session_id),
    or_default("viewer_id", Kind::ViewerId { max_chars: 128 }, |given| &given.viewer_id),
    or_default("content_id", text(1, 128, |event| &mut event.content_id), |given| &given.content_id),
    optional("seq", whole(0, u32::MAX, |event, n| event.seq = Some(n))),
    optional("position_ms", whole(0, TWO_DAYS_MS, |event, n| event.position_ms = Some(n))),
    optional("rate", number(SLOWEST, FASTEST, |event, n| event.rate = Some(n))),
    optional("ext", Kind::Ext),
];

/// Every type with the fields that it may carry beside the common ones.
pub static TYPES: [EventType; 18] = [
    EventType::new("video.ready", &[optional("duration_ms", MILLIS), optional("player", NAME)]),
    EventType::new("video.played", &[]),
    EventType::new("video.paused", &[WATCHED, PLAYED_MS]),
    EventType::new("video.ended", &[WATCHED, PLAYED_MS]),
    EventType::new("video.heartbeat", &[WATCHED, PLAYED_MS]),
    EventType::new("session.ended", &[WATCHED, PLAYED_MS]),
    EventType::new("video.seeked", &[required("from_ms", MILLIS), required("to_ms", MILLIS), WATCHED]),
    EventType::new("video.rate_changed", &[required("from", RATE), required("to", RATE)]),
    EventType::new("video.quality_changed", &[required("to", NAME), optional("from", NAME)]),
    EventType::new("video.fullscreen_changed", &[required("on", Kind::Bool { to: Target::Details })]),
    EventType::new("video.buffered", &[required("stall_ms", MILLIS)]),
    EventType::new("video.error", &[required("code", NAME), optional("message", MESSAGE)]),
    EventType::new("item.shown", &[ITEM_ID, optional("item_kind", NAME)]),
    EventType::new("item.option_selected", &[ITEM_ID, ANSWER]),
    EventType::new("item.answered", &[ITEM_ID, ANSWER, ATTEMPT, ELAPSED_MS, CORRECT, SCORE]),
    EventType::new("item.revised", &[ITEM_ID, ELAPSED_MS]),
    EventType::new("item.skipped", &[ITEM_ID, ELAPSED_MS]),
    EventType::new("item.closed", &[ITEM_ID, ELAPSED_MS]),
];

/// The most that any `*_ms` field can be: two days.
pub const TWO_DAYS_MS: u32 = 172_800_000;
const SLOWEST: Limit = Limit { written: "0.0625", nearest: 0.0625 };
const FASTEST: Limit = Limit { written: "16", nearest: 16.0 };
const NO_SCORE: Limit = Limit { written: "0", nearest: 0.0 };
const FULL_SCORE: Limit = Limit { written: "1", nearest: 1.0 };

/// Fields that several types share.
const WATCHED: Field = optional("watched", Kind::Watched);
const PLAYED_MS: Field = optional("played_ms", whole(0, TWO_DAYS_MS, |event, n| event.played_ms = Some(n)));
const ITEM_ID: Field = required("item_id", text(1, 64, |event| event.item_id.insert(Cow::Borrowed(""))));
const ELAPSED_MS: Field =
    optional("elapsed_ms", whole(0, TWO_DAYS_MS, |event, n| event.elapsed_ms = Some(n)));
const ANSWER: Field = required("answer", Kind::Answer);
const ATTEMPT: Field =
    optional("attempt", whole(1, 32_767, |event, n| event.attempt = u16::try_from(n).ok()));
const CORRECT: Field =
    optional("correct", Kind::Bool { to: Target::Column(|event, is| event.correct = Some(is)) });
const SCORE: Field = optional("score", number(NO_SCORE, FULL_SCORE, |event, n| event.score = Some(n)));

/// Kinds of fields that have no column of their own.
const MILLIS: Kind = Kind::Whole { min: 0, max: TWO_DAYS_MS, to: Target::Details };
const RATE: Kind = Kind::Number { min: SLOWEST, max: FASTEST, to: Target::Details };
const NAME: Kind = Kind::Text { min_chars: 1, max_chars: 64, to: Target::Details };
const MESSAGE: Kind = Kind::Text { min_chars: 0, max_chars: 256, to: Target::Details };

/// One type of event.
#[derive(Debug)]
pub struct EventType {
    /// As `type` spells it.
    pub name: &'static str,
    /// What it may carry beside [`COMMON`].
    pub fields: &'static [Field],
    /// The common fields and its own: what is not in here is an unknown field.
    pub(super) known: Slots,
}

/// One field of an event.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As the key spells it; also the name of its column or of its member in `details`.
    pub name: &'static str,
    /// Whether an event can do without.
    pub presence: Presence,
    /// What its value must be, and where it goes.
    pub kind: Kind,
    pub(super) slot: Slot,
}

/// Whether an event can do without a field. `null` counts as left out.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    /// It cannot.
    Required,
    /// The envelope's default stands in; without one it cannot.
    OrDefault(DefaultOf),
    /// It can.
    Optional,
}

/// What a field's value must be, with the limits that are judged, both inclusive.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "limits and target are the same few words everywhere: min, max, to")]
pub enum Kind {
    /// A UUID in its 36-character form, neither nil nor max.
    Id,
    /// The name of one of [`TYPES`].
    TypeName,
    /// A time: integer milliseconds or RFC 3339, judged after skew correction.
    OccurredAt,
    /// A string of 1 to `max_chars` characters that is not shaped like an e-mail address.
    ViewerId { max_chars: usize },
    /// A string; its length is counted in Unicode characters.
    Text { min_chars: usize, max_chars: usize, to: Target<TextColumn> },
    /// A whole number, written without fraction or exponent.
    Whole { min: u32, max: u32, to: Target<SetWhole> },
    /// Any number. The limits are decimal, for the number is judged by what was written, not by its nearest float.
    Number { min: Limit, max: Limit, to: Target<SetNumber> },
    /// `true` or `false`.
    Bool { to: Target<SetBool> },
    /// A list of `[start_ms, end_ms]`.
    Watched,
    /// An object with exactly one of the five kinds of answers.
    Answer,
    /// A JSON object with the organization's own fields.
    Ext,
}

/// A limit of a number, inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The decimal that is compared with what was written, and told.
    pub written: &'static str,
    /// The same number, exactly.
    pub nearest: f32,
}

/// Where a checked value goes.
#[derive(Clone, Copy, Debug)]
pub enum Target<Set> {
    /// A column of its own.
    Column(Set),
    /// The object in `details`, as it was sent.
    Details,
}

/// Looks a default up.
pub type DefaultOf = for<'d, 'a> fn(&'d Defaults<'a>) -> &'d Option<Cow<'a, str>>;
/// The column of a text, to be written.
pub type TextColumn = for<'e, 'a> fn(&'e mut Event<'a>) -> &'e mut Cow<'a, str>;
/// Puts a whole number into its column.
pub type SetWhole = fn(&mut Event<'_>, u32);
/// Puts a number into its column.
pub type SetNumber = fn(&mut Event<'_>, f32);
/// Puts a truth value into its column.
pub type SetBool = fn(&mut Event<'_>, bool);

impl EventType {
    const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields, known: COMMON_SLOTS.and(slots(fields)) }
    }

    /// Looks a type up by its name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|known| known.name == name)
    }
}

impl Kind {
    /// Whether the value has a column of its own; otherwise it is a member of `details`.
    pub fn has_column(&self) -> bool {
        match self {
            Self::Text { to, .. } => matches!(to, Target::Column(_)),
            Self::Whole { to, .. } => matches!(to, Target::Column(_)),
            Self::Number { to, .. } => matches!(to, Target::Column(_)),
            Self::Bool { to } => matches!(to, Target::Column(_)),
            Self::Id | Self::TypeName | Self::OccurredAt | Self::ViewerId { .. } => true,
            Self::Watched | Self::Answer => true,
            Self::Ext => false,
        }
    }
}

const COMMON_SLOTS: Slots = slots(&COMMON);

const fn slots(fields: &[Field]) -> Slots {
    let mut slots = Slots::NONE;
    let mut at = 0;
    while at < fields.len() {
        slots = slots.with(fields[at].slot);
        at += 1;
    }
    slots
}

const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, presence: Presence::Required, kind, slot: Slot::of(name) }
}

const fn or_default(name: &'static str, kind: Kind, default: DefaultOf) -> Field {
    Field { name, presence: Presence::OrDefault(default), kind, slot: Slot::of(name) }
}

const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, presence: Presence::Optional, kind, slot: Slot::of(name) }
}

const fn text(min_chars: usize, max_chars: usize, column: TextColumn) -> Kind {
    Kind::Text { min_chars, max_chars, to: Target::Column(column) }
}

const fn whole(min: u32, max: u32, set: SetWhole) -> Kind {
    Kind::Whole { min, max, to: Target::Column(set) }
}

const fn number(min: Limit, max: Limit, set: SetNumber) -> Kind {
    Kind::Number { min, max, to: Target::Column(set) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_one_number_in_both_its_forms() {
        for Limit { written, nearest } in [SLOWEST, FASTEST, NO_SCORE, FULL_SCORE] {
            assert_eq!(written.parse(), Ok(f64::from(nearest)), "{written}");
        }
    }
}
