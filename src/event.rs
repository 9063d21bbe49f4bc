//! What one viewer did: the checked event, and the forms it arrives in.
//!
//! Parse, don't validate: [`Event`] is made by [`check_batch`] from what a client sent, or read back from a
//! record that intake wrote. Nothing behind this room checks a field again.
//!
//! In reading order:
//!
//! - [`table`]: what events there are, and what each may carry
//! - `envelope`: a body cut into raw events, per form (JSON, NDJSON, protobuf)
//! - `fields`: the members of one event, each in its slot (`names`), as `value`s that look the same in every form;
//!   `json` and `protobuf` find them, `wire` is protobuf's format
//! - `check`: one event against every rule, with a file per kind of value: `text`, `number`, `time` and `clock`,
//!   `watched`, `answer`, `ext`; what has no column goes to `details`; what is wrong is a `fault`
//! - `batch`: the verdicts of a whole request

use std::borrow::Cow;

use uuid::Uuid;

mod answer;
mod batch;
mod check;
mod clock;
mod details;
mod envelope;
mod ext;
mod fault;
mod fields;
mod json;
mod names;
mod number;
pub mod proto;
mod protobuf;
mod refusal;
pub mod table;
mod text;
mod time;
mod value;
mod watched;
pub(crate) mod wire;

pub use batch::{BatchCheck, Verdict, check_batch};
pub use clock::Clock;
pub use envelope::{Defaults, Envelope, EnvelopeError, Events, Lines, MAX_EVENTS, RawEvent, Scanned};
pub use names::{NAMES, Slot};
pub use refusal::{Refusal, RefusalCode};
pub use time::UnixMillis;

/// One event in the shape of the `event` table. `None` is NULL.
///
/// Text is borrowed from the body (or the record) wherever no escape forced a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// The dedupe key within the organization.
    pub id: Uuid,
    /// One of the names of the type table, such as `video.played`.
    pub type_name: Cow<'a, str>,
    /// One mount of one player.
    pub session_id: Cow<'a, str>,
    /// Opaque pseudonym of the viewer.
    pub viewer_id: Cow<'a, str>,
    /// The video.
    pub content_id: Cow<'a, str>,
    /// The question or other item inside the video.
    pub item_id: Option<Cow<'a, str>>,
    /// When it happened, after skew correction.
    pub occurred_at: UnixMillis,
    /// When it happened by the client's own clock.
    pub client_occurred_at: UnixMillis,
    /// +1 per event in a session.
    pub seq: Option<u32>,
    /// Playhead.
    pub position_ms: Option<u32>,
    /// Playback rate; `None` means 1.
    pub rate: Option<f32>,
    /// Half-open media intervals `(start_ms, end_ms)` without the empty ones, in the order sent.
    pub watched: Option<Vec<(u32, u32)>>,
    /// Wall time played so far in the session.
    pub played_ms: Option<u32>,
    /// JSON text as it was sent.
    pub answer: Option<Cow<'a, str>>,
    /// Whether the player judged the answer right.
    pub correct: Option<bool>,
    /// 0..1.
    pub score: Option<f32>,
    /// 1..32767.
    pub attempt: Option<u16>,
    /// Time spent on the item.
    pub elapsed_ms: Option<u32>,
    /// JSON object text: the fields that have no column under their own names, and `ext` as it was sent.
    pub details: Option<Cow<'a, str>>,
}

impl Event<'_> {
    /// An event that says nothing yet, for those who fill it in field by field.
    pub fn empty() -> Self {
        Self {
            id: Uuid::nil(),
            type_name: Cow::Borrowed(""),
            session_id: Cow::Borrowed(""),
            viewer_id: Cow::Borrowed(""),
            content_id: Cow::Borrowed(""),
            item_id: None,
            occurred_at: UnixMillis(0),
            client_occurred_at: UnixMillis(0),
            seq: None,
            position_ms: None,
            rate: None,
            watched: None,
            played_ms: None,
            answer: None,
            correct: None,
            score: None,
            attempt: None,
            elapsed_ms: None,
            details: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
