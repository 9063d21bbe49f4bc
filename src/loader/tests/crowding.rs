//! A lane that has more than its share of the memory: its neighbours do not wait, and nothing of it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Shared;
use super::super::held_record::{ToHold, hold};
use super::super::partition::Partition;
use super::events::{event, log_record, record_at};
use super::site::{POSITION, Site};
use crate::event::UnixMillis;
use crate::log::Start;
use crate::tenant::OrganizationId;

/// So many records of the crowded lane; each takes about a kilobyte.
const RECORDS: i64 = 400;
const EVENTS_A_RECORD: i64 = 10;
/// Long ago: whoever reads these is catching up.
const LONG_AGO: UnixMillis = UnixMillis(1_700_000_000_000);
/// Each flush takes five seconds.
const SLOW: &str = "CREATE FUNCTION org_acme.slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_catalog.pg_sleep(5); RETURN NULL; END'; \
     CREATE TRIGGER slow BEFORE INSERT ON org_acme.event EXECUTE FUNCTION org_acme.slow()";
const NO_LONGER_SLOW: &str = "SET lock_timeout = 0; DROP TRIGGER slow ON org_acme.event";

/// A site where one lane may have no more than a few records.
async fn crowded() -> (Site, Arc<Shared>, Partition) {
    let site = Site::with(&["acme", "birch"]).await;
    let shared = site.shared_with(site.organizations(), |settings| {
        settings.lane_memory_bytes = 20_000;
        settings.batch_bytes = 10_000;
    });
    let partition = assigned(&shared);
    (site, shared, partition)
}

/// The partition of somebody who has it from now on, and has to read it from its beginning.
fn assigned(shared: &Arc<Shared>) -> Partition {
    let start = Start { partition: POSITION.partition, next_offset: Some(0) };
    let mut partition = Partition::new(shared, start, 1);
    partition.admit(None);
    partition
}

/// Gives the partition records of one organization, all at once.
fn give(
    partition: &mut Partition,
    organization: OrganizationId,
    offsets: std::ops::Range<i64>,
    received_at: UnixMillis,
) {
    for offset in offsets {
        let first = offset.unsigned_abs() as u128 * 100;
        let events: Vec<_> = (0..EVENTS_A_RECORD.unsigned_abs() as u128).map(|n| event(first + n)).collect();
        partition.take(log_record(offset, record_at(organization, &events, received_at)));
    }
}

/// Everything is stored, once and in order, and nothing is left behind.
async fn all_is_stored(site: &Site, partition: Partition) {
    let all = RECORDS * EVENTS_A_RECORD;
    site.until(&format!("SELECT count(*) / {all} FROM org_acme.event")).await;
    site.until("SELECT (count(*) = 0)::int::bigint FROM rollbook.held_record").await;
    let totals = format!("{}|{RECORDS}|{all}|0|0", POSITION.partition);
    assert_eq!(site.totals("acme").await, [totals], "stored once, none of it a duplicate");
    let deadline = Instant::now() + Duration::from_secs(20);
    assert_eq!(partition.close(deadline).await, Some(RECORDS + 1));
}

#[tokio::test]
async fn a_slow_schema_is_held_and_its_neighbour_does_not_wait_for_it() {
    let (site, _shared, mut partition) = crowded().await;
    site.execute(SLOW).await;
    give(&mut partition, site.id("acme"), 0..RECORDS, LONG_AGO);
    give(&mut partition, site.id("birch"), RECORDS..RECORDS + 1, LONG_AGO);
    site.until("SELECT count(*) FROM org_birch.event").await;
    // All but what its share allows, while the first flush is still in flight.
    site.until("SELECT count(*) / 300 FROM rollbook.held_record").await;
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    site.execute(NO_LONGER_SLOW).await;
    all_is_stored(&site, partition).await;
}

