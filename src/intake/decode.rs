//! `Content-Type`: which form a body has, and its envelope cut out of it.

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::problem::Problem;
use crate::event::{Envelope, EnvelopeError, UnixMillis};

const SENT_AT: &str = "rollbook-sent-at";

/// The forms a batch can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Cut when all of it is there.
    Whole(Whole),
    /// NDJSON: cut while it arrives (see [`super::lines`]).
    Lines,
}

/// The forms whose envelope is in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// Also what `text/plain` carries: a page that is going away can send no other type without a preflight.
    Json,
    Protobuf,
}

impl Form {
    /// What the headers say. The one parameter that matters is a charset, and it must be the only one we read.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::UnsupportedType);
        };
        let value = value.to_str().map_err(|_| Problem::UnsupportedType)?;
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        if !parameters.split(';').all(is_harmless) {
            return Err(Problem::UnsupportedType);
        }
        [
            ("application/json", Self::Whole(Whole::Json)),
            ("text/plain", Self::Whole(Whole::Json)),
            ("application/x-ndjson", Self::Lines),
            ("application/x-protobuf", Self::Whole(Whole::Protobuf)),
        ]
        .into_iter()
        .find_map(|(name, form)| name.eq_ignore_ascii_case(essence.trim()).then_some(form))
        .ok_or(Problem::UnsupportedType)
    }
}

impl Whole {
    /// Cuts an unpacked body.
    pub(super) fn decode(self, body: &[u8]) -> Result<Envelope<'_>, Problem> {
        Ok(match self {
            Self::Json => Envelope::from_json(body)?,
            Self::Protobuf => Envelope::from_protobuf(body)?,
        })
    }
}

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::BadBody(detail) => Self::BadBody(detail),
            EnvelopeError::BadEnvelope(detail) => Self::BadEnvelope(detail),
        }
    }
}

fn is_harmless(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return true };
    !name.trim().eq_ignore_ascii_case("charset")
        || ["utf-8", "\"utf-8\"", "us-ascii"].iter().any(|utf8| utf8.eq_ignore_ascii_case(value.trim()))
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

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn form(content_type: &str) -> Option<Form> {
        let value = HeaderValue::from_str(content_type).expect("a header value");
        Form::of(&HeaderMap::from_iter([(CONTENT_TYPE, value)])).ok()
    }

    #[test]
    fn types_are_known_by_their_essence() {
        for text in ["application/json", "Application/JSON; charset=utf-8", "text/plain;charset=\"UTF-8\""] {
            assert_eq!(form(text), Some(Form::Whole(Whole::Json)), "{text}");
        }
        assert_eq!(form("application/x-ndjson;"), Some(Form::Lines));
        assert_eq!(
            form("application/x-protobuf; messageType=\"rollbook.v1.IngestRequest\""),
            Some(Form::Whole(Whole::Protobuf))
        );
    }

    #[test]
    fn other_types_and_other_charsets_are_not_guessed_at() {
        for text in [
            "",
            "*/*",
            "application/jsonx",
            "text/html",
            "text/plain; charset=utf-16",
            "application/json, text/plain",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
        assert!(matches!(Form::of(&HeaderMap::new()), Err(Problem::UnsupportedType)));
    }
}
