//! From the front door to the table: what was accepted is in its organization's schema, once and whole.

mod columns;
mod forms;

use serde_json::json;
use uuid::Uuid;

use crate::harness::{Form, Service, Site, id_of, played};

#[tokio::test]
async fn an_accepted_event_is_in_the_right_schema_and_only_there() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("")).await;
    let (of_acme, of_birch) = (played(3), played(2));
    service.post(&acme, Form::Json, &of_acme).await.accepts(3);
    service.post(&birch, Form::Json, &of_birch).await.accepts(2);

    assert_eq!(site.loaded("acme", 3).await, (3, 0));
    assert_eq!(site.loaded("birch", 2).await, (2, 0));
    assert_eq!(site.stored_ids("acme").await, of_acme.iter().map(id_of).collect::<Vec<_>>());
    assert_eq!(site.stored_ids("birch").await, of_birch.iter().map(id_of).collect::<Vec<_>>());
    service.stop().await;
}

#[tokio::test]
async fn one_id_is_an_event_of_its_own_in_each_organization() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("")).await;
    let events = played(1);
    service.post(&acme, Form::Json, &events).await.accepts(1);
    service.post(&birch, Form::Json, &events).await.accepts(1);
    assert_eq!((site.loaded("acme", 1).await, site.loaded("birch", 1).await), ((1, 0), (1, 0)));
}

#[tokio::test]
async fn a_retry_of_the_same_ids_stores_nothing_twice() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let events = played(7);
    service.post(&acme, Form::Json, &events).await.accepts(7);
    assert_eq!(site.loaded("acme", 7).await, (7, 0));

    // Two more tries, which may well be loaded in one batch, with an event that is new among them.
    let fresh = played(1);
    service.post(&acme, Form::Json, &events).await.accepts(7);
    service.post(&acme, Form::Json, &[&events[..], &fresh].concat()).await.accepts(8);
    assert_eq!(site.loaded("acme", 22).await, (8, 14));
    let all: Vec<String> = events.iter().chain(&fresh).map(id_of).collect();
    assert_eq!(site.stored_ids("acme").await, all);
}

#[tokio::test]
async fn a_repeated_id_within_a_batch_is_told_and_stored_once() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let events = played(2);
    let reply = service.post(&acme, Form::Json, &[&events[..], &events[..1]].concat()).await;
    assert_eq!((&reply.json["accepted"], &reply.json["duplicate"]), (&json!(2), &json!(1)), "{}", reply.json);
    assert_eq!(reply.json["results"][0]["index"], 2);
    assert_eq!(site.loaded("acme", 2).await, (2, 0));
}

#[tokio::test]
async fn one_bad_event_never_fails_its_batch() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let mut events = played(3);
    events[1]["position_ms"] = json!(999_999_999);
    let reply = service.post(&acme, Form::Json, &events).await;
    assert_eq!((&reply.json["accepted"], &reply.json["rejected"]), (&json!(2), &json!(1)), "{}", reply.json);
    assert_eq!(site.loaded("acme", 2).await, (2, 0));
    assert_eq!(site.stored_ids("acme").await, [id_of(&events[0]), id_of(&events[2])]);
}

#[tokio::test]
async fn a_batch_too_large_for_one_record_is_stored_whole() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    // 500 events of 3.5 kB: 1.7 MB, of which the log takes 900 kB at a time.
    let mut events = played(500);
    events.iter_mut().for_each(|event| event["ext"] = json!({"filler": "x".repeat(3_400)}));
    service.post(&acme, Form::Gzip, &events).await.accepts(500);
    assert_eq!(site.loaded("acme", 500).await, (500, 0));
    assert_eq!(site.stored_ids("acme").await, events.iter().map(id_of).collect::<Vec<_>>());
    let records = site.number("SELECT sum(next_offset)::bigint FROM org_acme.ingest_watermark").await;
    assert!(records >= 2, "{records}");
    let filled = "SELECT count(*) FROM org_acme.event WHERE length(details->'ext'->>'filler') = 3400";
    assert_eq!(site.number(filled).await, 500);
}

#[tokio::test]
async fn a_skewed_clock_is_corrected_and_the_clients_own_time_is_kept() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    // A client whose clock is an hour slow sends what happened ten seconds before.
    let hour_ago = rollbook::event::UnixMillis::now().0 - 3_600_000;
    let event = json!({
        "id": Uuid::now_v7(), "type": "video.played", "occurred_at": hour_ago - 10_000,
        "session_id": "s", "viewer_id": "v", "content_id": "c",
    });
    let body = json!({"organization": "acme", "sent_at": hour_ago, "events": [event]}).to_string();
    let bearer = format!("Bearer {}", acme.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    service.intake().send("POST", "/v1/events", &headers, body).await.accepts(1);
    site.loaded("acme", 1).await;
    let times = site
        .texts(
            "SELECT (extract(epoch FROM received_at - occurred_at) * 1000)::bigint::text || ' ' || \
                    (extract(epoch FROM client_occurred_at) * 1000)::bigint::text FROM org_acme.event",
        )
        .await;
    assert_eq!(times, [format!("10000 {}", hour_ago - 10_000)]);
}