#[tokio::test]
async fn what_a_lost_flush_had_is_drained_before_what_was_held_behind_it() {
    let (site, shared, mut partition) = crowded().await;
    site.execute(SLOW).await;
    give(&mut partition, site.id("acme"), 0..RECORDS, LONG_AGO);
    site.until("SELECT count(*) / 300 FROM rollbook.held_record").await;
    // A crash, as far as its lanes go: the flush in flight is rolled back.
    drop(partition);
    site.execute(NO_LONGER_SLOW).await;
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    // The next owner looks for held records before it has read any.
    let mut partition = assigned(&shared);
    partition.drain_lane(site.id("acme"));
    site.until("SELECT (count(*) = 0)::int::bigint FROM rollbook.held_record").await;
    give(&mut partition, site.id("acme"), 0..RECORDS, LONG_AGO);
    give(&mut partition, site.id("birch"), RECORDS..RECORDS + 1, LONG_AGO);
    all_is_stored(&site, partition).await;
}

#[tokio::test]
async fn a_flood_of_fresh_records_is_held_beyond_its_share_and_drained() {
    let (site, _shared, mut partition) = crowded().await;
    give(&mut partition, site.id("acme"), 0..RECORDS, UnixMillis::now());
    give(&mut partition, site.id("birch"), RECORDS..RECORDS + 1, UnixMillis::now());
    site.until("SELECT count(*) FROM rollbook.held_record").await;
    all_is_stored(&site, partition).await;
}

#[tokio::test]
async fn schemas_that_are_slow_to_drain_leave_connections_to_their_neighbours() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    let shared = site.shared(site.organizations());
    let slow = ["acme", "birch"];
    assert_eq!(shared.settings.connections.get() as usize, slow.len(), "enough to take them all");
    let mut partition = assigned(&shared);
    for (offset, slug) in (0..).zip(slow) {
        // As long as a statement may take.
        site.execute(&SLOW.replace("acme", slug).replace("pg_sleep(5)", "pg_sleep(9)")).await;
        let bytes = record_at(site.id(slug), &[event(0)], LONG_AGO);
        let held = [ToHold { offset, bytes: &bytes, events: 1 }];
        hold(&site.loader().await, site.id(slug), POSITION, &held, "a test").await.expect("held");
        partition.drain_lane(site.id(slug));
    }
    let asleep =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    site.until(asleep).await;
    // For the other one to begin, too, if it may.
    tokio::time::sleep(Duration::from_secs(1)).await;
    give(&mut partition, site.id("cedar"), 2..3, LONG_AGO);
    site.until("SELECT count(*) FROM org_cedar.event").await;
    for slug in slow {
        assert_eq!(site.contents(slug).await, [0, 0, 0], "cedar waited for {slug}");
    }
}

#[tokio::test]
async fn what_a_late_owner_holds_beside_a_live_lane_is_drained_when_it_is_found() {
    let (site, _shared, mut partition) = crowded().await;
    give(&mut partition, site.id("acme"), 0..RECORDS, LONG_AGO);
    give(&mut partition, site.id("birch"), RECORDS..RECORDS + 1, LONG_AGO);
    site.until(&format!("SELECT count(*) / {} FROM org_acme.event", RECORDS * EVENTS_A_RECORD)).await;
    let bytes = record_at(site.id("acme"), &[event(0)], LONG_AGO);
    let late = [ToHold { offset: 7, bytes: &bytes, events: 1 }];
    hold(&site.loader().await, site.id("acme"), POSITION, &late, "a test").await.expect("held");

    partition.drain_lane(site.id("acme"));
    all_is_stored(&site, partition).await;
}

#[tokio::test]
async fn catching_up_with_a_schema_that_takes_what_it_can_holds_nothing() {
    let (site, _shared, mut partition) = crowded().await;
    // Holding is an insertion that this would count, even of what is drained again by the time we look.
    site.execute(
        "CREATE SEQUENCE holds; CREATE FUNCTION count_holds() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             'BEGIN PERFORM nextval(''public.holds''); RETURN NEW; END'; \
         CREATE TRIGGER holds BEFORE INSERT ON rollbook.held_record FOR EACH ROW EXECUTE FUNCTION count_holds()",
    )
    .await;
    give(&mut partition, site.id("acme"), 0..RECORDS, LONG_AGO);
    give(&mut partition, site.id("birch"), RECORDS..RECORDS + 1, LONG_AGO);
    all_is_stored(&site, partition).await;
    assert_eq!(site.number("SELECT count(*) FROM holds WHERE is_called").await, 0);
}
