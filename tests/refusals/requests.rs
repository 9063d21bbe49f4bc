//! Refusals of a whole request: contract 1.3.

use serde_json::{Value, json};

use crate::harness::{Form, Organization, Reply, Service, Site, eventually, played};

/// A request that would be accepted, to be spoilt in one place.
struct Request {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    fn good(organization: &Organization) -> Self {
        let (headers, body) = Form::Json.pack(&organization.slug, &organization.key, &played(1));
        Self { method: "POST", path: "/v1/events", headers, body }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Changes members of the envelope.
    fn envelope(self, change: impl FnOnce(&mut Value)) -> Self {
        let mut envelope: Value = serde_json::from_slice(&self.body).expect("JSON");
        change(&mut envelope);
        self.body(envelope.to_string())
    }

    fn to(mut self, method: &'static str, path: &'static str) -> Self {
        (self.method, self.path) = (method, path);
        self
    }

    async fn send(&self, service: &Service) -> Reply {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        service.intake().send(self.method, self.path, &headers, self.body.clone()).await
    }
}

/// What is left of a batch when its packing is cut off.
fn cut_gzip(organization: &Organization) -> Vec<u8> {
    let (_, mut body) = Form::Gzip.pack(&organization.slug, &organization.key, &played(20));
    body.truncate(body.len() / 2);
    body
}

/// 3 MB that arrive as a few kB.
fn bomb(organization: &Organization) -> Vec<u8> {
    let event = json!({"ext": {"filler": "x".repeat(3 << 20)}});
    Form::Gzip.pack(&organization.slug, &organization.key, &[event]).1
}

#[rustfmt::skip] // One problem a line: it is read as a table.
fn problems(acme: &Organization, birch: &Organization, revoked: &str, unknown: &str) -> Vec<(Request, u16, &'static str)> {
    let good = || Request::good(acme);
    let bearer = |key: &str| format!("Bearer {key}");
    vec![
        (good().body("{"), 400, "bad_body"),
        (good().body(b"{\"events\":[],\"sdk\":\"\xff\"}"), 400, "bad_body"),
        (good().with("content-encoding", "gzip"), 400, "bad_body"),
        (good().with("content-encoding", "gzip").body(cut_gzip(acme)), 400, "bad_body"),
        (good().body("[]"), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["colour"] = json!(1)), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["events"] = json!([])), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["events"] = vec![json!({}); 501].into()), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["sent_at"] = json!("yesterday")), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["viewer_id"] = json!("jane@school.example")), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["key"] = json!(birch.key)), 400, "bad_envelope"),
        (good().with("organization", "birch"), 400, "bad_envelope"),
        (good().body(r#"{"organization":"acme","organization":"acme","events":[{}]}"#), 400, "bad_envelope"),
        (good().with("content-type", "application/x-ndjson").with("organization", "acme").with("rollbook-sent-at", "soon"), 400, "bad_envelope"),
        (good().envelope(|envelope| envelope["organization"] = Value::Null), 400, "missing_organization"),
        (good().without("authorization"), 401, "missing_key"),
        (good().with("authorization", ""), 401, "unknown_key"),
        (good().with("authorization", &acme.key), 401, "unknown_key"),
        (good().with("authorization", "Bearer rb_x"), 401, "unknown_key"),
        (good().with("authorization", &bearer(unknown)), 401, "unknown_key"),
        (good().with("authorization", &bearer(revoked)), 401, "unknown_key"),
        (good().without("authorization").envelope(|envelope| envelope["key"] = json!(unknown)), 401, "unknown_key"),
        (good().with("authorization", &bearer(&birch.key)), 403, "organization_mismatch"),
        (good().envelope(|envelope| envelope["organization"] = json!("birch")), 403, "organization_mismatch"),
        (good().envelope(|envelope| envelope["organization"] = json!("nobody")), 403, "organization_mismatch"),
        (good().envelope(|envelope| envelope["organization"] = json!("No Slug")), 403, "organization_mismatch"),
        (good().to("POST", "/"), 404, "not_found"),
        (good().to("POST", "/v1/events/"), 404, "not_found"),
        (good().to("GET", "/metrics"), 404, "not_found"),
        (good().to("PUT", "/v1/events"), 405, "method_not_allowed"),
        (good().to("GET", "/v1/events"), 405, "method_not_allowed"),
        (good().to("POST", "/readyz"), 405, "method_not_allowed"),
        (good().without("content-type"), 415, "unsupported_type"),
        (good().with("content-type", "text/html"), 415, "unsupported_type"),
        (good().with("content-type", "text/plain; charset=utf-16"), 415, "unsupported_type"),
        (good().with("content-encoding", "deflate"), 415, "unsupported_encoding"),
        (good().with("content-encoding", "gzip, gzip"), 415, "unsupported_encoding"),
        (good().body(vec![b' '; 512 * 1024 + 1]), 413, "body_too_large"),
        (good().with("content-encoding", "gzip").body(bomb(acme)), 413, "body_too_large"),
        // Where several apply, the first in the contract's order.
        (good().to("POST", "/").without("content-type"), 404, "not_found"),
        (good().with("content-type", "text/html").body(vec![b' '; 512 * 1024 + 1]), 415, "unsupported_type"),
        (good().with("authorization", "").body(vec![b' '; 512 * 1024 + 1]), 413, "body_too_large"),
        (good().with("authorization", "").body("{"), 401, "unknown_key"),
        (good().without("authorization").body(r#"{"events":[{}]}"#), 400, "missing_organization"),
    ]
}

#[tokio::test]
async fn each_way_to_be_refused_has_its_status_and_code() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let second = site.run("key add acme --json").await.done().json();
    let (second_id, revoked) =
        (second["key_id"].as_str().expect("an id"), second["key"].as_str().expect("a key"));
    site.run(&format!("key revoke {second_id}")).await.done();
    // Well-formed, and nobody's here.
    let unknown = rollbook::tenant::WriteKey::generate().expect("randomness");
    let service = Service::ready(site.serve("--role intake")).await;
    for (request, status, code) in problems(&acme, &birch, revoked, unknown.reveal()) {
        request.send(&service).await.refuses(status, code);
    }
    let limits = Request::good(&acme).body(vec![b' '; 512 * 1024 + 1]).send(&service).await;
    let detail = limits.json["detail"].as_str().expect("text");
    assert!(detail.contains("524288"), "{detail}");
    let refused = Request::good(&acme).to("PUT", "/v1/events").send(&service).await;
    assert_eq!(refused.headers["allow"], "POST, OPTIONS");
    Request::good(&acme).send(&service).await.accepts(1);
}

#[tokio::test]
async fn a_running_service_learns_of_revoked_keys_and_suspended_organizations() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let good = || Request::good(&acme);
    good().send(&service).await.accepts(1);

    site.run("org suspend acme").await.done();
    becomes(&service, &good(), 403).await.refuses(403, "organization_suspended");
    site.run("org resume acme").await.done();
    becomes(&service, &good(), 200).await.accepts(1);

    site.run("org set acme --origin https://play.example.org").await.done();
    let elsewhere = good().with("origin", "https://evil.example");
    becomes(&service, &elsewhere, 403).await.refuses(403, "origin_not_allowed");
    good().with("origin", "https://play.example.org").send(&service).await.accepts(1);
    good().send(&service).await.accepts(1);

    site.run(&format!("key revoke {}", acme.key_id)).await.done();
    becomes(&service, &good(), 401).await.refuses(401, "unknown_key");
}

