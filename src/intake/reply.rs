//! The replies: verdicts, and problems (RFC 9457). Written by serde straight into the buffer that is sent.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::check::Outcome;
use super::problem::Problem;
use crate::event::UnixMillis;

/// Room for a reply that lists nothing.
const EMPTY_REPLY_BYTES: usize = 256;
/// A line whose texts are ours, and the part of any other that is not texts.
const LINE_BYTES: usize = 208;
/// What JSON makes of one byte at worst: `\u001f`.
const ESCAPED_BYTES: usize = 6;

/// Which events the reply lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Those that were not plainly accepted.
    Exceptions,
    /// All of them.
    All,
}

impl Listing {
    /// What the query asks for.
    pub(super) fn of(query: Option<&str>) -> Self {
        let is_verbose = query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose=1"));
        if is_verbose { Self::All } else { Self::Exceptions }
    }
}

/// No reply to these is larger, whatever it lists and whatever becomes of those that the log is asked to take.
pub(super) fn most_bytes(outcomes: &[Outcome]) -> usize {
    EMPTY_REPLY_BYTES + outcomes.iter().map(most_line_bytes).sum::<usize>()
}

fn most_line_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Accepted(_) | Outcome::Duplicate(_) | Outcome::Unavailable(_) => LINE_BYTES,
        Outcome::Rejected(refusal) => {
            LINE_BYTES + refusal.field.as_deref().map_or(0, json_bytes) + json_bytes(&refusal.message)
        }
    }
}

/// The most that a text takes inside a JSON string.
fn json_bytes(text: &str) -> usize {
    let grows = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    text.len() + text.as_bytes().iter().filter(|byte| grows(byte)).count() * (ESCAPED_BYTES - 1)
}

/// `200` with a verdict on every event.
pub(super) fn verdicts(
    request_id: Uuid,
    received_at: UnixMillis,
    outcomes: &[Outcome],
    listing: Listing,
) -> Response<Bytes> {
    let mut document = Verdicts {
        request_id,
        received_at,
        accepted: 0,
        duplicate: 0,
        rejected: 0,
        retry: 0,
        results: Results { outcomes, listing },
    };
    for outcome in outcomes {
        *match outcome {
            Outcome::Accepted(_) => &mut document.accepted,
            Outcome::Duplicate(_) => &mut document.duplicate,
            Outcome::Rejected(_) => &mut document.rejected,
            Outcome::Unavailable(_) => &mut document.retry,
        } += 1;
    }
    let unlisted = match listing {
        Listing::All => 0,
        Listing::Exceptions => document.accepted,
    };
    let bytes = most_bytes(outcomes) - LINE_BYTES * unlisted;
    json(StatusCode::OK, "application/json", &document, bytes)
}

/// A problem's status, with its document.
pub(super) fn problem(request_id: Uuid, problem: &Problem) -> Response<Full<Bytes>> {
    let row = problem.row();
    let document = Document {
        kind: format_args!("urn:rollbook:problem:{}", row.code),
        title: row.title,
        status: row.status.as_u16(),
        code: row.code,
        detail: format_args!("{problem}"),
        request_id,
    };
    let mut response =
        json(row.status, "application/problem+json", &document, EMPTY_REPLY_BYTES * 2).map(Full::new);
    if let Some(seconds) = problem.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Problem::MethodNotAllowed { allow } = problem {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The document of RFC 9457, with our `code` and `request_id`.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: std::fmt::Arguments<'a>,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: std::fmt::Arguments<'a>,
    request_id: Uuid,
}

#[derive(Serialize)]
struct Verdicts<'a> {
    request_id: Uuid,
    #[serde(serialize_with = "as_text")]
    received_at: UnixMillis,
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    retry: usize,
    results: Results<'a>,
}

struct Results<'a> {
    outcomes: &'a [Outcome],
    listing: Listing,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines = self.outcomes.iter().enumerate().map(|(index, outcome)| Line::new(index, outcome));
        match self.listing {
            Listing::All => serializer.collect_seq(lines),
            Listing::Exceptions => serializer.collect_seq(lines.filter(|line| line.fault.is_some())),
        }
    }
}

/// One event of `results`.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    id: Option<Uuid>,
    verdict: &'static str,
    #[serde(flatten)]
    fault: Option<LineFault<'a>>,
}

#[derive(Serialize)]
struct LineFault<'a> {
    code: &'static str,
    field: Option<&'a str>,
    message: &'a str,
}

impl<'a> Line<'a> {
    fn new(index: usize, outcome: &'a Outcome) -> Self {
        let (id, verdict, fault) = match outcome {
            Outcome::Accepted(id) => (Some(*id), "accepted", None),
            Outcome::Duplicate(id) => {
                let message = "an accepted event of this batch already has this id";
                (Some(*id), "duplicate", Some(LineFault { code: "duplicate", field: Some("id"), message }))
            }
            Outcome::Rejected(refusal) => {
                let (field, message) = (refusal.field.as_deref(), refusal.message.as_str());
                (refusal.id, "rejected", Some(LineFault { code: refusal.code.as_str(), field, message }))
            }
            Outcome::Unavailable(id) => {
                let message = "the log did not acknowledge this event; send it again with the same id";
                (Some(*id), "retry", Some(LineFault { code: "unavailable", field: None, message }))
            }
        };
        Self { index, id, verdict, fault }
    }
}

