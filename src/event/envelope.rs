//! What surrounds the events of one request.

use std::borrow::Cow;
use std::fmt;

use super::UnixMillis;
use super::check::{bounded_text, viewer_id};
use super::fault::{Fault, quoted};
use super::table::{COMMON, Kind};
use super::value::Value;

mod events;
mod json;
mod ndjson;
mod protobuf;

pub use events::{Events, Scanned};
pub use ndjson::Lines;

/// The most events that one request carries.
pub const MAX_EVENTS: usize = 500;
const MAX_SDK_CHARS: usize = 64;

/// One request, cut into its parts; the events are not looked into yet.
#[derive(Default)]
pub struct Envelope<'a> {
    /// The tenant tag, as sent; if it is no text that Postgres can hold, as it was spelled.
    pub organization: Option<Cow<'a, str>>,
    /// The write key, as sent. Secret.
    pub key: Option<Cow<'a, str>>,
    /// The client's clock when it made this attempt.
    pub sent_at: Option<UnixMillis>,
    /// Client name and version.
    pub sdk: Option<Cow<'a, str>>,
    /// Stand in for what events leave out.
    pub defaults: Defaults<'a>,
    /// 1..500 of them.
    pub events: Events<'a>,
}

/// Checked defaults of an envelope.
#[derive(Clone, Debug, Default)]
pub struct Defaults<'a> {
    /// As the event's field of that name.
    pub viewer_id: Option<Cow<'a, str>>,
    /// As the event's field of that name.
    pub session_id: Option<Cow<'a, str>>,
    /// As the event's field of that name.
    pub content_id: Option<Cow<'a, str>>,
}

/// One event as it arrived.
#[derive(Clone, Copy, Debug)]
pub enum RawEvent<'a> {
    /// One JSON value, known to be well-formed.
    Json(&'a str),
    /// One JSON object whose members are known already.
    Scanned(Scanned<'a>),
    /// A line of NDJSON that is not JSON.
    NotJson(&'a str),
    /// One encoded `rollbook.v1.Event`.
    Protobuf(&'a [u8]),
}

/// Why a body has no envelope.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// `bad_body`: not UTF-8, not JSON, not protobuf.
    #[error("{0}")]
    BadBody(String),
    /// `bad_envelope`: readable, but wrong; the text names the field.
    #[error("{0}")]
    BadEnvelope(String),
}

impl<'a> Envelope<'a> {
    /// Cuts a JSON body.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn from_json(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        json::cut(body)
    }

    /// Cuts a whole NDJSON body: what [`Lines`] is held to.
    #[cfg(test)]
    pub(crate) fn from_ndjson(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        ndjson::cut(body)
    }

    /// Cuts a `rollbook.v1.IngestRequest`.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn from_protobuf(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        protobuf::cut(body)
    }

    /// Takes one of the fields around the events in.
    ///
    /// # Errors
    /// No such field, or its value is wrong.
    fn set(&mut self, name: &str, value: Value<'a>) -> Result<(), EnvelopeError> {
        let result = match (name, value) {
            (
                "organization" | "key" | "sent_at" | "sdk" | "viewer_id" | "session_id" | "content_id",
                Value::Null,
            ) => Ok(()),
            ("organization", _) => shown(value).map(|text| self.organization = Some(text)),
            ("key", _) => shown(value).map(|text| self.key = Some(text)),
            ("sent_at", _) => UnixMillis::read(value).map(|time| self.sent_at = Some(time)),
            ("sdk", _) => bounded_text(value, 0, MAX_SDK_CHARS).map(|text| self.sdk = Some(text)),
            ("viewer_id", _) => default(name, value).map(|text| self.defaults.viewer_id = Some(text)),
            ("session_id", _) => default(name, value).map(|text| self.defaults.session_id = Some(text)),
            ("content_id", _) => default(name, value).map(|text| self.defaults.content_id = Some(text)),
            _ => return Err(EnvelopeError::unknown(name)),
        };
        result.map_err(|fault| EnvelopeError::BadEnvelope(format!("{name} {}", fault.what())))
    }

    fn with_events(self) -> Result<Self, EnvelopeError> {
        check_count(self.events.len()).map(|()| self)
    }
}

impl EnvelopeError {
    fn unknown(name: &str) -> Self {
        Self::BadEnvelope(format!("`{}` is no field of the envelope", quoted(name)))
    }

    fn repeated(name: &str) -> Self {
        Self::BadEnvelope(format!("{name} is there more than once"))
    }

    fn too_many() -> Self {
        Self::BadEnvelope(format!("events has more than {MAX_EVENTS} events, the limit"))
    }

    fn not_utf8(at: usize) -> Self {
        Self::BadBody(format!("the body is not UTF-8, from byte {at} on"))
    }
}

fn check_count(events: usize) -> Result<(), EnvelopeError> {
    match events {
        0 => Err(EnvelopeError::BadEnvelope("events is required, 1 to 500 of them".to_owned())),
        1..=MAX_EVENTS => Ok(()),
        _ => Err(EnvelopeError::too_many()),
    }
}

/// A tag or a key, whatever text it is. What no string of ours can hold is not refused here: it stays something that is no
/// slug and no key, and is answered as every other tag or key that nobody has.
fn shown(value: Value<'_>) -> Result<Cow<'_, str>, Fault> {
    match value {
        Value::Text(text) => Ok(text.show()),
        _ => Err(Fault::kind("a string")),
    }
}

/// A default, by the rule of the event's field of that name.
fn default<'a>(name: &str, value: Value<'a>) -> Result<Cow<'a, str>, Fault> {
    match COMMON.iter().find(|field| field.name == name).map(|field| field.kind) {
        Some(Kind::Text { min_chars, max_chars, .. }) => bounded_text(value, min_chars, max_chars),
        Some(Kind::ViewerId { max_chars }) => viewer_id(value, max_chars),
        _ => Err(Fault::kind("left to each event")),
    }
}

impl RawEvent<'_> {
    /// The bytes of the event as it arrived.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Json(text) | Self::NotJson(text) | Self::Scanned(Scanned { text, .. }) => text.len(),
            Self::Protobuf(bytes) => bytes.len(),
        }
    }
}

/// Tells nothing of the key, and of the events only how many there are.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("organization", &self.organization)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("sent_at", &self.sent_at)
            .field("sdk", &self.sdk)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}
