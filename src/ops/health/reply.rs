//! `/healthz` and `/readyz`, as both listeners answer them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

use super::{Health, Readiness, Reason, Role};

/// The body of `/healthz`.
#[derive(Serialize)]
struct Liveness {
    status: &'static str,
    /// By part.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    silent_seconds: BTreeMap<&'static str, u64>,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Ready {
    status: &'static str,
    /// By role.
    #[serde(flatten)]
    roles: BTreeMap<&'static str, Condition>,
}

#[derive(Serialize)]
struct Condition {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// Answers a health route; `None` for any other path or method. The body is GET's also for HEAD, which is not sent it.
pub fn reply(health: &Health, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let (is_well, body) = match path {
        "/healthz" => liveness(health),
        "/readyz" => readiness(health.readiness()),
        _ => return None,
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn liveness(health: &Health) -> (bool, Bytes) {
    let silent_seconds: BTreeMap<_, _> =
        health.stuck().into_iter().map(|(part, silence)| (part, silence.as_secs())).collect();
    let is_alive = silent_seconds.is_empty();
    let status = if is_alive { "alive" } else { "stuck" };
    (is_alive, json(&Liveness { status, silent_seconds }))
}

fn readiness(readiness: Readiness) -> (bool, Bytes) {
    let status = match &readiness.verdict {
        Ok(()) => "ready",
        Err(_) if readiness.draining => "draining",
        Err(_) => "unready",
    };
    let roles = readiness.roles.into_iter().map(|(role, condition)| (Role::as_str(role), condition.into()));
    (readiness.verdict.is_ok(), json(&Ready { status, roles: roles.collect() }))
}

impl From<Result<(), Reason>> for Condition {
    fn from(condition: Result<(), Reason>) -> Self {
        Self { ready: condition.is_ok(), reason: condition.err() }
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("writing text and numbers to memory cannot fail").into()
}
