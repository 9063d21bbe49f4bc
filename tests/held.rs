//! `rollbook held`: records that wait for an organization's schema, looked at and drained by a person.

use prost::Message as _;
use rollbook::event::proto;
use rollbook::log::record::FORMAT;
use serde_json::{Value, json};

use crate::harness::{Form, Service, Site, eventually, played};

/// An organization whose schema broke, with five records of two events held, and no loader running.
async fn site_with_held_records() -> Site {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    site.execute("ALTER TABLE org_acme.event RENAME TO away").await;
    let service = Service::ready(site.serve("")).await;
    for _ in 0..5 {
        service.post(&acme, Form::Json, &played(2)).await.accepts(2);
    }
    let count = "SELECT coalesce(sum(events), 0) FROM rollbook.held_record";
    eventually("all are held", async || site.number(count).await == 10).await;
    service.stop().await;
    site
}

#[tokio::test]
async fn held_records_are_listed_in_the_order_of_the_log() {
    let site = site_with_held_records().await;
    let items = site.run("held list acme --json").await.done().items();
    assert_eq!(items.len(), 5);
    let names: Vec<&String> = items[0].as_object().expect("an object").keys().collect();
    assert_eq!(names, ["events", "offset", "partition", "reason", "since"]);
    let offsets: Vec<i64> = items.iter().filter_map(|item| item["offset"].as_i64()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert!(items[0]["reason"].as_str().is_some_and(|reason| reason.contains("42P01")), "{items:?}");
    // Why, when they are tried again, and what to type.
    for asked in ["held list acme", "status"] {
        let said = site.run(asked).await.done().stdout;
        for part in ["42P01", "every 30 s", "rollbook held drain acme"] {
            assert!(said.contains(part), "{asked}: {said}");
        }
    }
    assert_eq!(site.run("held list nobody --json").await.exits(1).error_code(), "organization_not_found");
}

#[tokio::test]
async fn draining_a_schema_that_still_refuses_fails_with_the_reason() {
    let site = site_with_held_records().await;
    let ran = site.run("held drain acme --json").await.exits(1);
    assert_eq!(ran.error_code(), "schema_refuses");
    assert!(ran.stderr.contains("42P01"), "{}", ran.stderr);
    assert_eq!((&ran.json()["records"], &ran.json()["still_held"]), (&json!(0), &json!(5)));
}

#[tokio::test]
async fn draining_a_healed_schema_stores_everything_once() {
    let site = site_with_held_records().await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let drained = site.run("held drain acme --json").await.done().json();
    let expected = json!({
        "organization": "acme", "records": 5, "stored": 10, "duplicate": 0, "dead": 0, "unreadable_records": 0,
        "still_held": 0,
    });
    assert_eq!(drained, expected);
    assert_eq!(site.loaded("acme", 10).await, (10, 0));
    assert_eq!(site.run("held list acme --json").await.done().items(), Vec::<Value>::new());
    assert_eq!(site.run("held drain acme --json").await.done().json()["records"], json!(0));
    assert_eq!(drains_in_the_trail(&site).await, [(5, 10)]);
    site.run("audit").await.done();

    // A loader that comes back has nothing to do, and goes on.
    let acme = site.run("key add acme --json").await.done().json();
    let service = Service::ready(site.serve("")).await;
    let organization = crate::harness::Organization {
        slug: "acme".to_owned(),
        key: acme["key"].as_str().expect("a key").to_owned(),
        key_id: acme["key_id"].as_str().expect("an id").to_owned(),
    };
    service.post(&organization, Form::Json, &played(3)).await.accepts(3);
    assert_eq!(site.loaded("acme", 13).await, (13, 0));
    service.stop().await;
    site.run("audit").await.done();
}

#[tokio::test]
async fn the_administrators_own_login_drains_where_the_loaders_is_not_known() {
    let site = site_with_held_records().await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let drain = site.rollbook("held drain acme --json").without("ROLLBOOK_LOADER_DATABASE_URL");
    assert_eq!(drain.run().await.done().json()["stored"], json!(10));
}

#[tokio::test]
async fn a_held_record_that_names_another_organization_is_not_stored() {
    let site = site_with_held_records().await;
    site.organization("birch").await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    site.execute(
        "UPDATE rollbook.held_record SET organization_id = \
             (SELECT id FROM rollbook.organization WHERE slug = 'birch') WHERE log_offset = 2",
    )
    .await;
    let ran = site.run("held drain birch --json").await.exits(1);
    assert_eq!(ran.error_code(), "schema_refuses");
    assert_eq!(site.number("SELECT count(*) FROM org_birch.event").await, 0);
}

/// Intake of a newer release wrote it, before the loaders were replaced.
#[tokio::test]
async fn a_record_of_a_newer_release_waits_for_that_release_and_so_does_what_comes_behind_it() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("")).await;
    let of_today = site.record_of("acme").await;
    let of_tomorrow = proto::Record { format: FORMAT + 1, ..of_today.clone() };
    site.write_record("acme", &of_tomorrow).await;
    let held = "SELECT count(*) FROM rollbook.held_record";
    eventually("it is held", async || site.number(held).await == 1).await;
    for organization in [&acme, &birch] {
        service.post(organization, Form::Json, &played(2)).await.accepts(2);
    }
    assert_eq!(site.loaded("birch", 2).await, (2, 0), "others are not delayed");
    eventually("what comes behind it is held", async || site.number(held).await == 2).await;
    let items = site.run("held list acme --json").await.done().items();
    let reason = items[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("a newer release wrote it in format 1"), "{reason}");
    assert!(reason.ends_with("use the newer release; loaders first"), "{reason}");

    // Another loader of this release does no better.
    service.stop().await;
    let service = Service::ready(site.serve("")).await;
    let refused = site.run("held drain acme --json").await.exits(1);
    assert!(refused.stderr.contains("a newer release wrote it"), "{}", refused.stderr);
    assert_eq!((site.number(held).await, site.stored_ids("acme").await.len()), (2, 0));
    service.stop().await;

    // To the newer release it is a record like any other.
    let known = "UPDATE rollbook.held_record SET record = $1 WHERE record = $2";
    let (of_today, of_tomorrow) = (of_today.encode_to_vec(), of_tomorrow.encode_to_vec());
    let superuser = site.superuser().await;
    assert_eq!(superuser.execute(known, &[&of_today, &of_tomorrow]).await.expect("an update"), 1);
    let service = Service::ready(site.serve("")).await;
    assert_eq!(site.loaded("acme", 3).await, (3, 0));
    service.stop().await;
    let audit = site.run("audit --json").await.done().json();
    assert_eq!((&audit["ok"], &audit["counts"]), (&json!(true), &json!("checked")), "{audit}");
}

