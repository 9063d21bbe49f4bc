//! Refusals of one event alone: contract 1.2.

use std::collections::BTreeSet;

use rollbook::event::UnixMillis;
use rollbook::event::table::{COMMON, Field, Kind, Presence, TYPES};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Carries, Form, Organization, Reply, Service, Site, event_of};

/// An event as JSON text, the code that it is refused with, and the field that the refusal names.
type Case = (String, &'static str, Value);

/// Posts the cases, each in one request with the others, and compares what is said of each.
async fn are_refused(service: &Service, acme: &Organization, cases: &[Case]) {
    for some in cases.chunks(80) {
        let events: Vec<&str> = some.iter().map(|(event, _, _)| event.as_str()).collect();
        let reply =
            post(service, acme, &format!(r#"{{"organization":"acme","events":[{}]}}"#, events.join(",")))
                .await;
        assert_eq!(reply.status, 200, "{}", reply.json);
        assert_eq!(reply.json["rejected"], some.len(), "{}", reply.json);
        let results = reply.json["results"].as_array().expect("a list");
        for (at, (result, (event, code, field))) in results.iter().zip(some).enumerate() {
            let expected = json!([at, "rejected", code, field]);
            let seen = json!([result["index"], result["verdict"], result["code"], result["field"]]);
            assert_eq!(seen, expected, "{event}: {result}");
            assert!(result["message"].is_string(), "{result}");
        }
    }
}

async fn post(service: &Service, organization: &Organization, body: &str) -> Reply {
    let bearer = format!("Bearer {}", organization.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    service.intake().send("POST", "/v1/events", &headers, body.to_owned()).await
}

fn event(type_name: &str, more: &str) -> String {
    let (id, now) = (Uuid::now_v7(), UnixMillis::now().0);
    let comma = if more.is_empty() { "" } else { "," };
    format!(
        r#"{{"id":"{id}","type":"{type_name}","occurred_at":{now},"session_id":"s","viewer_id":"v","content_id":"c"{comma}{more}}}"#
    )
}

#[rustfmt::skip] // One rule a line: it is read as a table.
fn rules() -> Vec<Case> {
    let long = |chars: usize| "x".repeat(chars);
    let now = UnixMillis::now().0;
    let common = |name: &str, value: &str| {
        let mut event: serde_json::Map<String, Value> =
            serde_json::from_str(&event("video.played", "")).expect("JSON");
        event.insert(name.to_owned(), serde_json::from_str(value).expect("JSON"));
        Value::from(event).to_string()
    };
    let answered = |answer: &str| event("item.answered", &format!(r#""item_id":"i","answer":{answer}"#));
    let played = |more: &str| event("video.played", more);
    let paused = |watched: &str| event("video.paused", &format!(r#""watched":{watched}"#));
    vec![
        ("7".to_owned(), "bad_type", Value::Null),
        (format!("{{{}}}", " ".repeat(16_384)), "too_large", Value::Null),
        (played(&format!(r#""ext":{{"a":"{}"}}"#, long(4_096))), "too_large", json!("ext")),
        (played(r#""ext":{"a":[{"b":[{}]}]}"#), "too_large", json!("ext")),
        (played(r#""seq":1,"seq":1"#), "bad_type", json!("seq")),
        (played(r#""position_ms":1.0"#), "bad_type", json!("position_ms")),
        (common("id", r#""00000000-0000-0000-0000-000000000000""#), "bad_type", json!("id")),
        (common("id", r#""01942f3e7c1a7def8abc0123456789ab""#), "bad_type", json!("id")),
        (common("occurred_at", r#""2026-11-22T21:48:20""#), "bad_type", json!("occurred_at")),
        (common("type", r#""video.watched""#), "unknown_type", json!("type")),
        (played(r#""colour":null"#), "unknown_field", json!("colour")),
        (played(r#""watched":[]"#), "unknown_field", json!("watched")),
        (common("session_id", "null"), "missing_field", json!("session_id")),
        (played(r#""rate":0.0624"#), "out_of_range", json!("rate")),
        (played(r#""ext":{"a":1e309}"#), "out_of_range", json!("ext.a")),
        (answered(r#"{"text":"a","bool":true}"#), "bad_answer", json!("answer")),
        (answered(r#"{"choice":2}"#), "bad_answer", json!("answer.choice")),
        (answered(r#"{"choices":["1","1"]}"#), "bad_answer", json!("answer.choices.1")),
        (answered(r#"{"number":"1e3"}"#), "bad_answer", json!("answer.number")),
        (answered(r#"{"text":null}"#), "bad_answer", json!("answer.text")),
        (answered(&format!(r#"{{"text":"{}"}}"#, long(10_001))), "out_of_range", json!("answer.text")),
        (answered(r#"{"text":"a","text":"b"}"#), "bad_type", json!("answer.text")),
        (paused("[[2,1]]"), "bad_watched", json!("watched.0")),
        (paused("[[0,172800001]]"), "bad_watched", json!("watched.0")),
        (paused(&format!("[{}]", vec!["[0,1]"; 65].join(","))), "bad_watched", json!("watched")),
        (common("viewer_id", r#""jane@school.example""#), "bad_text", json!("viewer_id")),
        (common("content_id", r#""a\u0000b""#), "bad_text", json!("content_id")),
        (played(r#""ext":{"a":"\ud800"}"#), "bad_text", json!("ext.a")),
        (common("occurred_at", &(now - 31 * 86_400_000).to_string()), "too_old", json!("occurred_at")),
        (common("occurred_at", &(now + 25 * 3_600_000).to_string()), "in_future", json!("occurred_at")),
    ]
}

#[tokio::test]
async fn each_rule_has_its_code_and_names_the_field() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let cases = rules();
    are_refused(&service, &acme, &cases).await;

    let twice = event("video.played", "");
    let reply =
        post(&service, &acme, &format!(r#"{{"organization":"acme","events":[{twice},{twice}]}}"#)).await;
    let duplicate = &reply.json["results"][0];
    assert_eq!((&duplicate["verdict"], &duplicate["code"]), (&json!("duplicate"), &json!("duplicate")));

    let covered: BTreeSet<&str> = cases.iter().map(|(_, code, _)| *code).chain(["duplicate"]).collect();
    let of_the_contract = [
        "missing_field",
        "bad_type",
        "out_of_range",
        "too_large",
        "unknown_type",
        "unknown_field",
        "bad_answer",
        "bad_watched",
        "bad_text",
        "too_old",
        "in_future",
        "duplicate",
    ];
    assert_eq!(covered, of_the_contract.into_iter().collect());
}

/// Values of a field that are refused, each with its code.
fn wrong_values(field: &Field) -> Vec<(Value, &'static str)> {
    match field.kind {
        Kind::Id => vec![(json!(7), "bad_type"), (json!("x"), "bad_type")],
        Kind::TypeName => vec![(json!(7), "bad_type"), (json!("video"), "unknown_type")],
        Kind::OccurredAt => vec![(json!(true), "bad_type"), (json!(0), "too_old")],
        Kind::ViewerId { max_chars } => vec![
            (json!(7), "bad_type"),
            (json!(""), "out_of_range"),
            (json!("é".repeat(max_chars + 1)), "out_of_range"),
        ],
        Kind::Text { max_chars, .. } => vec![
            (json!(7), "bad_type"),
            (json!("\0"), "bad_text"),
            (json!("é".repeat(max_chars + 1)), "out_of_range"),
        ],
        Kind::Whole { max, .. } => vec![
            (json!("1"), "bad_type"),
            (json!(-1), "out_of_range"),
            (json!(u64::from(max) + 1), "out_of_range"),
        ],
        Kind::Number { max, .. } => {
            let max = f64::from(max.nearest);
            vec![(json!("1"), "bad_type"), (json!(-1), "out_of_range"), (json!(max + 0.5), "out_of_range")]
        }
        Kind::Bool { .. } => vec![(json!("true"), "bad_type"), (json!(1), "bad_type")],
        Kind::Watched => vec![(json!(7), "bad_watched")],
        Kind::Answer => vec![(json!(7), "bad_answer"), (json!({}), "bad_answer")],
        Kind::Ext => vec![(json!([]), "bad_type"), (json!("{}"), "bad_type")],
    }
}

#[tokio::test]
async fn every_field_of_every_type_is_judged() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let mut cases = Vec::new();
    for event_type in &TYPES {
        let good = || event_of(event_type, 1, Carries::OnlyTheRequired);
        for field in COMMON.iter().chain(event_type.fields) {
            for (value, code) in wrong_values(field) {
                let mut event = good();
                event.insert(field.name.to_owned(), value);
                cases.push((Value::from(event).to_string(), code, json!(field.name)));
            }
            if !matches!(field.presence, Presence::Optional) {
                let mut event = good();
                event.remove(field.name);
                cases.push((Value::from(event).to_string(), "missing_field", json!(field.name)));
            }
        }
        let mut event = good();
        event.insert("colour".to_owned(), Value::Null);
        cases.push((Value::from(event).to_string(), "unknown_field", json!("colour")));
    }
    assert!(cases.len() > 500, "{}", cases.len());
    are_refused(&service, &acme, &cases).await;
}

#[tokio::test]
async fn a_batch_with_nothing_accepted_is_still_answered_with_verdicts() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let reply = service.post(&acme, Form::Ndjson, &[json!(1), json!([])]).await;
    assert_eq!((reply.status.as_u16(), &reply.json["rejected"]), (200, &json!(2)), "{}", reply.json);
}
