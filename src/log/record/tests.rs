use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use super::*;
use crate::event::{Event, UnixMillis, proto};
use crate::ops::spans::SpanContext;
use crate::tenant::OrganizationId;

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(7));
const REQUEST: Uuid = Uuid::from_u128(8);
const RECEIVED: UnixMillis = UnixMillis(1_795_384_100_123);

fn builder() -> RecordBuilder {
    RecordBuilder::new(ORGANIZATION, REQUEST, RECEIVED)
}

fn records(events: &[Event<'_>]) -> Vec<SealedRecord> {
    let mut builder = builder();
    events.iter().for_each(|event| builder.push(event));
    builder.finish()
}

fn events(view: &RecordView<'_>) -> Vec<Event<'static>> {
    view.events().map(|event| owned(event.expect("a record of ours"))).collect()
}

fn owned(event: Event<'_>) -> Event<'static> {
    let text = |text: std::borrow::Cow<'_, str>| std::borrow::Cow::Owned(text.into_owned());
    Event {
        type_name: text(event.type_name),
        session_id: text(event.session_id),
        viewer_id: text(event.viewer_id),
        content_id: text(event.content_id),
        item_id: event.item_id.map(text),
        answer: event.answer.map(text),
        details: event.details.map(text),
        ..event
    }
}

/// Any event that the table can hold.
fn any_event() -> impl Strategy<Value = Event<'static>> {
    let text = || ".{0,20}".prop_map(std::borrow::Cow::Owned);
    let ms = || proptest::option::of(0..=172_800_000_u32);
    let time = || (UnixMillis::MIN.0..=UnixMillis::MAX.0).prop_map(UnixMillis);
    let interval = (0..1_000_u32, 1..1_000_000_u32).prop_map(|(start, length)| (start, start + length));
    let watched = proptest::option::of(proptest::collection::vec(interval, 0..5));
    let texts = (text(), text(), text(), text());
    let optional_texts =
        (proptest::option::of(text()), proptest::option::of(text()), proptest::option::of(text()));
    let numbers =
        (any::<Option<u32>>(), ms(), any::<Option<bool>>(), proptest::option::of(0..=32_767_u16), ms(), ms());
    let floats = (proptest::option::of(0.0625..16_f32), proptest::option::of(0.0..=1_f32));
    (any::<u128>(), texts, optional_texts, (time(), time()), numbers, floats, watched).prop_map(
        |(id, texts, (item_id, answer, details), times, numbers, (rate, score), watched)| Event {
            id: Uuid::from_u128(id),
            type_name: texts.0,
            session_id: texts.1,
            viewer_id: texts.2,
            content_id: texts.3,
            item_id,
            occurred_at: times.0,
            client_occurred_at: times.1,
            seq: numbers.0,
            position_ms: numbers.1,
            rate,
            watched,
            played_ms: numbers.4,
            answer,
            correct: numbers.2,
            score,
            attempt: numbers.3,
            elapsed_ms: numbers.5,
            details,
        },
    )
}

/// The same event as the generated code has it.
fn generated(event: &Event<'_>) -> proto::RecordEvent {
    let text = |text: &std::borrow::Cow<'_, str>| text.clone().into_owned();
    proto::RecordEvent {
        event_id: event.id.as_bytes().to_vec().into(),
        r#type: text(&event.type_name),
        session_id: text(&event.session_id),
        viewer_id: text(&event.viewer_id),
        content_id: text(&event.content_id),
        item_id: event.item_id.as_ref().map(text),
        occurred_at_ms: event.occurred_at.0,
        client_occurred_at_ms: event.client_occurred_at.0,
        seq: event.seq,
        position_ms: event.position_ms,
        rate: event.rate,
        watched: event.watched.as_ref().map(|intervals| proto::Watched {
            bounds_ms: intervals.iter().flat_map(|&(start, end)| [start, end]).collect(),
        }),
        played_ms: event.played_ms,
        answer: event.answer.as_ref().map(text),
        correct: event.correct,
        score: event.score,
        attempt: event.attempt.map(u32::from),
        elapsed_ms: event.elapsed_ms,
        details: event.details.as_ref().map(text),
    }
}

proptest! {
    #[test]
    fn the_generated_code_reads_and_writes_the_same_bytes(batch in proptest::collection::vec(any_event(), 1..6)) {
        let records = records(&batch);
        prop_assert_eq!(records.len(), 1);
        let theirs = proto::Record::decode(&records[0].bytes[..]).expect("protobuf");
        prop_assert_eq!(&theirs.organization_id[..], ORGANIZATION.0.as_bytes());
        prop_assert_eq!(&theirs.request_id[..], REQUEST.as_bytes());
        prop_assert_eq!(theirs.received_at_ms, RECEIVED.0);
        prop_assert_eq!(&theirs.events, &batch.iter().map(generated).collect::<Vec<_>>());
        prop_assert_eq!(theirs.encode_to_vec(), &records[0].bytes[..]);
    }

    #[test]
    fn a_record_reads_back(batch in proptest::collection::vec(any_event(), 1..6)) {
        let records = records(&batch);
        let view = RecordView::parse(&records[0].bytes).expect("a record of ours");
        prop_assert_eq!((view.organization_id, view.request_id, view.received_at), (ORGANIZATION, REQUEST, RECEIVED));
        prop_assert_eq!(view.record_id.get_version_num(), 7);
        prop_assert_eq!(view.event_count, batch.len());
        prop_assert_eq!(events(&view), batch);
    }

    #[test]
    fn any_bytes_are_no_panic(bytes: Vec<u8>) {
        read_to_the_end(&bytes);
    }

    #[test]
    fn a_damaged_record_is_no_panic(event in any_event(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = records(&[event]).remove(0).bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_to_the_end(&bytes);
        read_to_the_end(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn a_record_says_whether_this_release_would_lose_something_of_it() {
    let mut bytes = records(&[plain_event(1)]).remove(0).bytes;
    let ours = RecordView::parse(&bytes).expect("a record of ours");
    assert_eq!((ours.format, ours.is_newer()), (FORMAT, false));
    let newer = proto::Record { format: FORMAT + 1, ..Default::default() };
    bytes.extend(newer.encode_to_vec());
    let newer = RecordView::parse(&bytes).expect("what every release can read of it");
    assert_eq!((newer.format, newer.is_newer(), newer.event_count), (FORMAT + 1, true, 1));
}

#[test]
fn each_record_of_a_batch_names_its_requests_span_and_a_name_that_is_none_costs_nothing() {
    let span = SpanContext::new(REQUEST, 9).expect("a span");
    let mut builder = builder().of_span(Some(span));
    (0..500).for_each(|n| builder.push(&plain_event(4_000 + n)));
    let records = builder.finish();
    assert!(records.len() > 2);
    for record in &records {
        assert!(record.bytes.len() <= MAX_RECORD_BYTES);
        assert_eq!(RecordView::parse(&record.bytes).expect("a record of ours").span, Some(span));
        let theirs = proto::Record::decode(&record.bytes[..]).expect("protobuf");
        assert_eq!((&theirs.span[..], theirs.events.len()), (&span.to_bytes()[..], record.events.len()));
        for none in [vec![1; 23], vec![0; 24], Vec::new()] {
            let changed = proto::Record { span: none.into(), ..theirs.clone() }.encode_to_vec();
            let view = RecordView::parse(&changed).expect("still a record");
            assert_eq!((view.span, view.event_count), (None, record.events.len()));
        }
    }
}

fn read_to_the_end(bytes: &[u8]) {
    if let Ok(view) = RecordView::parse(bytes) {
        assert_eq!(view.events().count(), view.event_count);
    }
}

fn plain_event(details_bytes: usize) -> Event<'static> {
    Event {
        id: Uuid::from_u128(1),
        type_name: "video.played".into(),
        session_id: "s".into(),
        viewer_id: "v".into(),
        content_id: "c".into(),
        item_id: None,
        occurred_at: RECEIVED,
        client_occurred_at: RECEIVED,
        seq: None,
        position_ms: None,
        rate: None,
        watched: None,
        played_ms: None,
        answer: None,
        correct: None,
        score: None,
        attempt: None,
        elapsed_ms: None,
        details: Some("x".repeat(details_bytes).into()),
    }
}

#[test]
fn a_batch_that_is_too_large_becomes_several_records() {
    let batch: Vec<_> = (0..500).map(|n| plain_event(4_000 + n)).collect();
    let records = records(&batch);
    assert!(records.len() > 2);
    let (mut next, mut ids) = (0, std::collections::HashSet::new());
    for record in &records {
        assert!(record.bytes.len() <= MAX_RECORD_BYTES);
        assert_eq!(record.events.start, next);
        next = record.events.end;
        let view = RecordView::parse(&record.bytes).expect("a record of ours");
        assert_eq!(view.event_count, record.events.len());
        assert_eq!(events(&view), batch[record.events.clone()]);
        assert!(ids.insert(view.record_id), "each record has its own id");
    }
    assert_eq!(next, batch.len());
}

#[test]
fn a_record_may_be_exactly_as_large_as_the_limit() {
    let size = |details: usize| records(&[plain_event(1), plain_event(details)]).remove(0).bytes.len();
    let details = 800_000 + MAX_RECORD_BYTES - size(800_000);
    let events = |details| records(&[plain_event(1), plain_event(details)]);
    let fits = events(details);
    assert_eq!((fits.len(), fits[0].bytes.len()), (1, MAX_RECORD_BYTES));
    assert_eq!(events(details + 1).len(), 2);
}

#[test]
fn nothing_pushed_is_no_record() {
    assert!(builder().finish().is_empty());
}

#[test]
fn fields_of_a_newer_release_are_skipped() {
    let mut bytes = records(&[plain_event(1)]).remove(0).bytes;
    bytes.extend_from_slice(&[0xf8, 0x06, 0x05, 0xf2, 0x06, 0x01, 0x00]); // 111: 5, 110: one byte
    let view = RecordView::parse(&bytes).expect("still a record");
    assert_eq!(events(&view), [plain_event(1)]);
}

/// A record with `change` made to its only event.
fn changed(change: impl FnOnce(&mut proto::RecordEvent)) -> Result<Vec<Event<'static>>, BadRecord> {
    let bytes = records(&[plain_event(1)]).remove(0).bytes;
    let mut record = proto::Record::decode(&bytes[..]).expect("protobuf");
    change(&mut record.events[0]);
    let bytes = record.encode_to_vec();
    RecordView::parse(&bytes)?.events().map(|event| event.map(owned)).collect()
}

#[test]
fn what_no_column_holds_is_an_error() {
    let watched = |bounds_ms: Vec<u32>| {
        move |event: &mut proto::RecordEvent| event.watched = Some(proto::Watched { bounds_ms })
    };
    assert_eq!(changed(|event| event.event_id.clear()), Err(BadRecord::Missing("event_id")));
    assert_eq!(changed(|event| event.event_id = vec![1; 15].into()), Err(BadRecord::WrongKind("event_id")));
    assert_eq!(changed(|event| event.position_ms = Some(1 << 31)), Err(BadRecord::OutOfRange("position_ms")));
    assert_eq!(changed(|event| event.attempt = Some(1 << 15)), Err(BadRecord::OutOfRange("attempt")));
    assert_eq!(
        changed(|event| event.occurred_at_ms = i64::MAX),
        Err(BadRecord::OutOfRange("occurred_at_ms"))
    );
    assert_eq!(changed(watched(vec![2, 1])), Err(BadRecord::OutOfRange("watched")));
    assert_eq!(changed(watched(vec![1, 1])), Err(BadRecord::OutOfRange("watched")));
    assert_eq!(changed(watched(vec![1, 2, 3])), Err(BadRecord::NotProtobuf));
    assert_eq!(changed(watched(vec![1, u32::MAX])), Err(BadRecord::OutOfRange("watched")));
    assert!(changed(|event| event.seq = Some(u32::MAX)).is_ok());
}

#[test]
fn text_that_is_not_utf_8_is_an_error() {
    let mut bytes = records(&[plain_event(1)]).remove(0).bytes;
    let at = bytes.len() - 1;
    bytes[at] = 0xff;
    let first = RecordView::parse(&bytes).expect("the frame is in order").events().next();
    assert_eq!(first.map(|event| event.map(owned)), Some(Err(BadRecord::NotUtf8("details"))));
}
