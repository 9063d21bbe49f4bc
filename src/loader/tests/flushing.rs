//! One flush: what it counts, what it refuses, and that nothing of a refused one is there.

use super::super::position::Watermark;
use super::super::writer::{Fates, FlushError, WriteError};
use super::events::{bad_event, event, events, source};
use super::site::{POSITION, Site, record_id};
use crate::event::Event;

fn fates(stored: u64, duplicate: u64, dead: u64) -> Option<Fates> {
    Some(Fates { stored, duplicate, dead })
}

fn after(offset: i64) -> Option<Watermark> {
    Some(Watermark::after(offset, record_id(offset)))
}

async fn dead_letters(site: &Site) -> Vec<String> {
    site.texts(
        "SELECT concat_ws('|', event_id, generation, partition, log_offset, sqlstate, event IS NOT NULL, \
             record IS NOT NULL) FROM org_acme.dead_letter ORDER BY id",
    )
    .await
}

#[tokio::test]
async fn the_first_flush_makes_the_watermark_and_later_ones_move_it() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let first = site.flush("acme", None, source(id, 5, events(0..3))).await;
    assert_eq!(first.expect("stored"), fates(3, 0, 0));
    assert_eq!(site.totals("acme").await, ["3|6|3|0|0"]);
    let second = site.flush("acme", after(5), source(id, 9, events(3..5))).await;
    assert_eq!(second.expect("stored"), fates(2, 0, 0));
    assert_eq!(site.totals("acme").await, ["3|10|5|0|0"]);
    let last = site.texts("SELECT last_record_id::text FROM org_acme.ingest_watermark").await;
    assert_eq!(last, [record_id(9).to_string()]);
}

#[tokio::test]
async fn a_flush_takes_one_transaction_id_unless_a_row_is_refused() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let mut expected = None;
    // By either way of writing. With a savepoint around them the rows would have an id of their own.
    for (offset, size, refused) in [(0_i64, 3, 0), (1, 300, 0), (2, 3, 1), (3, 300, 1)] {
        let base = 1_000 * (offset.unsigned_abs() as u128 + 1);
        let mut batch = events(base..base + size);
        batch.extend((0..refused).map(|_| bad_event(base + size)));
        let flushed = site.flush("acme", expected, source(id, offset, batch)).await;
        let stored = u64::try_from(size).expect("small");
        assert_eq!(flushed.expect("stored"), fates(stored, 0, refused));
        expected = after(offset);
        let of_rows = "SELECT count(*) FROM org_acme.event, org_acme.ingest_watermark \
             WHERE event.xmin = ingest_watermark.xmin";
        assert_eq!(
            site.number(of_rows).await,
            if refused == 0 { i64::try_from(size).expect("small") } else { 0 }
        );
    }
}

#[tokio::test]
async fn a_watermark_other_than_expected_means_that_nothing_is_written() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let nobody_yet = site.flush("acme", after(4), source(id, 5, events(0..3))).await;
    assert_eq!(nobody_yet.expect("an answer"), None);
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    site.flush("acme", None, source(id, 5, events(0..3))).await.expect("stored");
    let another_record_there = Some(Watermark::after(5, record_id(99)));
    for expected in [None, after(4), after(6), another_record_there] {
        let stale = site.flush("acme", expected, source(id, 7, events(10..12))).await;
        assert_eq!(stale.expect("an answer"), None, "{expected:?}");
    }
    assert_eq!(
        (site.contents("acme").await, site.totals("acme").await),
        ([3, 0, 1], vec!["3|6|3|0|0".to_owned()])
    );
}

#[tokio::test]
async fn two_first_flushes_at_once_are_one() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let one = site.flush("acme", None, source(id, 5, events(0..200)));
    let other = site.flush("acme", None, source(id, 5, events(0..200)));
    let (one, other) = tokio::join!(one, other);
    let mut outcomes = [one.expect("an answer"), other.expect("an answer")];
    outcomes.sort_by_key(|outcome| outcome.is_none());
    assert_eq!(outcomes, [fates(200, 0, 0), None]);
    assert_eq!(site.totals("acme").await, ["3|6|200|0|0"]);
}

#[tokio::test]
async fn duplicates_are_counted_whether_they_are_in_the_table_or_in_the_batch_by_both_ways() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let mut expected = None;
    // (ids, stored, duplicate): few rows and many, new, repeated inside, and there before.
    let small: Vec<u128> = vec![1, 2, 2, 3, 1, 1];
    let large: Vec<u128> = (1..400).chain(300..500).collect();
    let cases =
        [(small.clone(), 3, 3), (small, 0, 6), (large.clone(), 496, 103), (large, 0, 599), (vec![], 0, 0)];
    for (offset, (ids, stored, duplicate)) in (0_i64..).zip(cases) {
        let events = ids.into_iter().map(event).collect();
        let flushed = site.flush("acme", expected, source(id, offset, events)).await;
        assert_eq!(flushed.expect("stored"), fates(stored, duplicate, 0), "offset {offset}");
        expected = after(offset);
    }
    assert_eq!(site.totals("acme").await, ["3|5|499|711|0"]);
    assert_eq!(site.contents("acme").await, [499, 0, 1]);
}

