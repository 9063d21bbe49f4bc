//! What surrounds the events where the body has no place for it, and what is wrong with it where it has one. The envelope
//! of a body is cut out in [`crate::event`].

use hyper::HeaderMap;

use super::problem::Problem;
use crate::event::{EnvelopeError, UnixMillis};

const SENT_AT: &str = "rollbook-sent-at";

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::BadBody(detail) => Self::BadBody(detail),
            EnvelopeError::BadEnvelope(detail) => Self::BadEnvelope(detail),
        }
    }
}

/// The client's clock, where the body has no place for it.
pub(super) fn sent_at(headers: &HeaderMap) -> Result<Option<UnixMillis>, Problem> {
    let mut values = headers.get_all(SENT_AT).iter();
    let sent_at = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(UnixMillis::parse),
        (Some(_), Some(_)) => None,
    };
    sent_at.map(Some).ok_or_else(|| {
        Problem::BadEnvelope("`Rollbook-Sent-At` is no time: milliseconds since 1970, or RFC 3339".to_owned())
    })
}
