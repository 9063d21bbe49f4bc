//! What browsers are told, so that a page of another origin may post batches and read the replies.
//!
//! Every reply allows every origin: no reply depends on cookies, and a page must be able to read why it was refused,
//! also when no organization could be told. Which pages may *write* is the organization's list of origins, checked
//! with the request itself (see [`super::resolve`]).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderMap, HeaderValue,
};
use hyper::{Response, StatusCode};

/// The methods of `/v1/events`.
pub(super) const ALLOWED_METHODS: &str = "POST, OPTIONS";
/// Ours, and what tracing adds to every request of a page: a browser that may not send one of them sends nothing at all.
/// `*` stands for all others, but not for `authorization`, and old browsers do not know it.
const ALLOWED_HEADERS: &str = "authorization, content-type, content-encoding, organization, rollbook-sent-at, \
                               traceparent, tracestate, baggage, sentry-trace, x-request-id, *";
/// A day; browsers cut it to what they like.
const MAX_AGE_SECONDS: &str = "86400";

/// Adds what every reply carries.
pub(super) fn allow_reading(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}

/// The reply to `OPTIONS /v1/events`: browsers send no credentials with it, so it needs none.
pub(super) fn preflight() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
    response
}
