//! All types with all their fields, made from the one table of types: a new type is covered by being there.

use rollbook::event::UnixMillis;
use rollbook::event::table::{COMMON, EventType, Kind, TYPES};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::harness::{Carries, Form, Service, Site, event_of, id_of};

/// The columns of an event as one JSON object. `watched` as pairs, times in milliseconds, `real` as the JSON of the same
/// float: SQL does the reading back.
const ROW: &str = "SELECT event_id::text, (to_jsonb(e) - '{watched,occurred_at,client_occurred_at,received_at,stored_in}'::text[] \
    || jsonb_build_object('occurred_at', (extract(epoch FROM occurred_at) * 1000)::bigint, \
        'client_occurred_at', (extract(epoch FROM client_occurred_at) * 1000)::bigint, \
        'watched', CASE WHEN watched IS NOT NULL THEN (SELECT coalesce(jsonb_agg(jsonb_build_array(lower(w), upper(w)) \
            ORDER BY n), '[]') FROM unnest(watched) WITH ORDINALITY AS each (w, n)) END))::text \
    FROM org_acme.event e";

/// What has to stand in the row, by column.
fn expected(event: &Map<String, Value>, event_type: &EventType, columns: &[String]) -> Map<String, Value> {
    let mut row: Map<String, Value> = columns.iter().map(|name| (name.clone(), Value::Null)).collect();
    let mut details = Map::new();
    for field in COMMON.iter().chain(event_type.fields) {
        let Some(sent) = event.get(field.name).cloned() else { continue };
        let (column, kept) = match field.kind {
            Kind::Id => ("event_id", sent),
            Kind::OccurredAt => {
                row.insert("client_occurred_at".to_owned(), sent.clone());
                (field.name, sent)
            }
            Kind::Watched => {
                let pairs = sent.as_array().expect("a list").iter();
                (field.name, pairs.filter(|pair| pair[0] != pair[1]).cloned().collect())
            }
            _ => (field.name, sent),
        };
        if field.kind.has_column() {
            assert!(row.insert(column.to_owned(), kept).is_some(), "the table event has no column {column}");
        } else {
            details.insert(column.to_owned(), kept);
        }
    }
    if !details.is_empty() {
        row.insert("details".to_owned(), details.into());
    }
    row
}

#[tokio::test]
async fn every_field_of_every_type_comes_back_from_its_column() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let cases: Vec<(&EventType, Map<String, Value>)> = TYPES
        .iter()
        .enumerate()
        .flat_map(|(n, of)| {
            [Carries::Everything, Carries::OnlyTheRequired].map(|carries| (of, event_of(of, n, carries)))
        })
        .collect();
    let events: Vec<Value> = cases.iter().map(|(_, event)| event.clone().into()).collect();
    service.post(&acme, Form::Json, &events).await.accepts(events.len());
    site.loaded("acme", i64::try_from(events.len()).expect("few")).await;

    let columns = site
        .texts(
            "SELECT column_name::text FROM information_schema.columns \
             WHERE table_schema = 'org_acme' AND table_name = 'event' AND column_name NOT IN ('received_at', 'stored_in')",
        )
        .await;
    let rows = site.superuser().await.query(ROW, &[]).await.expect("rows");
    assert_eq!(rows.len(), cases.len());
    for (event_type, event) in cases {
        let id = id_of(&event.clone().into());
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == id).expect("every event has its row");
        let stored: Value = serde_json::from_str(row.get(1)).expect("JSON");
        assert_eq!(stored, Value::from(expected(&event, event_type, &columns)), "{}", event_type.name);
    }
}

#[tokio::test]
async fn numbers_of_answer_and_ext_keep_every_digit_and_an_empty_list_stays_one() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let with = |type_name: &str, more: &str| {
        let (id, now) = (Uuid::now_v7(), UnixMillis::now().0);
        format!(
            r#"{{"id":"{id}","type":"{type_name}","occurred_at":{now},"session_id":"s","viewer_id":"v","content_id":"c",{more}}}"#
        )
    };
    let events = [
        with("item.answered", r#""item_id":"i","answer":{"number":1234567890123456789012345678901.234}"#),
        with("video.paused", r#""watched":[],"ext":{"n":0.1000000000000000000000000000001,"n2":12.50}"#),
        with("video.paused", r#""ext":{},"rate":null"#),
    ];
    let body = format!(r#"{{"organization":"acme","events":[{}]}}"#, events.join(","));
    let bearer = format!("Bearer {}", acme.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    service.intake().send("POST", "/v1/events", &headers, body).await.accepts(3);
    site.loaded("acme", 3).await;
    let rows = site
        .texts("SELECT concat_ws(' ', answer, details, watched, rate) FROM org_acme.event ORDER BY event_id")
        .await;
    assert_eq!(
        rows,
        [
            r#"{"number": 1234567890123456789012345678901.234}"#,
            r#"{"ext": {"n": 0.1000000000000000000000000000001, "n2": 12.50}} {}"#,
            "",
        ]
    );
}
