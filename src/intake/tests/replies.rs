//! What is said, to whom, and with which headers.

use serde_json::{Value, json};

use super::client::{Asking, Wire};
use super::*;

const EXAMPLE_ORIGIN: &str = "https://school.example";

#[tokio::test]
async fn a_batch_in_which_every_event_is_refused_is_answered_without_the_log() {
    let (room, acme) = room_of_one(&[], "replies_refused").await;
    let reply = Asking::batch(&acme, refused_batch(2)).send(room.address).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let body = reply.json();
    assert_eq!((&body["accepted"], &body["rejected"], &body["retry"]), (&json!(0), &json!(2), &json!(0)));
    let codes: Vec<_> =
        body["results"].as_array().expect("results").iter().map(|line| &line["code"]).collect();
    assert_eq!(codes, ["missing_field", "missing_field"]);
    assert!(body["request_id"].as_str().and_then(|id| Uuid::parse_str(id).ok()).is_some());
    assert!(body["received_at"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(
        room.metric(r#"rollbook_intake_events_total{organization="replies_refused",verdict="rejected"}"#),
        2.0
    );
}

#[tokio::test]
async fn when_the_log_is_away_nothing_is_acknowledged() {
    let (room, acme) = room_of_one(&[], "replies_no_log").await;
    let reply = Asking::batch(&acme, good_batch()).send(room.address).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "log_unavailable"));
    assert!(reply.header("retry-after").is_some());
    assert_eq!(
        room.metric(r#"rollbook_intake_events_total{organization="replies_no_log",verdict="accepted"}"#),
        0.0
    );
    let ready = Asking::get("/readyz").send(room.address).await;
    assert_eq!(ready.status, 503);
    let reason = "the log is unavailable: it was not asked yet";
    assert_eq!(ready.json(), json!({ "status": "unready", "intake": { "ready": false, "reason": reason } }));
}

#[tokio::test]
async fn a_problem_is_complete_and_every_reply_can_be_read_by_a_page() {
    let (room, acme) = room_of_one(&[], "replies_problem").await;
    for asking in [
        Asking::batch(&acme, "{").with("origin", EXAMPLE_ORIGIN),
        Asking::batch(&acme, refused_batch(1)).with("authorization", "Bearer nothing"),
        Asking::batch(&acme, refused_batch(1)).with("content-type", ""),
        Asking::get("/nowhere"),
        Asking::get("/metrics"),
        Asking { method: "DELETE".to_owned(), ..Asking::get("/v1/events") },
        Asking { method: "POST".to_owned(), ..Asking::get("/readyz") },
    ] {
        let reply = asking.send(room.address).await;
        let body = reply.json();
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(body["status"], json!(reply.status));
        for field in ["type", "title", "code", "detail", "request_id"] {
            assert!(matches!(&body[field], Value::String(text) if !text.is_empty()), "{field}: {body}");
        }
        if reply.status == 405 {
            let expected = if asking.path == "/readyz" { "GET, HEAD" } else { "POST, OPTIONS" };
            assert_eq!(reply.header("allow"), Some(expected));
        }
    }
    let found = Asking::batch(&acme, refused_batch(1)).send(room.address).await;
    assert_eq!(found.header("access-control-allow-origin"), Some("*"));
    assert_eq!(found.header("access-control-expose-headers"), Some("retry-after"));
}

#[tokio::test]
async fn a_preflight_needs_no_credentials() {
    let room = Room::open_with(&[], Arc::new(Directory::default()), Duration::ZERO).await;
    let reply = Asking { method: "OPTIONS".to_owned(), ..Asking::get("/v1/events") }
        .with("origin", EXAMPLE_ORIGIN)
        .with("access-control-request-method", "POST")
        .send(room.address)
        .await;
    assert_eq!((reply.status, reply.header("access-control-max-age")), (204, Some("86400")));
    assert_eq!(reply.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some(
            "authorization, content-type, content-encoding, organization, rollbook-sent-at, traceparent, tracestate, baggage, sentry-trace, x-request-id, *"
        )
    );
}

#[tokio::test]
async fn key_and_tag_may_travel_in_the_body_and_must_agree_with_the_headers() {
    let (acme, birch) = (organization("replies_acme"), organization("replies_birch"));
    let (a, b) = (member(&acme), member(&birch));
    let room = Room::open(&[], vec![acme, birch]).await;
    let inside = |organization: &str, key: &str| {
        format!(r#"{{"organization":"{organization}","key":"{key}","events":[{{}}]}}"#)
    };
    let bare = |body: String| {
        Asking::batch(&a, body)
            .with("authorization", "")
            .with("organization", "")
            .with("content-type", "text/plain")
    };
    for (asking, code) in [
        (bare(inside(&a.slug, &a.key)), "ok"),
        (bare(inside(&b.slug, &a.key)), "organization_mismatch"),
        (bare(inside("Not A Slug", &a.key)), "organization_mismatch"),
        (bare(inside(&a.slug, "rb_typo")), "unknown_key"),
        (bare(format!(r#"{{"key":"{}","events":[{{}}]}}"#, a.key)), "missing_organization"),
        (bare(format!(r#"{{"organization":"{}","events":[{{}}]}}"#, a.slug)), "missing_key"),
        (Asking::batch(&a, inside(&a.slug, &a.key)), "ok"),
        (Asking::batch(&a, inside(&b.slug, &a.key)), "bad_envelope"),
        (Asking::batch(&a, inside(&a.slug, &b.key)), "bad_envelope"),
        (Asking::batch(&a, refused_batch(1)).with("organization", &b.slug), "organization_mismatch"),
        (Asking::batch(&a, refused_batch(1)).with("authorization", "Bearer "), "unknown_key"),
        (Asking::batch(&a, refused_batch(1)).with("authorization", &a.key), "unknown_key"),
        (Asking::batch(&a, refused_batch(1)).with("authorization", "Basic YTpi"), "unknown_key"),
    ] {
        let reply = asking.send(room.address).await;
        assert_eq!(reply.code(), code, "{}", String::from_utf8_lossy(&reply.body));
        assert!(!String::from_utf8_lossy(&reply.body).contains(&a.key), "a reply repeats a key");
    }
}

#[tokio::test]
async fn repeated_headers_are_not_chosen_from() {
    let (room, acme) = room_of_one(&[], "replies_repeated").await;
    let twice = |name: &str, value: &str| {
        let mut asking = Asking::batch(&acme, refused_batch(1));
        asking.headers.push((name.to_owned(), value.to_owned()));
        asking
    };
    for (asking, code) in [
        (twice("authorization", &format!("Bearer {}", acme.key)), "unknown_key"),
        (twice("organization", "somebody_else"), "bad_envelope"),
        (twice("organization", &acme.slug), "ok"),
        (twice("content-type", "application/json"), "unsupported_type"),
        (twice("content-encoding", "gzip, gzip"), "unsupported_encoding"),
    ] {
        assert_eq!(asking.send(room.address).await.code(), code);
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_where_the_organization_lists_its_own() {
    let mut fenced = organization("replies_fenced");
    fenced.0.origins = vec![EXAMPLE_ORIGIN.to_owned()];
    let member = member(&fenced);
    let room = Room::open(&[], vec![fenced]).await;
    for (origin, code) in [
        ("", "ok"),
        (EXAMPLE_ORIGIN, "ok"),
        ("https://evil.example", "origin_not_allowed"),
        ("http://school.example", "origin_not_allowed"),
        ("null", "origin_not_allowed"),
    ] {
        let asking = Asking::batch(&member, refused_batch(1)).with("origin", origin);
        let reply = asking.send(room.address).await;
        assert_eq!(reply.code(), code, "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "the page may read why");
    }
}

#[tokio::test]
async fn an_organization_over_its_limit_is_told_when_to_come_back_and_others_are_not_touched() {
    let (acme, birch) = (limited(organization("replies_limited"), 100), organization("replies_free"));
    let (a, b) = (member(&acme), member(&birch));
    let room = Room::open(&[], vec![acme, birch]).await;
    let before = room.metric(r#"rollbook_intake_requests_total{status="429",code="rate_limited"}"#);
    assert_eq!(Asking::batch(&a, refused_batch(500)).send(room.address).await.code(), "ok");
    let reply = Asking::batch(&a, refused_batch(500)).send(room.address).await;
    assert_eq!(reply.code(), "rate_limited");
    let seconds: u64 =
        reply.header("retry-after").expect("when to come back").parse().expect("whole seconds");
    assert!((5..=10).contains(&seconds), "{seconds}");
    assert_eq!(Asking::batch(&b, refused_batch(500)).send(room.address).await.code(), "ok");
    assert!(room.metric(r#"rollbook_intake_requests_total{status="429",code="rate_limited"}"#) > before);
}

#[tokio::test]
async fn a_slow_upload_is_charged_when_it_is_there_and_not_by_when_it_began() {
    let acme = limited(organization("replies_slow_upload"), 1);
    let member = member(&acme);
    let room = Room::open(&[], vec![acme]).await;
    for (content_type, slow) in
        [("application/json", refused_batch(50)), ("application/x-ndjson", "{}\n".repeat(50))]
    {
        let asking = Asking::batch(&member, "").with("content-type", content_type);
        let mut wire = Wire::open(room.address).await;
        wire.write(&asking.with("content-length", &slow.len().to_string()).bytes()).await;
        // A later connection's reply shows that these headers were read.
        assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
        assert_eq!(Asking::batch(&member, refused_batch(200)).send(room.address).await.code(), "ok");
        wire.write(slow.as_bytes()).await;
        // 500 tokens for 200 + 50, twice.
        assert_eq!(wire.reply().await.code(), "ok");
    }
}

#[tokio::test]
async fn what_the_log_did_not_take_costs_no_tokens() {
    let acme = limited(organization("replies_given_back"), 1);
    let member = member(&acme);
    let room = Room::open(&[], vec![acme]).await;
    let event = good_batch();
    let event = &event[event.find('[').expect("a list") + 1..event.rfind(']').expect("its end")];
    let ids = (0..400).map(|_| event.replace(&event[7..43], &Uuid::now_v7().to_string()));
    let batch = format!(r#"{{"events":[{}]}}"#, ids.collect::<Vec<_>>().join(","));
    for _ in 0..3 {
        assert_eq!(Asking::batch(&member, batch.as_str()).send(room.address).await.code(), "log_unavailable");
    }
    // A client that does not wait for the log's answer: the charge comes back with it.
    let mut wire = Wire::open(room.address).await;
    wire.write(&Asking::batch(&member, batch.as_str()).bytes()).await;
    drop(wire);
    while Asking::batch(&member, batch.as_str()).send(room.address).await.code() == "rate_limited" {}
    assert_eq!(Asking::batch(&member, refused_batch(500)).send(room.address).await.code(), "ok");
}

#[tokio::test]
async fn a_verbose_reply_is_asked_for_in_the_query() {
    let (room, acme) = room_of_one(&[], "replies_verbose").await;
    let asking = Asking { path: "/v1/events?verbose=1".to_owned(), ..Asking::batch(&acme, refused_batch(3)) };
    assert_eq!(asking.send(room.address).await.json()["results"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn one_connection_too_many_is_answered_too() {
    let (room, acme) = room_of_one(&["--http-connections", "1"], "replies_crowd").await;
    let mut first = Wire::open(room.address).await;
    first.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(first.reply().await.code(), "ok");
    let reply = Asking::batch(&acme, refused_batch(1)).send(room.address).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "overloaded"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(reply.header("retry-after").is_some());
}
