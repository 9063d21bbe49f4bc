//! What the targets share: one organization, a door to it, and what every answer must be.

use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rollbook::event::{Clock, Envelope, Event, UnixMillis, Verdict, check_batch};
use rollbook::intake::direct::{self, Answered};
use rollbook::log::RecordBuilder;
use rollbook::log::record::RecordView;
use rollbook::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};
use serde_json::Value;
use uuid::Uuid;

/// The one organization's.
pub const KEY: &str = "rb_00000000000000000000000000000000000000000000HCcZO";
/// The moment at which everything arrives: the seeds' events are of that day.
pub const NOW: UnixMillis = UnixMillis(1_795_384_100_123);
/// As intake's default.
pub const MAX_UNPACKED_BYTES: usize = 2 * 1024 * 1024;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let id = OrganizationId(Uuid::from_u128(7));
    let organization = Organization {
        id,
        slug: "acme_school".parse().expect("a slug"),
        schema_name: "org_acme_school".to_owned(),
        state: State::Active,
        schema_version: 1,
        completion: rollbook::tenant::Completion::default(),
        rate_limit: None,
        origins: vec!["https://acme.example".to_owned()],
    };
    let digest = WriteKey::parse(KEY).expect("a key").digest();
    let directory = Directory::default();
    directory.replace(Snapshot::new([organization], [(digest, id)], Instant::now()));
    directory
});

/// Headers of these names and values, without those that HTTP itself refuses.
pub fn headers<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The headers of a batch of this type by somebody who may write.
pub fn authorized(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {KEY}");
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).expect("a header value"));
    headers.insert("organization", HeaderValue::from_static("acme_school"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers
}

/// Unpacks a body.
pub fn unpack(encoding: &'static str, wire: &[u8]) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    direct::unpack(&headers, Bytes::copy_from_slice(wire), MAX_UNPACKED_BYTES)
}

/// Sends a batch, and holds the answer to what every answer promises. Gives back how many events were accepted.
pub fn post(headers: &HeaderMap, wire: &[u8]) -> u64 {
    let wire = Bytes::copy_from_slice(wire);
    let Answered { reply, records } = direct::answer(&DIRECTORY, headers, wire, MAX_UNPACKED_BYTES, NOW);
    let status = reply.status().as_u16();
    let body = text_of(reply);
    let body: Value = serde_json::from_str(&body).expect("every reply is JSON");
    if status != 200 {
        assert!((400..500).contains(&status), "{status}");
        assert_eq!(body["status"], status);
        assert!(body["code"].is_string() && records.is_empty());
        return 0;
    }
    let count = |name: &str| body[name].as_u64().expect("a count");
    let results = body["results"].as_array().expect("a list");
    let [accepted, duplicate, rejected] = ["accepted", "duplicate", "rejected"].map(|verdict| {
        let said = results.iter().filter(|result| result["verdict"] == verdict).count();
        assert_eq!(count(verdict), said as u64);
        said as u64
    });
    assert_eq!(accepted + duplicate + rejected, results.len() as u64);
    assert!((1..=500).contains(&results.len()));
    let mut recorded = 0;
    for record in &records {
        let view = RecordView::parse(&record.bytes).expect("a record of ours");
        for event in view.events() {
            event.expect("an event of ours");
            recorded += 1;
        }
    }
    assert_eq!(recorded, accepted, "what is accepted is what the log is given");
    accepted
}

fn text_of(reply: hyper::Response<http_body_util::Full<Bytes>>) -> String {
    use http_body_util::BodyExt as _;
    let collect = std::pin::pin!(reply.into_body().collect());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Ok(body)) = std::future::Future::poll(collect, &mut context) else {
        panic!("a reply is complete when it is made");
    };
    String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
}

/// What is accepted comes out of its record as it went in.
pub fn through_a_record(envelope: &Envelope<'_>) {
    let clock = Clock { received_at: NOW, sent_at: envelope.sent_at };
    let verdicts = check_batch(envelope, clock);
    assert_eq!(verdicts.len(), envelope.events.len());
    let mut accepted: Vec<Event<'_>> = Vec::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Accepted(event) => accepted.push(event),
            Verdict::Duplicate(id) => assert!(accepted.iter().any(|event| event.id == id)),
            Verdict::Rejected(_) => {}
        }
    }
    let mut builder = RecordBuilder::new(OrganizationId(Uuid::from_u128(7)), Uuid::from_u128(8), NOW);
    accepted.iter().for_each(|event| builder.push(event));
    let records = builder.finish();
    let views: Vec<_> = records.iter().map(|record| RecordView::parse(&record.bytes)).collect();
    let read: Vec<Event<'_>> = views
        .iter()
        .flat_map(|view| view.as_ref().expect("a record of ours").events())
        .map(|event| event.expect("an event of ours"))
        .collect();
    assert_eq!(read, accepted);
    for event in &accepted {
        for json in [&event.answer, &event.details].into_iter().flatten() {
            serde_json::from_str::<&serde_json::value::RawValue>(json)
                .expect("what is stored as JSON is JSON");
        }
    }
}
