//! `rollbook status`: what stands in each schema.

use rollbook::store::TENANT_SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::harness::Site;

#[tokio::test]
async fn status_answers_with_what_the_contract_names() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute(
        "INSERT INTO org_acme.ingest_watermark \
             (generation, partition, organization_id, next_offset, last_record_id, stored, duplicate, dead, updated_at) \
         SELECT 7, partition, id, 9, gen_random_uuid(), 10, 2, 1, now() - interval '1 minute' \
         FROM rollbook.organization, generate_series(0, 1) AS partition WHERE slug = 'acme'; \
         INSERT INTO org_acme.dead_letter \
             (event_id, generation, partition, log_offset, sqlstate, reason, event, discarded_at) \
         VALUES (gen_random_uuid(), 1, 0, 3, '22P05', 'r', '{}', NULL), \
                (gen_random_uuid(), 1, 0, 4, '22P05', 'r', '{}', now()); \
         INSERT INTO rollbook.held_record (generation, partition, log_offset, organization_id, record, events, reason) \
         SELECT 1, 0, 12, id, 'x', 5, 'test' FROM rollbook.organization WHERE slug = 'acme'",
    )
    .await;
    let mut items = site.run("status --json").await.done().items();
    assert_eq!(items.len(), 2);
    let fresh = items[0]["freshness_seconds"].take().as_f64().expect("a number");
    assert!((60.0..120.0).contains(&fresh), "{fresh}");
    assert_eq!(
        items[0],
        json!({
            "organization": "acme", "state": "active", "schema_version": TENANT_SCHEMA_VERSION, "stored": 20, "duplicate": 4, "dead": 1,
            "held": 5, "lag_records": 0, "freshness_seconds": null, "stopped": null,
            "reports": "current",
        })
    );
    assert_eq!((&items[1]["stored"], &items[1]["freshness_seconds"]), (&json!(0), &Value::Null));
    assert_eq!(site.run("status birch --json").await.done().items(), items[1..]);
}

#[tokio::test]
async fn a_broken_schema_is_shown_as_one_that_cannot_be_read() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute("DROP SCHEMA org_acme CASCADE").await;
    let items = site.run("status --json").await.done().items();
    assert_eq!((&items[0]["stored"], &items[1]["stored"]), (&Value::Null, &json!(0)));
    assert_eq!((&items[0]["reports"], &items[1]["reports"]), (&json!("unreadable"), &json!("current")));
}

#[tokio::test]
async fn what_is_locked_in_one_schema_keeps_nobody_from_hearing_of_the_others() {
    let site = Site::with(&["acme", "birch"]).await;
    let mut locker = site.superuser().await;
    let lock = locker.transaction().await.expect("a transaction");
    lock.batch_execute(
        "LOCK TABLE org_acme.ingest_watermark, org_acme.event, org_acme.report_state, org_acme.refinery_schema_history \
         IN ACCESS EXCLUSIVE MODE",
    )
    .await
    .expect("a lock");
    let items = site.run("status --json").await.done().items();
    assert_eq!((&items[0]["stored"], &items[1]["stored"]), (&Value::Null, &json!(0)));
    assert_eq!((&items[0]["reports"], &items[1]["reports"]), (&json!("unreadable"), &json!("current")));
    let audit = site.run("audit --json").await.exits(1).json();
    assert_eq!((audit["ok"].as_bool(), audit["items"].as_array().map(Vec::len)), (Some(false), Some(2)));
    let items = site.run("migrate --lock-timeout-ms 100 --json").await.exits(1).items();
    assert_eq!(
        (&items[0]["outcome"], &items[1]["outcome"]),
        (&json!("failed"), &json!("current")),
        "{items:?}"
    );
    lock.rollback().await.expect("the lock is gone");
}