fn as_text<S: Serializer>(time: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn json(
    status: StatusCode,
    content_type: &'static str,
    document: &impl Serialize,
    bytes: usize,
) -> Response<Bytes> {
    let mut body = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut body, document)
        .expect("writing text, numbers and lists to memory cannot fail");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Refusal, RefusalCode};
    use http_body_util::BodyExt;

    async fn text(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.expect("in memory").to_bytes();
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    fn outcomes() -> Vec<Outcome> {
        let refusal = Refusal {
            id: None,
            code: RefusalCode::OutOfRange,
            field: Some("position_ms".to_owned()),
            message: "a \"quoted\" word".to_owned(),
        };
        let id = Uuid::from_u128;
        vec![
            Outcome::Accepted(id(1)),
            Outcome::Rejected(refusal),
            Outcome::Duplicate(id(1)),
            Outcome::Unavailable(id(2)),
        ]
    }

    #[tokio::test]
    async fn what_was_plainly_accepted_is_counted_and_not_listed() {
        let reply = verdicts(Uuid::nil(), UnixMillis(1_795_384_100_123), &outcomes(), Listing::Exceptions);
        let reply = reply.map(Full::new);
        assert_eq!(
            text(reply).await,
            concat!(
                r#"{"request_id":"00000000-0000-0000-0000-000000000000","received_at":"2026-11-22T21:48:20.123Z","#,
                r#""accepted":1,"duplicate":1,"rejected":1,"retry":1,"results":["#,
                r#"{"index":1,"id":null,"verdict":"rejected","code":"out_of_range","field":"position_ms","#,
                r#""message":"a \"quoted\" word"},"#,
                r#"{"index":2,"id":"00000000-0000-0000-0000-000000000001","verdict":"duplicate","code":"duplicate","#,
                r#""field":"id","message":"an accepted event of this batch already has this id"},"#,
                r#"{"index":3,"id":"00000000-0000-0000-0000-000000000002","verdict":"retry","code":"unavailable","#,
                r#""field":null,"message":"the log did not acknowledge this event; send it again with the same id"}]}"#
            )
        );
    }

    #[tokio::test]
    async fn a_verbose_reply_lists_the_accepted_ones_too() {
        let reply =
            text(verdicts(Uuid::nil(), UnixMillis(0), &outcomes(), Listing::All).map(Full::new)).await;
        let line =
            r#""results":[{"index":0,"id":"00000000-0000-0000-0000-000000000001","verdict":"accepted"},{"#;
        assert!(reply.contains(line), "{reply}");
    }

    #[tokio::test]
    async fn a_problem_is_a_document_of_rfc_9457() {
        let reply = problem(Uuid::nil(), &Problem::MissingKey);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!reply.headers().contains_key(RETRY_AFTER));
        assert_eq!(
            text(reply).await,
            concat!(
                r#"{"type":"urn:rollbook:problem:missing_key","title":"No write key was sent","status":401,"#,
                r#""code":"missing_key","detail":"send a write key as `Authorization: Bearer …`, or in the body's "#,
                r#"`key`","request_id":"00000000-0000-0000-0000-000000000000"}"#
            )
        );
    }

    #[test]
    fn no_reply_is_larger_than_what_is_reserved_for_it() {
        let id = Uuid::max();
        let hostile = |text: &str| Refusal {
            id: Some(id),
            code: RefusalCode::MissingField,
            field: Some(text.to_owned()),
            message: text.to_owned(),
        };
        for outcome in [
            || Outcome::Accepted(Uuid::max()),
            || Outcome::Duplicate(Uuid::max()),
            || Outcome::Unavailable(Uuid::max()),
        ] {
            let outcomes: Vec<_> = (0..500).map(|_| outcome()).collect();
            let reply = verdicts(id, UnixMillis::now(), &outcomes, Listing::All).into_body();
            assert!(reply.len() <= most_bytes(&outcomes), "{} {outcomes:?}", reply.len());
        }
        for text in ["", "\u{1}\u{1f}\n\"\\", "é…\u{10ffff}", &"\u{7f}/<>".repeat(400)] {
            let outcomes: Vec<_> = (0..500).map(|_| Outcome::Rejected(hostile(text))).collect();
            let reply = verdicts(id, UnixMillis::now(), &outcomes, Listing::All).into_body();
            assert!(reply.len() <= most_bytes(&outcomes), "{} {text:?}", reply.len());
        }
    }

    #[test]
    fn only_verbose_1_asks_for_all() {
        for (query, listing) in [
            (None, Listing::Exceptions),
            (Some(""), Listing::Exceptions),
            (Some("verbose=0"), Listing::Exceptions),
            (Some("a=b&verbose=1"), Listing::All),
        ] {
            assert_eq!(Listing::of(query), listing, "{query:?}");
        }
    }
}
