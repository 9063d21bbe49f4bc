//! Events, rows and records to be stored.

use std::borrow::Cow;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use uuid::Uuid;

use super::super::writer::{Row, Source};
use crate::event::{Event, UnixMillis, proto};
use crate::log::{LogRecord, RecordBuilder};
use crate::tenant::OrganizationId;

use super::site::{POSITION, record_id};

pub(super) const RECEIVED: UnixMillis = UnixMillis(1_795_384_100_123);

/// A plain event.
pub(super) fn event(id: u128) -> Event<'static> {
    Event {
        id: Uuid::from_u128(id),
        type_name: "video.paused".into(),
        session_id: "session".into(),
        viewer_id: "viewer".into(),
        content_id: "content".into(),
        occurred_at: RECEIVED,
        client_occurred_at: RECEIVED,
        position_ms: Some(1_000),
        ..Event::empty()
    }
}

/// An event that intake would refuse, and the table's CHECK does.
pub(super) fn bad_event(id: u128) -> Event<'static> {
    Event { position_ms: Some(172_800_001), ..event(id) }
}

/// Plain events with these ids.
pub(super) fn events(ids: std::ops::Range<u128>) -> Vec<Event<'static>> {
    ids.map(event).collect()
}

/// Rows as a record of this organization at this offset has them.
pub(super) fn rows(organization: OrganizationId, offset: i64, events: Vec<Event<'_>>) -> Vec<Row<'_>> {
    let row = |event| Row {
        event,
        received_at: RECEIVED,
        organization,
        request_id: Uuid::from_u128(8),
        log_offset: offset,
    };
    events.into_iter().map(row).collect()
}

/// These events as one record at this offset, whose id is [`record_id`], however large it is and if it is empty.
pub(super) fn source(organization: OrganizationId, offset: i64, events: Vec<Event<'_>>) -> Source<Vec<u8>> {
    let mut builder = RecordBuilder::new(organization, Uuid::from_u128(8), RECEIVED);
    events.iter().chain(&[event(0)]).for_each(|event| builder.push(event));
    let mut whole: Option<proto::Record> = None;
    for part in builder.finish() {
        let part = proto::Record::decode(&part.bytes[..]).expect("a record of ours");
        match &mut whole {
            Some(whole) => whole.events.extend(part.events),
            None => whole = Some(part),
        }
    }
    let mut record = whole.expect("one event at least");
    record.events.truncate(events.len());
    record.record_id = record_id(offset).as_bytes().to_vec().into();
    Source { offset, bytes: record.encode_to_vec() }
}

/// The bytes of a record.
pub(super) fn record_bytes(organization: OrganizationId, events: &[Event<'_>]) -> Vec<u8> {
    record_at(organization, events, RECEIVED)
}

/// The bytes of a record that was received at this time.
pub(super) fn record_at(organization: OrganizationId, events: &[Event<'_>], at: UnixMillis) -> Vec<u8> {
    let mut builder = RecordBuilder::new(organization, Uuid::from_u128(8), at);
    events.iter().for_each(|event| builder.push(event));
    let mut records = builder.finish();
    assert_eq!(records.len(), 1);
    records.remove(0).bytes
}

/// A record as the log gives it.
pub(super) fn record(organization: OrganizationId, offset: i64, events: &[Event<'_>]) -> LogRecord {
    log_record(offset, record_bytes(organization, events))
}

pub(super) fn log_record(offset: i64, bytes: Vec<u8>) -> LogRecord {
    LogRecord::for_tests(POSITION.partition, offset, bytes)
}

/// So many events, each any that the table can hold, with ids of their own.
pub(super) fn any_events(count: usize) -> Vec<Event<'static>> {
    let mut runner = TestRunner::deterministic();
    let strategy = any_event();
    let mut one = |id: usize| {
        let tree = strategy.new_tree(&mut runner).expect("a strategy that never gives up");
        Event { id: Uuid::from_u128(id as u128 + 1), ..tree.current() }
    };
    (0..count).map(&mut one).collect()
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    let text = |most| {
        proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 1..=most)
            .prop_map(|letters| Cow::Owned(letters.into_iter().collect::<String>()))
    };
    let ms = || proptest::option::of(0..=172_800_000_u32);
    let time = || (UnixMillis::MIN.0..=UnixMillis::MAX.0).prop_map(UnixMillis);
    let bound = 0..i32::MAX.unsigned_abs();
    let interval = (bound.clone(), bound).prop_filter_map("not empty", |(a, b)| match a.cmp(&b) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some((a, b)),
        std::cmp::Ordering::Greater => Some((b, a)),
    });
    let watched = proptest::option::of(proptest::collection::vec(interval, 0..5));
    let texts = (text(40), text(64), text(128), text(128), proptest::option::of(text(64)));
    let json = || proptest::option::of(any_json());
    let numbers =
        (any::<Option<u32>>(), ms(), ms(), any::<Option<bool>>(), proptest::option::of(1..=32_767_u16), ms());
    let floats = (proptest::option::of(0.0625..=16_f32), proptest::option::of(0.0..=1_f32));
    (texts, (time(), time()), numbers, floats, watched, (json(), json())).prop_map(
        |(texts, times, numbers, (rate, score), watched, (answer, details))| Event {
            id: Uuid::nil(),
            type_name: texts.0,
            session_id: texts.1,
            viewer_id: texts.2,
            content_id: texts.3,
            item_id: texts.4,
            occurred_at: times.0,
            client_occurred_at: times.1,
            seq: numbers.0,
            position_ms: numbers.1,
            rate,
            watched,
            played_ms: numbers.2,
            answer,
            correct: numbers.3,
            score,
            attempt: numbers.4,
            elapsed_ms: numbers.5,
            details,
        },
    )
}

/// JSON text, with numbers that no float holds.
fn any_json() -> impl Strategy<Value = Cow<'static, str>> {
    let text = "[^\\x00]{0,20}".prop_map(|text| serde_json::to_string(&text).expect("JSON"));
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![text.clone(), number, Just("null".to_owned()), Just("true".to_owned())];
    let list =
        proptest::collection::vec(leaf.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(",")));
    let value = prop_oneof![leaf, list];
    proptest::collection::vec((text, value), 0..5).prop_map(|fields| {
        let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
        Cow::Owned(format!("{{{}}}", fields.join(", ")))
    })
}
