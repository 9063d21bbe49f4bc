//! A lane opens its schema in its first flush: what it finds there decides whether the batch is written.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::super::Shared;
use super::super::dispatcher::Work;
use super::super::holding::{DrainError, ToHold, drain_some, hold, open};
use super::super::lane::{BatchLimits, Expected, Refused, Task, Told, Turn};
use super::super::partition::LaneKey;
use super::super::position::Watermark;
use super::super::receive::waiting;
use super::super::schedule::LaneId;
use super::super::server::ServerIdentity;
use super::super::writer::{FlushError, Flushed, Way, WriteError, flush, perform};
use super::driver::{Driver, lane_id};
use super::events::{bad_event, event, events, record, record_bytes, source};
use super::site::{POSITION, Site, prepared, record_id};
use crate::log::LogRecord;

const ALL: BatchLimits = BatchLimits { rows: usize::MAX, bytes: usize::MAX };

fn after(offset: i64) -> Watermark {
    Watermark::after(offset, record_id(offset))
}

async fn acme() -> (Site, Arc<Shared>) {
    let site = Site::with(&["acme"]).await;
    let shared = site.shared(site.organizations());
    (site, shared)
}

/// Acme's record at this offset, with one event.
fn one(site: &Site, offset: i64) -> LogRecord {
    record(site.id("acme"), offset, &[event(offset.unsigned_abs().into())])
}

#[tokio::test]
async fn held_records_are_found_and_nothing_is_written_before_them() {
    let (site, shared) = acme().await;
    let bytes = record_bytes(site.id("acme"), &[event(4)]);
    let to_hold = [ToHold { offset: 4, bytes: &bytes, events: 1 }];
    hold(&site.loader().await, site.id("acme"), POSITION, &to_hold, "a test").await.expect("held");
    // What is held cannot be drained for now, and the new record waits behind it though the schema would take it.
    let locker = site.loader().await;
    let lock =
        format!("SELECT pg_advisory_lock(hashtextextended('rollbook drain ' || '{}', 0))", site.id("acme"));
    locker.batch_execute(&lock).await.expect("a lock");
    let mut driver = Driver::starting_at(&shared, 5);
    driver.give(one(&site, 5));
    driver.until("it is held, too", |driver| driver.partition().low_water() == 6).await;
    assert_eq!(site.held().await, ["4|1|a test", "5|1|records before these are held"]);
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    drop(locker);
    driver
        .until("both are drained", |driver| driver.turns_of(site.id("acme")).contains(&&Turn::Drained))
        .await;
    assert_eq!((site.held().await.len(), site.totals("acme").await), (0, vec!["3|6|2|0|0".to_owned()]));
    // And the lane is live again.
    driver.give(one(&site, 6));
    driver.until_all_is_safe().await;
    assert_eq!((site.held().await.len(), site.totals("acme").await), (0, vec!["3|7|3|0|0".to_owned()]));
}

#[tokio::test]
async fn what_the_watermark_covers_is_passed_over_and_the_rest_is_stored() {
    let (site, shared) = acme().await;
    let mut former = Driver::new(&shared);
    former.give_all((0..4).map(|offset| one(&site, offset)));
    former.until_all_is_safe().await;
    drop(former);
    // The next owner begins further back: its first batch is covered in part, and a later record is covered no more.
    let mut driver = Driver::new(&shared);
    driver.give_all((2..7).map(|offset| one(&site, offset)));
    driver.until_all_is_safe().await;
    assert_eq!(site.totals("acme").await, ["3|7|7|0|0"], "nothing twice: no duplicate was even met");
    assert_eq!(site.contents("acme").await, [7, 0, 1]);
    assert!(driver.turns.is_empty());
}

#[tokio::test]
async fn a_watermark_below_one_that_was_confirmed_is_not_built_upon() {
    let site = Site::with(&["acme"]).await;
    let (id, statements) = (site.id("acme"), site.statements("acme"));
    let mut loader = site.loader().await;
    site.flush("acme", None, source(id, 5, events(0..3))).await.expect("stored");
    let before = (site.contents("acme").await, site.totals("acme").await);
    for size in [20, 300] {
        let batch = prepared(source(id, 9, events(1_000..1_000 + size)));
        // More than there is was confirmed once.
        let expected = Expected::AtLeast(Some(after(7)));
        let refused = flush(&mut loader, &statements, expected, &batch, Way::Direct).await;
        assert_eq!(refused.expect("an answer"), Flushed::Stale { found: Some(after(5)) });
        assert_eq!((site.contents("acme").await, site.totals("acme").await), before);
    }
    // As much as there is, or less, is none.
    for (offset, at_least) in [(9_i64, after(5)), (10, after(3))] {
        let ids = 2_000 * u128::from(offset.unsigned_abs());
        let batch = prepared(source(id, offset, events(ids..ids + 2)));
        let expected = Expected::AtLeast(Some(at_least));
        let flushed = flush(&mut loader, &statements, expected, &batch, Way::Direct).await;
        assert!(matches!(flushed, Ok(Flushed::Committed(_))), "{flushed:?}");
    }
    // None at all is less, too, and stays none.
    site.execute("DELETE FROM org_acme.ingest_watermark").await;
    let batch = prepared(source(id, 11, events(90_000..90_002)));
    let expected = Expected::AtLeast(Some(after(10)));
    let refused = flush(&mut loader, &statements, expected, &batch, Way::Direct).await;
    assert_eq!(refused.expect("an answer"), Flushed::Stale { found: None });
    assert_eq!(site.contents("acme").await, [7, 0, 0]);
}

