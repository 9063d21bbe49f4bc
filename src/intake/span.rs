//! The span of a request, from its headers to its reply, named as OpenTelemetry names those of HTTP servers. Probes and
//! preflights have none.

use std::borrow::Cow;

use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use uuid::Uuid;

use super::check::Outcome;
use super::problem::Row;
use super::request_id::caller;
use super::route::EVENTS;
use crate::ops::spans::{self, Span, SpanContext};
use crate::tenant::Slug;

/// What of a path is told: there is nothing behind any but ours.
const MOST_PATH_BYTES: usize = 128;

/// Ends with the request, and says that it had no reply where it is dropped before. Empty where it is not exported.
pub(super) struct RequestSpan(Option<Box<Open>>);

struct Open {
    span: Span,
    organization: Option<Slug>,
}

impl RequestSpan {
    /// A request that has just come. `id` is what it is called, and its trace with it if its caller names none.
    pub(super) fn begin(head: &Parts, id: Uuid) -> Self {
        if !spans::are_exported() {
            return Self(None);
        }
        let (method, path) = (known(&head.method), head.uri.path());
        let name = match method {
            Some("POST") if path == EVENTS => Cow::Borrowed("POST /v1/events"),
            Some(method) if path == EVENTS => format!("{method} {path}").into(),
            Some(method) => method.into(),
            None => "HTTP".into(),
        };
        let Some(mut span) = spans::of_request(id, caller(&head.headers), name) else { return Self(None) };
        span.tell("rollbook.request_id", id.to_string());
        span.tell("http.request.method", method.unwrap_or("_OTHER"));
        span.tell("url.scheme", "http");
        span.tell("url.path", path[..path.floor_char_boundary(MOST_PATH_BYTES)].to_owned());
        if path == EVENTS {
            span.tell("http.route", EVENTS);
        }
        span.tell("network.protocol.version", if head.version == Version::HTTP_2 { "2" } else { "1.1" });
        Self(Some(Box::new(Open { span, organization: None })))
    }

    /// What the request's records name as their parent.
    pub(super) fn context(&self) -> Option<SpanContext> {
        Some(self.0.as_ref()?.span.context())
    }

    /// Whose key it came with, or whose it is.
    pub(super) fn of_organization(&mut self, slug: &Slug) {
        if let Some(open) = &mut self.0 {
            open.organization = Some(slug.clone());
        }
    }

    /// It is answered with verdicts.
    pub(super) fn judged(&mut self, outcomes: &[Outcome]) {
        let Some(mut open) = self.0.take() else { return };
        let mut of_each = [0_usize; 4];
        for outcome in outcomes {
            of_each[match outcome {
                Outcome::Accepted(_) => 0,
                Outcome::Duplicate(_) => 1,
                Outcome::Rejected(_) => 2,
                Outcome::Unavailable(_) => 3,
            }] += 1;
        }
        let names = ["rollbook.accepted", "rollbook.duplicate", "rollbook.rejected", "rollbook.retry"];
        for (name, events) in names.into_iter().zip(of_each) {
            open.span.tell(name, events);
        }
        open.answered(StatusCode::OK);
    }

    /// It is refused. What is our fault is an error; a client's is not, by OpenTelemetry's conventions.
    pub(super) fn refused(&mut self, row: &'static Row) {
        let Some(mut open) = self.0.take() else { return };
        open.span.tell("error.type", row.code);
        if row.status.is_server_error() {
            open.span.fail(row.title);
        }
        open.answered(row.status);
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if let Some(mut open) = self.0.take() {
            open.span.tell("error.type", "disconnected");
            open.end();
        }
    }
}

impl Open {
    fn answered(mut self, status: StatusCode) {
        self.span.tell("http.response.status_code", usize::from(status.as_u16()));
        self.end();
    }

    fn end(mut self) {
        if let Some(slug) = self.organization {
            self.span.tell("rollbook.organization", slug.to_string());
        }
        self.span.end();
    }
}

/// A method that is known everywhere: others are the client's own words.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
