//! Records that belong in no schema.

use super::driver::Driver;
use super::events::{event, events, log_record, record, record_bytes, source};
use super::site::Site;
use crate::tenant::{Organization, OrganizationId, State};
use uuid::Uuid;

/// `offset|organization|events|reason|whether bytes are kept` of every one.
async fn unreadable(site: &Site) -> Vec<String> {
    site.texts(
        "SELECT concat_ws('|', log_offset, organization_id, events, reason, record IS NOT NULL) \
         FROM rollbook.unreadable_record ORDER BY log_offset",
    )
    .await
}

#[tokio::test]
async fn an_id_that_nobody_ever_had_is_written_down_with_its_bytes_and_touches_no_schema() {
    let site = Site::with(&["acme"]).await;
    let forged = OrganizationId(Uuid::from_u128(0xbad));
    let sent = record(forged, 7, &events(0..3));
    let bytes = sent.bytes.clone();
    let shared = site.shared(site.organizations());

    // Read again after a crash, it is written down once.
    for _ in 0..2 {
        let again = record_bytes_at(&bytes);
        assert_eq!(site.through_a_lane(&shared, vec![again]).await, 8);
    }
    let reason = "no organization ever had this id";
    assert_eq!(unreadable(&site).await, [format!("7|{forged}|3|{reason}|t")]);
    let kept = site.superuser().await.query_one("SELECT record FROM rollbook.unreadable_record", &[]).await;
    assert_eq!(kept.expect("one record").get::<_, Vec<u8>>(0), bytes);
    assert_eq!((site.held().await.len(), site.contents("acme").await), (0, [0, 0, 0]));
}

fn record_bytes_at(bytes: &[u8]) -> crate::log::LogRecord {
    log_record(7, bytes.to_vec())
}

/// The database went back to before there was the organization, and the snapshot has it from before that.
#[tokio::test]
async fn records_of_an_organization_that_the_database_has_forgotten_are_written_down_with_their_bytes() {
    let site = Site::with(&["acme"]).await;
    let forgotten = Organization {
        id: OrganizationId(Uuid::from_u128(0xf0)),
        slug: "forgotten".parse().expect("a slug"),
        schema_name: "org_forgotten".to_owned(),
        ..site.organization("acme").clone()
    };
    let records = [7, 8].map(|offset| record(forgotten.id, offset, &events(0..3)));
    let reason = "no organization ever had this id";
    let expected = [7, 8].map(|offset| format!("{offset}|{}|3|{reason}|t", forgotten.id));
    let shared = site.shared(vec![forgotten]);
    assert_eq!(site.through_a_lane(&shared, Vec::from(records)).await, 9, "its partition goes on");
    assert_eq!(unreadable(&site).await, expected);
    assert_eq!(site.held().await.len(), 0);
}

#[tokio::test]
async fn a_record_of_a_removed_organization_is_counted_without_its_payload() {
    let site = Site::with(&["acme", "birch"]).await;
    let acme = site.id("acme");
    site.flush("acme", None, source(acme, 1, events(0..3))).await.expect("stored");
    let before = site.organizations();
    site.remove("acme").await;

    // A snapshot that knows; one that has never heard of it; and one that is behind, so that the schema is missed first.
    let removed = |one: Organization| Organization { state: State::Removed, ..one };
    let knows = before.iter().cloned().map(removed).collect();
    let snapshots = [(7, knows), (8, Vec::new()), (9, before)];
    for (offset, organizations) in snapshots {
        let shared = site.shared(organizations);
        let safe = site.through_a_lane(&shared, vec![record(acme, offset, &events(0..5))]).await;
        assert_eq!(safe, offset + 1);
    }
    let reason = "the organization was removed";
    let expected = [7, 8, 9].map(|offset| format!("{offset}|{acme}|5|{reason}|f"));
    assert_eq!(unreadable(&site).await, expected);
    assert_eq!((site.held().await.len(), site.contents("birch").await), (0, [0, 0, 0]));
}

#[tokio::test]
async fn an_organization_whose_slug_was_taken_over_in_the_database_inherits_nothing() {
    let site = Site::with(&["acme"]).await;
    let former = site.id("acme");
    // No command does this: slugs are never used again. The records carry the id, so that it would not matter.
    let heir = Uuid::from_u128(0xe1);
    site.execute(&format!(
        "ALTER TABLE org_acme.ingest_watermark DROP CONSTRAINT ingest_watermark_is_of_this_organization, \
             ADD CHECK (organization_id = '{heir}')"
    ))
    .await;
    let shared = site.shared(site.organizations());
    let safe = site.through_a_lane(&shared, vec![record(former, 3, &[event(1)])]).await;
    assert_eq!((safe, site.contents("acme").await), (4, [0, 0, 0]));
    let held = site.held().await;
    assert!(held.len() == 1 && held[0].starts_with("3|1|23514: "), "{held:?}");
}

#[tokio::test]
async fn a_header_that_reads_and_events_that_do_not_are_written_down_and_do_not_stand_in_the_way() {
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    let mut bytes = record_bytes(acme, &[event(1)]);
    // Field 5, two bytes long: an event that is no protobuf.
    bytes.extend([0x2a, 2, 0xff, 0xff]);
    let records = vec![record(acme, 3, &[event(10)]), log_record(4, bytes), record(acme, 5, &[event(11)])];
    let shared = site.shared(site.organizations());
    assert_eq!(site.through_a_lane(&shared, records).await, 6);
    assert_eq!(unreadable(&site).await, [format!("4|{acme}|2|its events cannot be decoded|t")]);
    assert_eq!(site.totals("acme").await, ["3|6|2|0|0"]);
}

#[tokio::test]
async fn any_number_of_records_that_cannot_be_decoded_leaves_the_lanes_their_connections() {
    const RECORDS: i64 = 3000;
    let site = Site::with(&["acme"]).await;
    let acme = site.id("acme");
    let shared = site.shared(site.organizations());
    let mut driver = Driver::new(&shared);
    // Nothing can be written down for now.
    let locker = site.superuser().await;
    locker.batch_execute("BEGIN; LOCK TABLE rollbook.unreadable_record").await.expect("a lock");
    driver.give_all((0..RECORDS).map(|offset| log_record(offset, b"x".to_vec())));
    driver.during(site.until("SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE NOT granted AND datname = current_database()")).await;
    driver.give(record(acme, RECORDS, &events(0..3)));
    driver.during(site.until("SELECT count(*) FROM org_acme.event")).await;
    assert_eq!(driver.partition().low_water(), 0, "nothing is written down");

    locker.batch_execute("ROLLBACK").await.expect("no lock");
    driver.until_all_is_safe().await;
    let offsets = "SELECT (count(*), count(DISTINCT log_offset), min(log_offset), max(log_offset))::text \
                   FROM rollbook.unreadable_record";
    assert_eq!(site.texts(offsets).await, [format!("({RECORDS},{RECORDS},0,{})", RECORDS - 1)]);
    assert_eq!(driver.close().await, RECORDS + 1);
}
