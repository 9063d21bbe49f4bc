//! A caller's own id leads from its request to the record's fate.

use serde_json::Value;

use crate::harness::{Form, Organization, Reply, Service, Site, eventually, played};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OF_TRACE: &str = "0af76519-16cd-43dd-8448-eb211c80319c";
const OWN: &str = "019aae9c-2b3f-7d51-9c33-6d1f0b2a4e57";

/// The first line of the service's log that names a request, once it is there.
async fn line_of(service: &Service, id: &str) -> Value {
    lines_of(service, id, 1).await.remove(0)
}

/// All lines that name a request, once there are so many.
async fn lines_of(service: &Service, id: &str, lines: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually(&format!("{lines} lines of {id}"), async || {
        let said = service.said();
        let of_all = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = of_all.filter(|line| line["request.id"] == id).collect();
        found.len() >= lines
    })
    .await;
    found
}

/// Posts two events with one more header.
async fn post(service: &Service, organization: &Organization, (name, value): (&str, &str)) -> Reply {
    let (headers, body) = Form::Json.pack(&organization.slug, &organization.key, &played(2));
    let mut headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push((name, value));
    service.intake().send("POST", "/v1/events", &headers, body).await
}

#[tokio::test]
async fn a_callers_id_is_in_the_reply_and_in_the_line_of_the_loader() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").env("RUST_LOG", "info,rollbook=debug")).await;
    for (name, value, id) in [("traceparent", TRACE, OF_TRACE), ("x-request-id", OWN, OWN)] {
        let reply = post(&service, &acme, (name, value)).await.accepts(2);
        assert_eq!(reply.json["request_id"], id);
        let line = line_of(&service, id).await;
        assert_eq!((&line["fate"], &line["events"]), (&"loaded".into(), &2.into()), "{line}");
        assert!(line["offset"].is_i64() && line["partition"].is_i64(), "{line}");
    }
    let key = acme.key.clone();
    // An id that a record has no room for is not taken, and a request that is refused has its line, too.
    let stranger = Organization { key: "rb_nobodys".to_owned(), ..acme };
    let refused = post(&service, &stranger, ("x-request-id", "page-7")).await.refuses(401, "unknown_key");
    let id = refused.json["request_id"].as_str().expect("an id of ours");
    let line = line_of(&service, id).await;
    assert_eq!((&line["status"], &line["code"]), (&401.into(), &"unknown_key".into()), "{line}");
    assert!(!service.said().contains(&key), "no line tells a key");
    service.stop().await;
}

#[tokio::test]
async fn a_callers_id_leads_through_the_hold_to_the_drain() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    site.execute("ALTER TABLE org_acme.event RENAME TO away").await;
    let service = Service::ready(site.serve("").env("RUST_LOG", "info,rollbook=debug")).await;
    post(&service, &acme, ("x-request-id", OWN)).await.accepts(2);
    let held = line_of(&service, OWN).await;
    assert_eq!((&held["fate"], &held["events"]), (&"held".into(), &2.into()), "{held}");

    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let lines = lines_of(&service, OWN, 2).await;
    let fates: Vec<&Value> = lines.iter().map(|line| &line["fate"]).collect();
    assert_eq!(fates, ["held", "drained"]);
    for name in ["organization.id", "partition", "offset", "events"] {
        assert_eq!(lines[1][name], held[name], "{name}: the same record, {lines:?}");
    }
    assert_eq!(site.loaded("acme", 2).await, (2, 0));
    service.stop().await;
}
