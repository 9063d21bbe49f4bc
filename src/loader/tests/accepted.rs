//! Whatever intake accepts, Postgres stores as it was sent: any events of the table of types, through the real check, a
//! record and the loader's own writing, compared with what Postgres itself makes of the words that were sent.
//!
//! `PROPTEST_CASES` says how many events; one that is not stored as it was sent is printed.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use serde_json::Value;
use tokio_postgres::types::Type;

use super::super::position::Watermark;
use super::super::writer::Fates;
use super::events::{RECEIVED, source};
use super::site::{Site, record_id};
use crate::event::table::{COMMON, EventType, Kind};
use crate::event::tests::any::{Members, any_members, as_json, as_protobuf, millis};
use crate::event::{Clock, Envelope, Event, UnixMillis, Verdict, check_batch, proto};

/// Enough for COPY in one flush.
const BATCH: usize = 250;
/// Few enough for an INSERT.
const SMALL_BATCH: usize = 100;
const CLOCK: Clock = Clock { received_at: RECEIVED, sent_at: None };

type Sent = (&'static EventType, Members);

fn events_wanted() -> usize {
    let cases = std::env::var("PROPTEST_CASES").ok();
    cases.map_or(1_000, |cases| cases.parse().expect("PROPTEST_CASES is a number"))
}

/// Any events that are not too large.
fn any_sent(runner: &mut TestRunner, count: usize) -> Vec<Sent> {
    let strategy =
        any_members().prop_filter("at most 16 KiB", |(_, members)| as_json(members).len() <= 16_384);
    let mut one = || strategy.new_tree(runner).expect("a strategy that rarely gives up").current();
    (0..count).map(|_| one()).collect()
}

/// The events of a request, each of which has to be accepted.
fn accepted<'a>(envelope: &'a Envelope<'_>, sent: &[Sent]) -> Vec<Event<'a>> {
    let verdicts = check_batch(envelope, CLOCK);
    assert_eq!(verdicts.len(), sent.len());
    let event = |(verdict, (_, members)): (Verdict<Event<'a>>, &Sent)| match verdict {
        Verdict::Accepted(event) => event,
        other => panic!("{} should be accepted: {other:?}", as_json(members)),
    };
    verdicts.into_iter().zip(sent).map(event).collect()
}

/// A schema, and how far it was filled.
struct Filling {
    slug: &'static str,
    flushes: i64,
}

impl Filling {
    /// Stores events the way that they go: into records, and out of them into one flush.
    async fn store(&mut self, site: &Site, events: &[Event<'_>]) {
        let expected = self.flushes.checked_sub(1).filter(|last| *last >= 0);
        let expected = expected.map(|last| Watermark::after(last, record_id(last)));
        let flushed = site
            .flush(self.slug, expected, source(site.id(self.slug), self.flushes, events.to_vec()))
            .await
            .expect("stored");
        if flushed != Some(Fates { stored: events.len() as u64, duplicate: 0, dead: 0 }) {
            let reason =
                "SELECT concat_ws(' ', sqlstate, reason, coalesce(event::text, encode(record, 'hex'))) FROM";
            let dead = site.texts(&format!("{reason} org_{}.dead_letter", self.slug)).await;
            panic!("{}: {flushed:?}: {dead:#?}", self.slug);
        }
        self.flushes += 1;
    }

    /// Compares every column of every row with what was sent.
    async fn compare(&self, site: &Site, sent: &[Sent]) {
        let slug = self.slug;
        let sql = format!(
            "SELECT to_jsonb(sent)::text, to_jsonb(stored)::text FROM unnest($1) AS each (text) \
                 LEFT JOIN org_{slug}.event AS stored ON stored.event_id = (each.text::jsonb ->> 'event_id')::uuid \
                 CROSS JOIN LATERAL jsonb_populate_record( \
                     NULL::org_{slug}.event, each.text::jsonb || jsonb_build_object('stored_in', stored.stored_in)) AS sent \
             WHERE sent IS DISTINCT FROM stored"
        );
        let rows: Vec<String> = sent.iter().map(|(event_type, members)| row(event_type, members)).collect();
        let client = site.superuser().await;
        let differing = client.query_typed(&sql, &[(&rows, Type::TEXT_ARRAY)]).await.expect("a comparison");
        if let Some(first) = differing.first() {
            let (sent, stored): (String, Option<String>) = (first.get(0), first.get(1));
            panic!("{slug}: {} rows differ, such as\n{sent} sent, and\n{stored:?} stored", differing.len());
        }
    }
}

/// The row that has to be there, by column, for `jsonb_populate_record`: numbers and texts in the words that were sent.
fn row(event_type: &EventType, members: &Members) -> String {
    let mut columns = vec![("received_at", text(RECEIVED))];
    let mut details = Vec::new();
    for field in COMMON.iter().chain(event_type.fields) {
        let is_sent = |(name, sent): &&(&str, String)| *name == field.name && sent != "null";
        let Some((name, sent)) = members.iter().find(is_sent) else { continue };
        let value = || serde_json::from_str::<Value>(sent).expect("JSON");
        match field.kind {
            Kind::Id => columns.push(("event_id", sent.clone())),
            Kind::OccurredAt => {
                let at = text(UnixMillis(millis(&value())));
                columns.extend([("client_occurred_at", at.clone()), ("occurred_at", at)]);
            }
            Kind::Watched => columns.push((name, ranges(&value()))),
            Kind::Ext if sent == "{}" => {}
            _ if field.kind.has_column() => columns.push((name, sent.clone())),
            _ => details.push((*name, sent.clone())),
        }
    }
    if !details.is_empty() {
        columns.push(("details", as_json(&details)));
    }
    as_json(&columns)
}

fn text(at: UnixMillis) -> String {
    format!("\"{at}\"")
}

/// The intervals that are not empty, as Postgres writes ranges.
fn ranges(watched: &Value) -> String {
    let intervals = watched.as_array().expect("a list").iter().filter(|pair| pair[0] != pair[1]);
    Value::from_iter(intervals.map(|pair| format!("[{},{})", pair[0], pair[1]))).to_string()
}

#[tokio::test]
async fn whatever_is_accepted_is_stored_as_it_was_sent() {
    let site = Site::with(&["copied", "inserted", "encoded"]).await;
    let [mut copied, mut inserted, mut encoded] =
        ["copied", "inserted", "encoded"].map(|slug| Filling { slug, flushes: 0 });
    let mut runner = TestRunner::default();
    for _ in 0..events_wanted().div_ceil(BATCH) {
        let sent = any_sent(&mut runner, BATCH);
        let events: Vec<_> = sent.iter().map(|(_, members)| as_json(members)).collect();
        let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
        let envelope = Envelope::from_json(body.as_bytes()).expect("an envelope");
        let events = accepted(&envelope, &sent);
        copied.store(&site, &events).await;
        copied.compare(&site, &sent).await;
        for some in events.chunks(SMALL_BATCH) {
            inserted.store(&site, some).await;
        }
        inserted.compare(&site, &sent).await;

        let (events, sent): (Vec<_>, Vec<_>) = sent
            .into_iter()
            .map(|(event_type, members)| {
                let (event, stands_for) = as_protobuf(&members);
                (event, (event_type, stands_for))
            })
            .unzip();
        let body = proto::IngestRequest { events, ..proto::IngestRequest::default() }.encode_to_vec();
        let envelope = Envelope::from_protobuf(&body).expect("an envelope");
        encoded.store(&site, &accepted(&envelope, &sent)).await;
        encoded.compare(&site, &sent).await;
    }
}
