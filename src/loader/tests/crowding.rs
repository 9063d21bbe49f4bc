//! A lane that has more than its share of the memory: what is beyond it stays in the log, and is taken from there again, in
//! order. Its neighbours do not wait, and nothing of it is lost, stored twice or held.

use std::sync::Arc;

use super::super::Shared;
use super::super::holding::{ToHold, hold};
use super::super::lane::{Arrival, Turn};
use super::driver::Driver;
use super::events::{event, log_record, record_at};
use super::site::{POSITION, Site};
use crate::event::UnixMillis;
use crate::tenant::OrganizationId;

/// So many records of the crowded lane; each takes about a kilobyte.
const RECORDS: i64 = 400;
const EVENTS_A_RECORD: i64 = 10;
/// What a lane may have in memory: a few records.
const LANE_BYTES: usize = 20_000;
/// Long ago: whoever reads these is catching up.
const LONG_AGO: UnixMillis = UnixMillis(1_700_000_000_000);
/// Each flush takes five seconds.
const SLOW: &str = "CREATE FUNCTION org_acme.slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_catalog.pg_sleep(5); RETURN NULL; END'; \
     CREATE TRIGGER slow BEFORE INSERT ON org_acme.event EXECUTE FUNCTION org_acme.slow()";
const NO_LONGER_SLOW: &str = "SET lock_timeout = 0; DROP TRIGGER slow ON org_acme.event";
const ASLEEP: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";

/// A site where one lane may have no more than a few records, and where every hold is counted.
async fn crowded() -> (Site, Arc<Shared>) {
    let site = Site::with(&["acme", "birch"]).await;
    // Holding is an insertion that this counts, even of what is drained again by the time we look.
    site.execute(
        "CREATE SEQUENCE holds; CREATE FUNCTION count_holds() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             'BEGIN PERFORM nextval(''public.holds''); RETURN NEW; END'; \
         CREATE TRIGGER holds BEFORE INSERT ON rollbook.held_record FOR EACH ROW EXECUTE FUNCTION count_holds()",
    )
    .await;
    let shared = site.shared_with(site.organizations(), |settings| {
        settings.lane_memory_bytes = LANE_BYTES;
        settings.transaction.batch_bytes = 10_000;
    });
    (site, shared)
}

/// How many records were ever held.
async fn holds(site: &Site) -> i64 {
    site.number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM holds").await
}

/// The log brings records of one organization, all at once; gives how many of them are left there.
fn give(
    driver: &mut Driver,
    organization: OrganizationId,
    offsets: std::ops::Range<i64>,
    received_at: UnixMillis,
) -> usize {
    let mut record = |offset: i64| {
        let first = offset.unsigned_abs() as u128 * 100;
        let events: Vec<_> = (0..EVENTS_A_RECORD.unsigned_abs() as u128).map(|n| event(first + n)).collect();
        driver.give(log_record(offset, record_at(organization, &events, received_at)))
    };
    offsets.map(&mut record).filter(|arrival| *arrival == Arrival::Left).count()
}

/// All of acme's records, and one of birch's behind them.
fn give_all(driver: &mut Driver, site: &Site, received_at: UnixMillis) {
    let left = give(driver, site.id("acme"), 0..RECORDS, received_at);
    assert!(left > 350, "{left} are left in the log");
    assert_eq!(give(driver, site.id("birch"), RECORDS..RECORDS + 1, received_at), 0);
}

/// Everything is stored, once and in order, and nothing is left behind.
async fn all_is_stored(site: &Site, mut driver: Driver) {
    let is_bounded = |driver: &Driver| driver.lane(site.id("acme")).bytes() <= LANE_BYTES;
    driver
        .until("all of acme's records", |driver| {
            assert!(is_bounded(driver), "{} bytes", driver.lane(site.id("acme")).bytes());
            driver.partition().low_water() == RECORDS + 1
        })
        .await;
    let all = RECORDS * EVENTS_A_RECORD;
    let totals = format!("{}|{RECORDS}|{all}|0|0", POSITION.partition);
    assert_eq!(site.totals("acme").await, [totals], "stored once, none of it a duplicate");
    assert_eq!(site.contents("acme").await[0], all);
    assert_eq!(site.held().await.len(), 0);
    assert_eq!(driver.close().await, RECORDS + 1);
}

#[tokio::test]
async fn a_slow_schema_leaves_records_in_the_log_and_its_neighbour_does_not_wait_for_it() {
    let (site, shared) = crowded().await;
    site.execute(SLOW).await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    driver.during(site.until("SELECT count(*) FROM org_birch.event")).await;
    // All but what its share allows is in the log still, while the first flush is in flight, and is not safe.
    assert_eq!(site.contents("acme").await, [0, 0, 0]);
    assert_eq!((driver.partition().low_water(), holds(&site).await), (0, 0));

    driver.during(site.execute(NO_LONGER_SLOW)).await;
    all_is_stored(&site, driver).await;
    assert_eq!(holds(&site).await, 0);
}