#[tokio::test]
async fn the_first_of_two_events_with_one_id_is_the_one_that_is_stored() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    for (offset, filler) in [(0_i64, 0), (1, 300)] {
        let key = 1_000 + offset.unsigned_abs() as u128;
        let mut batch = vec![Event { seq: Some(1), ..event(key) }, Event { seq: Some(2), ..event(key) }];
        batch.extend(events(0..filler));
        let expected = if offset == 0 { None } else { after(0) };
        site.flush("acme", expected, source(id, offset, batch)).await.expect("stored");
    }
    let seqs = site.texts("SELECT seq::text FROM org_acme.event WHERE seq IS NOT NULL").await;
    assert_eq!(seqs, ["1", "1"]);
}

#[tokio::test]
async fn one_bad_row_of_500_is_dead_lettered_alone() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    for (at, bad) in [0, 333, 499].into_iter().enumerate() {
        let base = 1_000 * (at as u128 + 1);
        let mut batch = events(base..base + 500);
        batch[bad] = bad_event(base + bad as u128);
        let offset = i64::try_from(at).expect("small");
        let expected = if at == 0 { None } else { after(offset - 1) };
        let flushed = site.flush("acme", expected, source(id, offset, batch)).await;
        assert_eq!(flushed.expect("stored"), fates(499, 0, 1), "the bad row at {bad}");
    }
    let expected = [(1_000, 0), (2_333, 1), (3_499, 2)]
        .map(|(id, offset)| format!("{}|1|3|{offset}|23514|t|f", uuid::Uuid::from_u128(id)));
    assert_eq!(dead_letters(&site).await, expected);
    assert_eq!(site.totals("acme").await, ["3|3|1497|0|3"]);
}

