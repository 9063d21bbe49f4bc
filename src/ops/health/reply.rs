//! `/healthz` and `/readyz`, as both listeners answer them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Health, Readiness, Reason};

/// Answers a health route; `None` for any other path or method.
pub fn reply(health: &Health, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let (is_well, body) = match path {
        "/healthz" => liveness(health),
        "/readyz" => readiness(&health.readiness()),
        _ => return None,
    };
    let body = if method == Method::HEAD { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

fn liveness(health: &Health) -> (bool, Value) {
    let stuck = health.stuck();
    if stuck.is_empty() {
        return (true, json!({ "status": "alive" }));
    }
    let silent: Map<String, Value> =
        stuck.into_iter().map(|(part, silence)| (part.to_owned(), silence.as_secs().into())).collect();
    (false, json!({ "status": "stuck", "silent_seconds": silent }))
}

fn readiness(readiness: &Readiness) -> (bool, Value) {
    let status = match &readiness.verdict {
        Ok(()) => "ready",
        Err(_) if readiness.draining => "draining",
        Err(_) => "unready",
    };
    let mut body = Map::from_iter([("status".to_owned(), Value::from(status))]);
    body.extend(
        readiness.roles.iter().map(|(role, condition)| (role.as_str().to_owned(), of_role(condition))),
    );
    (readiness.verdict.is_ok(), Value::Object(body))
}

fn of_role(condition: &Result<(), Reason>) -> Value {
    match condition {
        Ok(()) => json!({ "ready": true }),
        Err(reason) => json!({ "ready": false, "reason": reason }),
    }
}
