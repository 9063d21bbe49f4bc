//! `docs/openapi.yaml` against the running service, in both directions: what the description says is true of the
//! service, and what the service answers is in the description.

mod document;
mod fields;
mod generate;

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::TestRunner;
use rollbook::event::UnixMillis;
use rollbook::event::table::{COMMON, TYPES};
use serde_json::{Value, json};

use crate::harness::{Seen, Service, Site, codes_of, compare, seen};
use document::Document;
use fields::schema_of;
use generate::Generator;

/// The time that the examples speak of; sent as the present.
const TIME_OF_EXAMPLES: &str = "2026-11-22T21:48:20.123Z";
/// The key of the examples.
const KEY_OF_EXAMPLES: &str = "rb_…";

#[test]
fn every_reference_leads_somewhere() {
    let document = Document::load();
    let mut references = Vec::new();
    document.visit(&mut |value| references.extend(value["$ref"].as_str().map(str::to_owned)));
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.root().pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn types_fields_and_limits_are_those_of_the_table() {
    let document = Document::load();
    let common = document.schema("Common");
    for field in &COMMON {
        let described = document.plain(&common["properties"][field.name]);
        let expected = if field.name == "type" { json!({"type": "string"}) } else { schema_of(field, "") };
        assert_eq!(described, expected, "{}", field.name);
    }
    let names = |object: &Value| -> BTreeSet<String> {
        object.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(names(&common["properties"]), COMMON.iter().map(|field| field.name.to_owned()).collect());
    assert_eq!(document.texts(&common["required"]), fields::required(&COMMON));

    let listed: Vec<&Value> = document.schema("Event")["oneOf"].as_array().expect("a list").iter().collect();
    let expected: Vec<Value> = TYPES.iter().map(|known| json!({"$ref": reference_to(known.name)})).collect();
    assert_eq!(listed, expected.iter().collect::<Vec<_>>());
    for event_type in &TYPES {
        let described = document.schema(event_type.name);
        assert_eq!(described["allOf"], json!([{"$ref": reference_to("Common")}]), "{}", event_type.name);
        assert_eq!(described["unevaluatedProperties"], json!(false), "{}", event_type.name);
        let own = event_type.fields.iter().map(|field| field.name);
        let own: BTreeSet<String> = own.chain(["type"]).map(str::to_owned).collect();
        assert_eq!(names(&described["properties"]), own, "{}", event_type.name);
        let mut required = fields::required(event_type.fields);
        required.insert("type".to_owned());
        assert_eq!(document.texts(&described["required"]), required, "{}", event_type.name);
        assert_eq!(described["properties"]["type"], json!({"const": event_type.name}));
        for field in event_type.fields {
            let seen = document.plain(&described["properties"][field.name]);
            assert_eq!(seen, schema_of(field, event_type.name), "{} of {}", field.name, event_type.name);
        }
    }
}

fn reference_to(schema: &str) -> String {
    format!("#/components/schemas/{schema}")
}

#[tokio::test]
async fn what_the_schema_allows_is_accepted_and_every_example_is_answered_as_it_says() {
    let document = Document::load();
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;

    let mut sent = BTreeMap::new();
    let mut generator = Generator::new(&document, TestRunner::deterministic());
    let (batch, alone) = (document.validator("Batch"), document.validator("EventAlone"));
    for _ in 0..40 {
        let body = generator.batch(50);
        assert!(batch.is_valid(&body), "{:?}: {body}", batch.validate(&body));
        for event in body["events"].as_array().expect("events") {
            *sent.entry(event["type"].as_str().expect("a type").to_owned()).or_insert(0) += 1;
        }
        post(&service, &acme.key, "application/json", body.to_string()).await.accepts(50);
        let events: Vec<Value> = (0..50).map(|_| generator.event_alone()).collect();
        let wrong = events.iter().find(|event| !alone.is_valid(event));
        assert_eq!(wrong, None);
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        post(&service, &acme.key, "application/x-ndjson", lines.join("\n")).await.accepts(50);
    }
    assert_eq!(sent.len(), TYPES.len(), "{sent:?}");

    let post_events = document.operation("/v1/events", "post").expect("described");
    let replies = &post_events["responses"]["200"]["content"]["application/json"]["examples"];
    let mut answered = BTreeSet::new();
    for (content_type, media) in post_events["requestBody"]["content"].as_object().expect("forms") {
        for (name, example) in media["examples"].as_object().into_iter().flatten() {
            let value = &example["value"];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let now = UnixMillis::now().to_string();
            let body = text.replace(TIME_OF_EXAMPLES, &now).replace(KEY_OF_EXAMPLES, &acme.key);
            if content_type != "application/x-ndjson" {
                let example: Value = serde_json::from_str(&body).expect("JSON");
                let is_wrong = name == "refused_and_repeated";
                assert_eq!(!batch.is_valid(&example), is_wrong, "{name}: {:?}", batch.validate(&example));
            }
            let reply = post(&service, &acme.key, content_type, body).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.json);
            let mut expected = replies[name]["value"].clone();
            expected["request_id"] = json!("{{uuid}}");
            expected["received_at"] = json!("{{time}}");
            assert_eq!(compare(&expected, &reply.json, name), Vec::<String>::new());
            answered.insert(name);
        }
    }
    assert_eq!(answered, replies.as_object().expect("examples").keys().collect());
}

async fn post(service: &Service, key: &str, content_type: &str, body: String) -> crate::harness::Reply {
    let authorization = format!("Bearer {key}");
    let headers =
        [("authorization", authorization.as_str()), ("content-type", content_type), ("organization", "acme")];
    service.intake().send("POST", "/v1/events", &headers, body).await
}

#[tokio::test]
async fn every_reply_to_a_vector_is_described() {
    let document = Document::load();
    let mut met = BTreeSet::new();
    for seen in seen().await {
        let described = document.response_to(seen);
        document.check_headers(described, seen);
        let is_head = seen.vector.request.method == "HEAD";
        match described["content"].as_object() {
            None => assert!(seen.reply.body.is_empty(), "{}", seen.vector.name),
            Some(_) if is_head => assert!(seen.reply.body.is_empty(), "{}", seen.vector.name),
            Some(content) => {
                let content_type = seen.reply.headers["content-type"].to_str().expect("ASCII");
                let essence = content_type.split(';').next().expect("there is a first part");
                let media = content.get(essence);
                let media = media.unwrap_or_else(|| panic!("{essence}: {}", seen.vector.name));
                let body = match &seen.reply.json {
                    Value::Null => json!(String::from_utf8_lossy(&seen.reply.body)),
                    json => json.clone(),
                };
                document.check(&media["schema"], &body, &seen.vector.name);
            }
        }
        met.insert((seen.reply.status.as_u16(), seen.reply.json["code"].as_str().unwrap_or("").to_owned()));
    }
    assert!(met.len() > 19, "{met:?}");
}

#[tokio::test]
async fn the_codes_are_those_of_the_service_and_each_example_of_one_was_seen() {
    let document = Document::load();
    let seen = seen().await;
    let metrics = seen.iter().find(|seen| seen.vector.request.path == "/metrics" && !seen.is_of_intake());
    let metrics = String::from_utf8_lossy(&metrics.expect("a vector scrapes").reply.body).into_owned();
    let (problems, refusals) = codes_of(&metrics);

    let (mut described, mut examples) = (BTreeSet::new(), Vec::new());
    for response in document.root()["components"]["responses"].as_object().expect("responses").values() {
        let media = &response["content"]["application/problem+json"];
        described.extend(document.texts(&media["schema"]["properties"]["code"]["enum"]));
        for (name, example) in media["examples"].as_object().into_iter().flatten() {
            let value = &example["value"];
            assert_eq!(value["code"], json!(name));
            document.check(&media["schema"], value, name);
            examples.push(value);
        }
    }
    assert_eq!(described, problems);
    assert_eq!(examples.len(), problems.len(), "one example for each code");
    for example in examples {
        let mut expected = example.clone();
        expected["request_id"] = json!("{{uuid}}");
        let was_seen = |seen: &Seen| compare(&expected, &seen.reply.json, "").is_empty();
        assert!(seen.iter().any(was_seen), "never answered: {example}");
    }

    let events = document.texts(&document.schema("Result")["properties"]["code"]["enum"]);
    let verdicts = ["duplicate", "unavailable"].map(str::to_owned);
    assert_eq!(events, refusals.into_iter().chain(verdicts).collect());
}

/// The other direction for requests: nothing is accepted that the description would not allow.
#[tokio::test]
async fn what_was_accepted_of_the_vectors_is_within_the_schema() {
    let document = Document::load();
    let event_schema = document.validator("Event");
    let (mut accepted, mut refused) = (0, 0);
    for seen in seen().await {
        let Ok(body) = serde_json::from_slice::<Value>(&seen.sent) else { continue };
        let (200, Some(events)) = (seen.reply.status.as_u16(), body["events"].as_array()) else { continue };
        let results = seen.reply.json["results"].as_array().expect("results");
        for (index, event) in events.iter().enumerate() {
            let result = results.iter().find(|result| result["index"] == json!(index));
            match result.and_then(|result| result["code"].as_str()) {
                None | Some("duplicate" | "unavailable") => {
                    accepted += 1;
                    assert!(event_schema.is_valid(event), "{}: {event}", seen.vector.name);
                }
                Some(
                    "unknown_type" | "unknown_field" | "bad_type" | "missing_field" | "out_of_range"
                    | "bad_text" | "bad_answer",
                ) if !is_beyond_schemas(&seen.vector.name) => {
                    refused += 1;
                    assert!(!event_schema.is_valid(event), "{}: {event}", seen.vector.name);
                }
                Some(_) => {}
            }
        }
    }
    assert!(accepted > 100 && refused > 70, "{accepted} accepted, {refused} refused");
}

/// Vectors that are about spelling, which a schema does not see (repeated keys, `1.0` for a whole number, exponents,
/// counts of digits), or about the batch around an event.
fn is_beyond_schemas(vector: &str) -> bool {
    let about_spelling = [
        "answer: decimal strings",
        "answer: numbers keep",
        "events: a repeated key",
        "events: of several faults",
        "events: without a default",
        "numbers:",
        "times_and_skew: milliseconds",
    ];
    about_spelling.iter().any(|name| vector.starts_with(name))
}
