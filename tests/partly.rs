//! A batch that becomes several records of which the log takes only some.
//!
//! The topic is given a limit below our largest record: Kafka then refuses the full record of a split batch and takes
//! the smaller one behind it. That is the operator's mistake and not the events', so they are to be sent again.

use serde_json::{Value, json};

use crate::harness::{Form, Organization, Service, Site, eventually, id_of, played};

/// So many events of about 4 KB.
fn long_answers(count: usize) -> Vec<Value> {
    let mut events = played(count);
    for event in &mut events {
        event["type"] = json!("item.answered");
        event["item_id"] = json!("i");
        event["answer"] = json!({ "text": "x".repeat(4_000) });
    }
    events
}

async fn site_with_a_low_limit() -> (Site, Organization, Service) {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    // 500 events at once, and then hardly any: what the log does not take must not cost anything.
    site.run("org set acme --rate-limit 1").await.done();
    site.set_topic("max.message.bytes", "600000").await;
    // Kafka measures what it is sent, and these pack well. By the name that is not the one of our own default.
    let serve = site
        .serve("--role intake")
        .env("ROLLBOOK_KAFKA_PROPERTIES", "compression.codec=none")
        .env("ROLLBOOK_KAFKA_PUBLISH_TIMEOUT_MS", "5000");
    (site, acme, Service::ready(serve).await)
}

#[tokio::test]
async fn events_that_the_log_did_not_take_are_asked_for_again_and_the_others_are_stored() {
    let (site, acme, service) = site_with_a_low_limit().await;
    // About 900 KB and 300 KB.
    let events = long_answers(300);
    let reply = service.post(&acme, Form::Gzip, &events).await;
    assert_eq!(reply.status, 200, "{}", reply.json);
    let results = reply.json["results"].as_array().expect("results");
    let refused = results.len();
    assert!((200..250).contains(&refused), "{refused}");
    assert_eq!((&reply.json["accepted"], &reply.json["retry"]), (&json!(300 - refused), &json!(refused)));
    for (at, line) in results.iter().enumerate() {
        let said = (&line["index"], &line["id"], &line["verdict"], &line["code"]);
        assert_eq!(said, (&json!(at), &events[at]["id"], &json!("retry"), &json!("unavailable")));
    }
    let verdict =
        |name: &str| format!(r#"rollbook_intake_events_total{{organization="acme",verdict="{name}"}}"#);
    assert_eq!(
        service.metric(&verdict("accepted")).await,
        f64::from(300 - u32::try_from(refused).expect("few"))
    );
    assert_eq!(service.metric(&verdict("retry")).await, f64::from(u32::try_from(refused).expect("few")));

    let _loader = Service::ready(site.serve("--role loader")).await;
    let taken = i64::try_from(300 - refused).expect("few");
    assert_eq!(site.loaded("acme", taken).await, (taken, 0));
    let mut expected: Vec<String> = events[refused..].iter().map(id_of).collect();
    expected.sort_unstable();
    assert_eq!(site.stored_ids("acme").await, expected);

    // The operator mends it, and the client does what it was told.
    site.set_topic("max.message.bytes", "1048588").await;
    eventually("the rest is taken", async || {
        let again = service.post(&acme, Form::Gzip, &events[..refused]).await;
        again.status == 200 && again.json["accepted"] == json!(refused)
    })
    .await;
    eventually("all is stored", async || site.number("SELECT count(*) FROM org_acme.event").await == 300)
        .await;
}

#[tokio::test]
async fn a_batch_of_which_the_log_took_nothing_is_refused_as_a_whole() {
    let (_site, acme, service) = site_with_a_low_limit().await;
    let reply = service.post(&acme, Form::Gzip, &long_answers(200)).await;
    let detail = reply.json["detail"].to_string();
    reply.refuses(503, "log_unavailable");
    // That waiting will not help is said to whoever can do something: not an outage, and not a late answer.
    assert!(detail.contains("refuses records of this size"), "{detail}");
    assert_eq!(service.metric("rollbook_log_publish_total{outcome=\"failed\"}").await, 1.0);
    assert_eq!(service.metric("rollbook_log_publish_total{outcome=\"timed_out\"}").await, 0.0);
    eventually("it is said", async || service.said().contains("raise `max.message.bytes` of the topic"))
        .await;
    // The producer is not the worse for it.
    service.post(&acme, Form::Gzip, &long_answers(10)).await.accepts(10);
    assert_eq!(service.metric("rollbook_log_queue_bytes").await, 0.0);
}
