use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::event::table::TYPES;
use crate::event::{Clock, Envelope, Verdict, check_batch};

const NOW: UnixMillis = UnixMillis(1_795_384_100_123);

fn generator(seed: u64, expected_events: u64) -> Generator {
    let organizations = NonZeroUsize::new(3).expect("not zero");
    Generator::new(Settings { seed, organizations, expected_events, now: NOW })
}

fn events(seed: u64, count: u64) -> Vec<(usize, String)> {
    let mut generator = generator(seed, count);
    let mut next = || {
        let event = generator.next_event();
        (event.organization, event.json.to_owned())
    };
    (0..count).map(|_| next()).collect()
}

fn parsed(seed: u64, count: u64) -> Vec<(usize, Value)> {
    let parse = |(organization, json): (usize, String)| {
        (organization, serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}")))
    };
    events(seed, count).into_iter().map(parse).collect()
}

fn sessions(seed: u64, count: u64) -> BTreeMap<String, Vec<Value>> {
    let mut sessions: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (_, event) in parsed(seed, count) {
        sessions.entry(event["session_id"].to_string()).or_default().push(event);
    }
    sessions
}

fn whole(event: &Value, name: &str) -> u64 {
    event[name].as_u64().unwrap_or_else(|| panic!("{name} of {event}"))
}

fn occurred_at_ms(event: &Value) -> i64 {
    let time = &event["occurred_at"];
    let text = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
    UnixMillis::parse(&text).expect("a time").0
}

fn intervals(event: &Value) -> Vec<(u64, u64)> {
    let pair = |pair: &Value| (pair[0].as_u64().expect("start"), pair[1].as_u64().expect("end"));
    event["watched"].as_array().map(|list| list.iter().map(pair).collect()).unwrap_or_default()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(events(7, 5_000), events(7, 5_000));
    assert_ne!(events(7, 100), events(8, 100));
}

#[test]
fn intake_accepts_every_event() {
    let events = events(1, 30_000);
    for batch in events.chunks(500) {
        let joined: Vec<_> = batch.iter().map(|(_, json)| json.as_str()).collect();
        let body = format!(r#"{{"events":[{}]}}"#, joined.join(","));
        let envelope = Envelope::from_json(body.as_bytes()).expect("the envelope is in order");
        let clock = Clock { received_at: NOW, sent_at: Some(NOW) };
        for (verdict, json) in check_batch(&envelope, clock).iter().zip(&joined) {
            assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?} of {json}");
        }
    }
}

#[test]
fn every_type_and_every_kind_of_answer_appears() {
    let events = parsed(1, 30_000);
    let types: BTreeSet<_> = events.iter().filter_map(|(_, event)| event["type"].as_str()).collect();
    assert_eq!(types, TYPES.iter().map(|known| known.name).collect());
    let answers: BTreeSet<_> =
        events.iter().filter_map(|(_, event)| event["answer"].as_object()?.keys().next()).collect();
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["bool", "choice", "choices", "number", "text"]);
}

#[test]
fn a_session_counts_without_gaps_and_never_goes_back_in_time() {
    for events in sessions(2, 10_000).values() {
        let seqs: Vec<_> = events.iter().map(|event| whole(event, "seq")).collect();
        assert_eq!(seqs, (1..).take(events.len()).collect::<Vec<u64>>());
        assert!(events.is_sorted_by_key(occurred_at_ms));
    }
}

#[test]
fn watched_intervals_lie_within_the_video_and_add_up_to_the_time_played() {
    let mut added_up = 0;
    for events in sessions(3, 20_000).values() {
        let is_at_normal_rate = events.iter().all(|event| event["type"] != "video.rate_changed");
        let duration_ms = events.iter().find_map(|event| event["duration_ms"].as_u64()).unwrap_or(u64::MAX);
        let mut watched_ms = 0;
        for event in events {
            let intervals = intervals(event);
            assert!(intervals.iter().all(|(start, end)| start < end && *end <= duration_ms), "{event}");
            watched_ms += intervals.iter().map(|(start, end)| end - start).sum::<u64>();
            if is_at_normal_rate && event["played_ms"].is_u64() {
                assert_eq!(watched_ms, whole(event, "played_ms"), "{event}");
                added_up += 1;
            }
        }
    }
    assert!(added_up > 5_000, "only {added_up} sums were compared");
}

#[test]
fn ids_are_new_version_7_ids_of_their_time() {
    let events = parsed(4, 10_000);
    let ids: BTreeSet<uuid::Uuid> = events
        .iter()
        .map(|(_, event)| {
            let id: uuid::Uuid = event["id"].as_str().expect("id").parse().expect("a UUID");
            let (seconds, nanos) = id.get_timestamp().expect("version 7").to_unix();
            let id_ms = i64::try_from(seconds).expect("in range") * 1_000 + i64::from(nanos / 1_000_000);
            assert_eq!(id_ms, occurred_at_ms(event));
            id
        })
        .collect();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn events_come_in_time_order_and_reach_nearly_up_to_now() {
    for count in [10_000, 50_000] {
        let times: Vec<_> = parsed(5, count).iter().map(|(_, event)| occurred_at_ms(event)).collect();
        assert!(times.is_sorted());
        let last_ms = times.last().expect("events");
        assert!((NOW.0 - 15 * 60_000..=NOW.0).contains(last_ms), "{} ms before now", NOW.0 - last_ms);
    }
}

#[test]
fn more_events_than_expected_go_through_the_same_time_again() {
    let mut generator = generator(6, 1_000);
    for _ in 0..20_000 {
        let event: Value = serde_json::from_str(generator.next_event().json).expect("JSON");
        assert!((NOW.0 - 3_600_000..=NOW.0).contains(&occurred_at_ms(&event)));
    }
}

#[test]
fn a_viewer_minute_has_between_four_and_nine_events() {
    let (mut count, mut ms) = (0, 0);
    for events in sessions(8, 50_000).into_values().filter(|events| events.len() > 1) {
        let times = events.iter().map(occurred_at_ms);
        ms += times.clone().max().unwrap_or(0) - times.min().unwrap_or(0);
        count += i64::try_from(events.len()).expect("in range");
    }
    let per_minute_tenths = count * 600_000 / ms;
    assert!((40..=90).contains(&per_minute_tenths), "{per_minute_tenths} tenths");
}