#[tokio::test]
async fn rows_that_even_jsonb_refuses_are_dead_lettered_as_records() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let cases: [(&str, Event<'static>); 7] = [
        ("22021", Event { viewer_id: "nul\0".into(), ..event(1) }),
        ("22P02", Event { answer: Some("{".into()), ..event(2) }),
        ("22P05", Event { details: Some(r#"{"a":"\u0000"}"#.into()), ..event(3) }),
        ("22P02", Event { details: Some("".into()), ..event(4) }),
        ("22021", Event { details: Some("{\"a\":\"\0\"}".into()), ..event(5) }),
        ("23514", Event { rate: Some(f32::NAN), ..event(6) }),
        ("23514", Event { score: Some(f32::INFINITY), ..event(7) }),
    ];
    let mut expected_letters = Vec::new();
    for (offset, filler) in [(0_i64, 0), (1, 400)] {
        // Ids of their own in each flush, but the same troubles.
        let high = (offset.unsigned_abs() as u128) << 64;
        let mut batch: Vec<Event<'_>> = cases
            .iter()
            .map(|(_, event)| Event { id: uuid::Uuid::from_u128(event.id.as_u128() | high), ..event.clone() })
            .collect();
        expected_letters.extend(
            batch
                .iter()
                .zip(&cases)
                .map(|(event, (sqlstate, _))| format!("{}|1|3|{offset}|{sqlstate}", event.id)),
        );
        batch.extend(events(1_000..1_000 + filler));
        let expected = if offset == 0 { None } else { after(0) };
        let flushed = site.flush("acme", expected, source(id, offset, batch)).await;
        assert_eq!(flushed.expect("stored"), fates(u64::try_from(filler).expect("small"), 0, 7));
    }
    let letters = dead_letters(&site).await;
    let cut: Vec<String> = letters.iter().map(|letter| letter[..letter.len() - 4].to_owned()).collect();
    assert_eq!(cut, expected_letters);
    // The NUL goes into no jsonb, escaped or not; two texts are no JSON at all, and two numbers are none that JSON has. None
    // of them vanishes.
    assert!(letters.iter().all(|letter| letter.ends_with("|f|t")), "{letters:?}");
}

#[tokio::test]
async fn sixteen_bad_rows_are_dead_letters_and_seventeen_mean_that_nothing_is_stored() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    let batch = |bad: u128| {
        let mut batch = events(0..400);
        batch.extend((1_000..1_000 + bad).map(bad_event));
        batch
    };
    match site.flush("acme", None, source(id, 0, batch(17))).await {
        Err(FlushError::Refused(WriteError::TooManyDead { sqlstate, .. })) => assert_eq!(sqlstate, "23514"),
        other => panic!("{other:?}"),
    }
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
    let flushed = site.flush("acme", None, source(id, 0, batch(16))).await;
    assert_eq!(flushed.expect("stored"), fates(400, 0, 16));
    assert_eq!(site.contents("acme").await, [400, 16, 1]);
}

#[tokio::test]
async fn a_trigger_that_raises_and_a_deferred_constraint_single_out_their_rows() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    site.execute(
        "CREATE FUNCTION org_acme.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.seq = 13 THEN RAISE EXCEPTION 'unlucky'; END IF; RETURN NEW; END $$; \
         CREATE FUNCTION org_acme.refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'too late' USING ERRCODE = '23503'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.refuse(); \
         CREATE CONSTRAINT TRIGGER refuse_late AFTER INSERT ON org_acme.event DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW WHEN (NEW.position_ms = 7) EXECUTE FUNCTION org_acme.refuse_late()",
    )
    .await;
    let mut expected = None;
    for (offset, size) in [(0_i64, 20_usize), (1, 300)] {
        let base = 10_000 * (offset.unsigned_abs() as u128 + 1);
        let mut batch = events(base..base + size as u128);
        batch[3].seq = Some(13);
        batch[size - 1].position_ms = Some(7);
        let flushed = site.flush("acme", expected, source(id, offset, batch)).await;
        assert_eq!(flushed.expect("stored"), fates(size as u64 - 2, 0, 2));
        expected = after(offset);
    }
    let reasons = site.texts("SELECT sqlstate || ' ' || reason FROM org_acme.dead_letter ORDER BY id").await;
    assert_eq!(reasons, ["P0001 unlucky", "23503 too late", "P0001 unlucky", "23503 too late"]);
}

#[tokio::test]
async fn a_row_too_large_for_an_index_and_one_with_a_bad_parameter_stand_alone() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    site.execute(
        "CREATE INDEX said ON org_acme.event ((answer ->> 'text')); \
         CREATE FUNCTION org_acme.local() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_catalog.now() AT TIME ZONE NEW.viewer_id; RETURN NEW; END $$; \
         CREATE TRIGGER local BEFORE INSERT ON org_acme.event FOR EACH ROW WHEN (NEW.seq = 13) \
             EXECUTE FUNCTION org_acme.local()",
    )
    .await;
    // As intake takes it: 10 000 characters, and such that they cannot be compressed to what an index holds.
    let mut letters: String = (0..300).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    letters.truncate(10_000);
    let answer = serde_json::json!({ "text": letters }).to_string();
    let mut expected = None;
    for (offset, size) in [(0_i64, 20_usize), (1, 300)] {
        let base = 10_000 * (offset.unsigned_abs() as u128 + 1);
        let mut batch = events(base..base + size as u128);
        batch[3].answer = Some(answer.as_str().into());
        batch[size - 1].seq = Some(13);
        let flushed = site.flush("acme", expected, source(id, offset, batch)).await;
        assert_eq!(flushed.expect("stored"), fates(size as u64 - 2, 0, 2));
        expected = after(offset);
    }
    let states = site.texts("SELECT sqlstate FROM org_acme.dead_letter ORDER BY id").await;
    assert_eq!(states, ["54000", "22023", "54000", "22023"]);
}

#[tokio::test]
async fn a_bad_row_in_front_of_many_large_ones_is_told_from_a_lost_connection() {
    let site = Site::with(&["acme"]).await;
    let id = site.id("acme");
    // Postgres refuses the first row while megabytes are still being sent.
    let large = format!("{{\"ext\":{{\"a\":\"{}\"}}}}", "x".repeat(4_000));
    let mut batch: Vec<Event<'_>> =
        (1..2_000).map(|id| Event { details: Some(large.as_str().into()), ..event(id) }).collect();
    batch.insert(0, bad_event(0));
    let flushed = site.flush("acme", None, source(id, 0, batch)).await;
    assert_eq!(flushed.expect("stored"), fates(1_999, 0, 1));
}

/// Neither of two that make it sees the other's: the later one waits for its key, and has written nothing.
#[tokio::test]
async fn of_two_flushes_that_make_the_first_watermark_one_is_stored() {
    let site = Site::with(&["acme", "birch"]).await;
    // By either way of writing.
    for (slug, size) in [("acme", 3), ("birch", 300)] {
        let id = site.id(slug);
        let other = site.superuser().await;
        let made = format!(
            "BEGIN; INSERT INTO org_{slug}.ingest_watermark (generation, partition, organization_id, next_offset, last_record_id) \
             VALUES ({}, {}, '{id}', 6, '{}')",
            POSITION.generation,
            POSITION.partition,
            record_id(5)
        );
        other.batch_execute(&made).await.expect("the first watermark, not committed");
        let flushed = site.flush(slug, None, source(id, 5, events(0..size)));
        let ended = async {
            site.until_the_loader_waits_for_a_lock().await;
            other.batch_execute("COMMIT").await.expect("committed");
        };
        let (flushed, ()) = tokio::join!(flushed, ended);
        assert_eq!(flushed.expect("an answer"), None, "{slug}");
        assert_eq!(site.contents(slug).await, [0, 0, 1], "{slug}");
    }
}