/// Sends until the status is this, which takes two seconds at most; gives that reply.
async fn becomes(service: &Service, request: &Request, status: u16) -> Reply {
    let began = std::time::Instant::now();
    let mut last = None;
    eventually(&format!("status {status}"), async || {
        let reply = request.send(service).await;
        let came = reply.status.as_u16() == status;
        last = Some(reply);
        came
    })
    .await;
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "a change took {:?}", began.elapsed());
    last.expect("it was asked at least once")
}

#[tokio::test]
async fn more_events_than_the_organizations_limit_are_refused_and_told_when_to_come_back() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    site.run("org set acme --rate-limit 1").await.done();
    let service = Service::ready(site.serve("--role intake")).await;
    service.post(&acme, Form::Json, &played(500)).await.accepts(500);
    let refused = service.post(&acme, Form::Json, &played(50)).await.refuses(429, "rate_limited");
    let seconds: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("whole seconds");
    assert!((30..=100).contains(&seconds), "{seconds}");
    service.post(&birch, Form::Json, &played(50)).await.accepts(50);
}

#[tokio::test]
async fn a_preflight_needs_no_key() {
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("--role intake")).await;
    let reply =
        service.intake().send("OPTIONS", "/v1/events", &[("origin", "https://play.example.org")], "").await;
    assert_eq!(reply.status.as_u16(), 204);
    assert_eq!(reply.headers["access-control-max-age"], "86400");
    let allowed = reply.headers["access-control-allow-headers"].to_str().expect("text");
    assert_eq!(
        allowed,
        "authorization, content-type, content-encoding, organization, rollbook-sent-at, traceparent, tracestate, baggage, \
         sentry-trace, x-request-id, *"
    );
}
