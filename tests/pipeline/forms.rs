//! Every form and encoding of a batch reaches the table.

use prost::Message;
use rollbook::event::UnixMillis;
use rollbook::event::proto;
use uuid::Uuid;

use crate::harness::{Form, Service, Site, id_of, played};

#[tokio::test]
async fn every_form_and_encoding_of_json_reaches_the_table() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    let mut sent = Vec::new();
    for form in [Form::Json, Form::Beacon, Form::Ndjson, Form::Gzip, Form::Zstd, Form::Brotli] {
        let events = played(3);
        service.post(&acme, form, &events).await.accepts(3);
        sent.extend(events.iter().map(id_of));
    }
    site.loaded("acme", 18).await;
    assert_eq!(site.stored_ids("acme").await, sent);
}

#[tokio::test]
async fn protobuf_reaches_the_same_columns() {
    let site = Site::set_up().await;
    site.organization("acme").await;
    let key = site.run("key add acme --json").await.done().json()["key"].as_str().expect("a key").to_owned();
    let service = Service::ready(site.serve("")).await;
    let now = UnixMillis::now().0;
    let event = proto::Event {
        id: Some(Uuid::now_v7().to_string()),
        r#type: Some("item.answered".to_owned()),
        occurred_at: Some(now),
        item_id: Some("i".to_owned()),
        answer: Some(proto::Answer { answer: Some(proto::answer::Answer::Number("12.50".to_owned())) }),
        score: Some(0.25),
        ext: Some(r#"{"a":1.50}"#.to_owned()),
        ..Default::default()
    };
    let request = proto::IngestRequest {
        organization: Some("acme".to_owned()),
        key: Some(key),
        sent_at: Some(now),
        viewer_id: Some("v".to_owned()),
        session_id: Some("s".to_owned()),
        content_id: Some("c".to_owned()),
        events: vec![event],
        ..Default::default()
    };
    let headers = [("content-type", "application/x-protobuf")];
    service.intake().send("POST", "/v1/events", &headers, request.encode_to_vec()).await.accepts(1);
    site.loaded("acme", 1).await;
    let row = site
        .texts(
            "SELECT concat_ws(' ', type, session_id, viewer_id, content_id, item_id, score, answer, details, \
                              (extract(epoch FROM occurred_at) * 1000)::bigint) FROM org_acme.event",
        )
        .await;
    let expected =
        format!(r#"item.answered s v c i 0.25 {{"number": "12.50"}} {{"ext": {{"a": 1.50}}}} {now}"#);
    assert_eq!(row, [expected]);
}