#[tokio::test]
async fn what_a_lost_flush_had_and_what_was_left_behind_it_are_the_next_owners() {
    let (site, shared) = crowded().await;
    site.execute(SLOW).await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    driver.during(site.until(ASLEEP)).await;
    driver.during(site.until("SELECT count(*) FROM org_birch.event")).await;
    // A crash, as far as its lanes go: the flush in flight is rolled back.
    assert_eq!(driver.partition().low_water(), 0);
    drop(driver);
    site.execute(NO_LONGER_SLOW).await;
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    all_is_stored(&site, driver).await;
    assert_eq!(holds(&site).await, 0);
}

#[tokio::test]
async fn what_a_lost_owner_had_held_is_drained_before_what_it_had_left_in_the_log() {
    let (site, shared) = crowded().await;
    site.execute("ALTER TABLE org_acme.event RENAME seq TO gone").await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    driver.until("some are held", |driver| driver.partition().low_water() > 10).await;
    let left = driver.lane(site.id("acme")).left_from();
    assert!(left.is_some_and(|left| left < RECORDS), "{left:?}");
    drop(driver);
    site.execute("ALTER TABLE org_acme.event RENAME gone TO seq").await;
    assert_ne!(site.held().await.len(), 0);
    assert_eq!(site.contents("acme").await, [0, 0, 0]);

    // The next owner looks for held records before it has read any.
    let mut driver = Driver::new(&shared);
    driver.look_for_held().await;
    driver
        .until("they are drained", |driver| driver.turns_of(site.id("acme")).contains(&&Turn::Drained))
        .await;
    give_all(&mut driver, &site, LONG_AGO);
    all_is_stored(&site, driver).await;
}

#[tokio::test]
async fn a_flood_of_fresh_records_is_taken_from_the_log_again_and_nothing_of_it_is_held() {
    let (site, shared) = crowded().await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, UnixMillis::now());
    all_is_stored(&site, driver).await;
    assert_eq!(holds(&site).await, 0);
}

#[tokio::test]
async fn a_flood_that_goes_on_while_its_lane_catches_up_is_stored_once_and_in_order() {
    let (site, shared) = crowded().await;
    let mut driver = Driver::new(&shared);
    for offset in (0..RECORDS).step_by(20) {
        give(&mut driver, site.id("acme"), offset..offset + 20, LONG_AGO);
        let before = driver.partition().low_water();
        driver.until("some more are stored", |driver| driver.partition().low_water() > before).await;
    }
    give(&mut driver, site.id("birch"), RECORDS..RECORDS + 1, LONG_AGO);
    all_is_stored(&site, driver).await;
    assert_eq!(holds(&site).await, 0);
}

#[tokio::test]
async fn schemas_that_are_slow_to_drain_leave_connections_to_their_neighbours() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    let shared = site.shared(site.organizations());
    let slow = ["acme", "birch"];
    assert_eq!(shared.settings.connections.get() as usize, slow.len(), "enough to take them all");
    for (offset, slug) in (0..).zip(slow) {
        // As long as a statement may take.
        site.execute(&SLOW.replace("acme", slug).replace("pg_sleep(5)", "pg_sleep(9)")).await;
        let bytes = record_at(site.id(slug), &[event(0)], LONG_AGO);
        let held = [ToHold { offset, bytes: &bytes, events: 1 }];
        hold(&site.loader().await, site.id(slug), POSITION, &held, "a test").await.expect("held");
    }
    let mut driver = Driver::starting_at(&shared, 2);
    driver.look_for_held().await;
    driver.during(site.until(&ASLEEP.replace("count(*)", "count(*) / 2"))).await;
    give(&mut driver, site.id("cedar"), 2..3, LONG_AGO);
    driver.during(site.until("SELECT count(*) FROM org_cedar.event")).await;
    for slug in slow {
        assert_eq!(site.contents(slug).await, [0, 0, 0], "cedar waited for {slug}");
    }
}

#[tokio::test]
async fn what_a_late_owner_holds_beside_a_live_lane_is_drained_when_it_is_found() {
    let (site, shared) = crowded().await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    driver.until_all_is_safe().await;
    let bytes = record_at(site.id("acme"), &[event(0)], LONG_AGO);
    let late = [ToHold { offset: 7, bytes: &bytes, events: 1 }];
    hold(&site.loader().await, site.id("acme"), POSITION, &late, "a test").await.expect("held");

    driver.look_for_held().await;
    driver.until("it is drained", |driver| driver.turns_of(site.id("acme")).contains(&&Turn::Drained)).await;
    all_is_stored(&site, driver).await;
}

#[tokio::test]
async fn catching_up_with_a_schema_that_takes_what_it_can_holds_nothing() {
    let (site, shared) = crowded().await;
    let mut driver = Driver::new(&shared);
    give_all(&mut driver, &site, LONG_AGO);
    all_is_stored(&site, driver).await;
    assert_eq!(holds(&site).await, 0);
}
