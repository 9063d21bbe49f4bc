//! From a body to checked events, into a record and out of it again.
//!
//! Batches of 1, 50 and 500 events of a generated viewing session: mostly heartbeats and pauses with a watched
//! interval, now and then a seek, a question, an answer with `ext`; about 350 bytes of JSON an event. Throughput is in
//! events. Making the bodies is outside of what is timed.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message as _;
use rollbook::event::{Clock, Envelope, Event, UnixMillis, Verdict, check_batch, proto};
use rollbook::log::record::{RecordBuilder, RecordView};
use rollbook::tenant::OrganizationId;
use uuid::Uuid;

const NOW: UnixMillis = UnixMillis(1_795_384_100_123);
const SIZES: [usize; 3] = [1, 50, 500];

fn clock() -> Clock {
    Clock { received_at: NOW, sent_at: Some(UnixMillis(NOW.0 - 80)) }
}

/// One event of a session, the `n`th.
fn event(n: usize) -> String {
    let position = n * 10_000 % 3_600_000;
    let further = match n % 10 {
        0 => format!(r#""type":"video.played","position_ms":{position},"rate":1.25"#),
        1..=5 => format!(
            r#""type":"video.heartbeat","position_ms":{position},"watched":[[{},{position}]],"played_ms":{}"#,
            position.saturating_sub(10_000),
            n * 10_000 % 86_400_000
        ),
        6 => format!(
            r#""type":"video.seeked","position_ms":{position},"from_ms":{position},"to_ms":{},"watched":[]"#,
            position / 2
        ),
        7 => format!(r#""type":"video.paused","position_ms":{position},"watched":[[0,{position}],[12,900]]"#),
        8 => r#""type":"item.shown","item_id":"question-12","item_kind":"single_choice""#.to_owned(),
        _ => format!(
            r#""type":"item.answered","item_id":"question-12","answer":{{"choices":["1","3"]}},"attempt":1,"elapsed_ms":{},"correct":true,"score":0.75,"ext":{{"course":"algebra-1","cohort":["2026","b"],"weight":1.5}}"#,
            n * 37 % 60_000
        ),
    };
    format!(
        r#"{{"id":"{}","occurred_at":"2026-11-22T21:48:{:02}.{:03}Z","session_id":"b9f5497e-2a8e-5678-b749-66f909ea95e5","viewer_id":"9eb7f6a6-34c3-408e-a79f-966935cce578","content_id":"0aecfa93-cef3-45ae-b7f5-a603e9e45f50","seq":{n},{further}}}"#,
        Uuid::now_v7(),
        n % 20,
        n % 1_000
    )
}

fn body(events: usize) -> String {
    let events: Vec<_> = (0..events).map(|n| event(n + 4)).collect();
    format!(
        r#"{{"organization":"acme_school","sent_at":{},"sdk":"web 2.1","events":[{}]}}"#,
        NOW.0 - 80,
        events.join(",")
    )
}

fn accepted<'a>(envelope: &Envelope<'a>) -> Vec<Event<'a>> {
    let events = check_batch(envelope, clock()).into_iter().map(|verdict| match verdict {
        Verdict::Accepted(event) => event,
        other => panic!("the bench makes valid events: {other:?}"),
    });
    events.collect()
}

fn record(events: &[Event<'_>], body_bytes: usize) -> Vec<u8> {
    let organization = OrganizationId(Uuid::from_u128(7));
    let mut builder = RecordBuilder::new(organization, Uuid::from_u128(8), NOW).with_capacity(body_bytes);
    events.iter().for_each(|event| builder.push(event));
    builder.finish().remove(0).bytes
}

fn decode_json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    for size in SIZES {
        let body = body(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("cut", size), |bench| {
            bench.iter(|| {
                Envelope::from_json(black_box(body.as_bytes())).map(|envelope| envelope.events.len())
            });
        });
        group.bench_function(BenchmarkId::new("cut and check", size), |bench| {
            bench.iter(|| {
                let envelope = Envelope::from_json(black_box(body.as_bytes())).expect("a valid body");
                check_batch(&envelope, clock()).len()
            });
        });
    }
}

/// The most frequent event in the protobuf form: a heartbeat with one interval.
fn protobuf_body(events: u32) -> Vec<u8> {
    let some = |text: &str| Some(text.to_owned());
    let heartbeat = |n: u32| proto::Event {
        id: Some(Uuid::now_v7().to_string()),
        r#type: some("video.heartbeat"),
        occurred_at: Some(NOW.0),
        session_id: some("b9f5497e-2a8e-5678-b749-66f909ea95e5"),
        viewer_id: some("9eb7f6a6-34c3-408e-a79f-966935cce578"),
        content_id: some("0aecfa93-cef3-45ae-b7f5-a603e9e45f50"),
        seq: Some(n),
        position_ms: Some(n * 10_000),
        watched: Some(proto::Intervals {
            intervals: vec![proto::Interval { start_ms: n * 10_000, end_ms: n * 10_000 + 10_000 }],
        }),
        played_ms: Some(n * 10_000),
        ..proto::Event::default()
    };
    proto::IngestRequest { events: (0..events).map(heartbeat).collect(), ..Default::default() }
        .encode_to_vec()
}

fn decode_protobuf(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protobuf");
    for size in [1, 50, 500] {
        let body = protobuf_body(size);
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(BenchmarkId::new("cut and check", size), |bench| {
            bench.iter(|| {
                let envelope = Envelope::from_protobuf(black_box(&body)).expect("a valid body");
                accepted(&envelope).len()
            });
        });
    }
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for size in SIZES {
        let body = body(size);
        let envelope = Envelope::from_json(body.as_bytes()).expect("a valid body");
        let events = accepted(&envelope);
        let bytes = record(&events, body.len());
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("encode", size), |bench| {
            bench.iter(|| record(black_box(&events), body.len()));
        });
        group.bench_function(BenchmarkId::new("decode", size), |bench| {
            bench.iter(|| {
                let view = RecordView::parse(black_box(&bytes)).expect("a record of ours");
                view.events().map(|event| black_box(event.expect("a record of ours")).seq).max()
            });
        });
        group.bench_function(BenchmarkId::new("header", size), |bench| {
            bench.iter(|| RecordView::parse(black_box(&bytes)).map(|view| view.event_count));
        });
    }
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, decode_json, decode_protobuf, records);
criterion_main!(benches);
