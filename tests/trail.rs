//! A caller's own id leads from its request to the record's fate.

use serde_json::Value;

use crate::harness::{Form, Service, Site, eventually, played};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OF_TRACE: &str = "0af76519-16cd-43dd-8448-eb211c80319c";
const OWN: &str = "019aae9c-2b3f-7d51-9c33-6d1f0b2a4e57";

/// The line of the service's log that names a request, once it is there.
async fn line_of(service: &Service, id: &str) -> Value {
    let mut line = Value::Null;
    eventually(&format!("a line of {id}"), async || {
        let said = service.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        line = lines.into_iter().find(|line| line["request.id"] == id).unwrap_or_default();
        line.is_object()
    })
    .await;
    line
}

#[tokio::test]
async fn a_callers_id_is_in_the_reply_and_in_the_line_of_the_loader() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").env("RUST_LOG", "info,rollbook=debug")).await;
    let post = async |name: &str, value: &str, key: &str| {
        let (headers, body) = Form::Json.pack(&acme.slug, key, &played(2));
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push((name, value));
        service.intake().send("POST", "/v1/events", &headers, body).await
    };
    for (name, value, id) in [("traceparent", TRACE, OF_TRACE), ("x-request-id", OWN, OWN)] {
        let reply = post(name, value, &acme.key).await.accepts(2);
        assert_eq!(reply.json["request_id"], id);
        let line = line_of(&service, id).await;
        assert_eq!((&line["fate"], &line["events"]), (&"loaded".into(), &2.into()), "{line}");
        assert!(line["offset"].is_i64() && line["partition"].is_i64(), "{line}");
    }
    // An id that a record has no room for is not taken, and a request that is refused has its line, too.
    let refused = post("x-request-id", "page-7", "rb_nobodys").await.refuses(401, "unknown_key");
    let id = refused.json["request_id"].as_str().expect("an id of ours");
    let line = line_of(&service, id).await;
    assert_eq!((&line["status"], &line["code"]), (&401.into(), &"unknown_key".into()), "{line}");
    assert!(!service.said().contains(&acme.key), "no line tells a key");
    service.stop().await;
}
