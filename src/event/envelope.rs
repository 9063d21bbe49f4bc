//! What surrounds the events of one request.

use std::borrow::Cow;

use super::UnixMillis;

/// One request, cut into its parts; the events are not looked into yet.
pub struct Envelope<'a> {
    /// The tenant tag, as sent.
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
    pub events: Vec<RawEvent<'a>>,
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
    pub fn from_json(_body: &'a [u8]) -> Result<Self, EnvelopeError> {
        todo!()
    }

    /// Cuts an NDJSON body; what surrounds the events comes in headers.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn from_ndjson(_body: &'a [u8]) -> Result<Self, EnvelopeError> {
        todo!()
    }

    /// Cuts a `rollbook.v1.IngestRequest`.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn from_protobuf(_body: &'a [u8]) -> Result<Self, EnvelopeError> {
        todo!()
    }
}