/// Behind a pooler a connection stays when the server behind it changes. What a lane does not compare with a watermark it
/// knows is only for the server that it began with.
#[tokio::test]
async fn on_another_server_nothing_is_opened_stored_or_drained() {
    let site = Site::with(&["acme"]).await;
    let (id, mut loader) = (site.id("acme"), site.loader().await);
    let another = || site.statements("acme").on(&ServerIdentity::for_tests("another"));
    for size in [20, 300] {
        let batch = prepared(source(id, 5, events(0..size)));
        let expected = Expected::AtLeast(None);
        let flushed = flush(&mut loader, &another(), expected, &batch, Way::Direct).await;
        assert!(matches!(flushed, Err(FlushError::Refused(WriteError::OtherServer))), "{flushed:?}");
    }
    let opened = open(&mut loader, &another(), id, POSITION).await;
    assert!(matches!(opened, Err(WriteError::OtherServer)), "{opened:?}");

    let bytes = record_bytes(id, &[event(4)]);
    let to_hold = [ToHold { offset: 4, bytes: &bytes, events: 1 }];
    hold(&loader, id, POSITION, &to_hold, "a test").await.expect("held");
    let drained = drain_some(&mut loader, &another(), id, POSITION, ALL).await;
    assert!(matches!(drained, Err(DrainError::Write(WriteError::OtherServer))), "{drained:?}");
    assert_eq!((site.contents("acme").await, site.held().await.len()), ([0, 0, 0], 1));
    // And on the one that it began with, all of it.
    let here = site.statements("acme").on(&ServerIdentity::of(&loader).await.expect("an answer"));
    let drained = drain_some(&mut loader, &here, id, POSITION, ALL).await.expect("it drains");
    assert!(drained.is_some());
    assert_eq!((site.contents("acme").await, site.held().await.len()), ([1, 0, 1], 0));
}

#[tokio::test]
async fn on_another_server_nothing_is_held() {
    let (site, shared) = acme().await;
    let (key, record) = waiting(4, Bytes::from(record_bytes(site.id("acme"), &[event(4)])));
    let lane = LaneId { partition: POSITION.partition, key };
    let task = Task::Hold { records: 1, reason: "a test".to_owned() };
    let work = Work { id: 1, lane, position: POSITION, task, records: vec![record] };
    let mut loader = site.loader().await;

    let mut another = Arc::into_inner(shared).expect("nobody else has it");
    another.identity = ServerIdentity::for_tests("another");
    let performed = perform(&another, &work, &mut loader).await;
    assert_eq!(performed.told, Told::Refused(Refused::Server));
    assert!(!performed.is_connection_good && site.held().await.is_empty());

    let performed = perform(&site.shared(site.organizations()), &work, &mut site.loader().await).await;
    assert!(matches!(performed.told, Told::Held(_)), "{:?}", performed.told);
    assert_eq!(site.held().await, ["4|1|a test"]);
}

#[tokio::test]
async fn a_lane_whose_watermark_went_back_says_so_and_writes_nothing() {
    // By hand, as a restore would: no watermark at all, and a lower one.
    let ways = [
        "DELETE FROM org_acme.ingest_watermark",
        "UPDATE org_acme.ingest_watermark SET next_offset = 2, last_record_id = gen_random_uuid()",
    ];
    for forgets in ways {
        // A lane that is live, and one that has to look again.
        for looks_again in [false, true] {
            let (site, shared) = acme().await;
            let mut driver = Driver::new(&shared);
            driver.give_all((0..4).map(|offset| one(&site, offset)));
            driver.until_all_is_safe().await;
            site.execute(forgets).await;
            let before = site.contents("acme").await;
            if looks_again {
                let lane = lane_id(LaneKey::Organization(site.id("acme")));
                driver.dispatcher.found_held(lane, Instant::now());
            }
            driver.give(one(&site, 4));
            driver.until("it says so", |driver| driver.partition().went_back()).await;
            assert_eq!(driver.turns_of(site.id("acme")), [&Turn::WentBack], "{forgets}");
            assert_eq!(site.contents("acme").await, before, "{forgets}");
            // What is not stored is not safe, and neither this lane nor those that close it write it.
            driver.give(one(&site, 5));
            assert_eq!(driver.partition().low_water(), 4);
            drop(driver);

            // From the beginning, as from an anchor that lies below: all of it once more, and only the rest is new.
            let mut again = Driver::new(&shared);
            again.give_all((0..6).map(|offset| one(&site, offset)));
            again.until_all_is_safe().await;
            assert_eq!(site.number("SELECT count(*) FROM org_acme.event").await, 6, "{forgets}");
            assert_eq!(
                site.number("SELECT next_offset FROM org_acme.ingest_watermark").await,
                6,
                "{forgets}"
            );
        }
    }
}

/// The lane's own flush, its hold and its drain: too many in one transaction, and few in each record.
#[tokio::test]
async fn seventeen_bad_rows_over_many_records_are_held_and_drained_record_by_record() {
    const RECORDS: i64 = 40;
    let (site, shared) = acme().await;
    let mut driver = Driver::new(&shared);
    for offset in 0..RECORDS {
        let id = 100 * u128::from(offset.unsigned_abs());
        driver.give(record(site.id("acme"), offset, &[event(id), bad_event(id + 1)]));
    }
    driver
        .until("they are drained", |driver| driver.turns_of(site.id("acme")).contains(&&Turn::Drained))
        .await;
    let turns = driver.turns_of(site.id("acme"));
    assert!(matches!(turns[..], [Turn::Held(_), Turn::Drained]), "{turns:?}");
    assert_eq!(site.held().await.len(), 0);
    assert_eq!(site.contents("acme").await, [RECORDS, RECORDS, 1]);
    assert_eq!(site.totals("acme").await, [format!("3|{RECORDS}|{RECORDS}|0|{RECORDS}")]);
    assert_eq!(driver.close().await, RECORDS);
}