/// Records and stored events of each drain that a person made.
async fn drains_in_the_trail(site: &Site) -> Vec<(i64, i64)> {
    let drains = "SELECT what->>'records' || ' ' || (what->>'stored') FROM rollbook.admin_event \
                  WHERE action = 'held.drain' ORDER BY id";
    let numbers = |line: String| {
        let (records, stored) = line.split_once(' ').expect("two");
        (records.parse().expect("a number"), stored.parse().expect("a number"))
    };
    site.texts(drains).await.into_iter().map(numbers).collect()
}

#[tokio::test]
async fn a_drain_that_is_interrupted_is_in_the_trail_as_far_as_it_came() {
    let site = site_with_held_records().await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    // Somebody is at the third record.
    let mut other = site.superuser().await;
    let looking = other.transaction().await.expect("a transaction");
    let third = "SELECT FROM rollbook.held_record WHERE log_offset = 2 FOR UPDATE";
    looking.query_one(third, &[]).await.expect("a record");
    let one_by_one = site.rollbook("held drain acme").env("ROLLBOOK_LOADER_BATCH_ROWS", "1");
    let patient = one_by_one.env("ROLLBOOK_LOADER_LOCK_TIMEOUT_MS", "9999");
    let mut draining = patient.start();
    eventually("two are drained and in the trail", async || drains_in_the_trail(&site).await == [(2, 4)])
        .await;
    draining.kill().await.expect("a child of ours that waits");
    looking.rollback().await.expect("it is over");

    site.run("held drain acme").await.done();
    assert_eq!(site.loaded("acme", 10).await, (10, 0));
    assert_eq!(drains_in_the_trail(&site).await, [(2, 4), (3, 6)]);
}
