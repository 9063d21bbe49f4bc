//! `rollbook migrate`: many schemas, each for itself.

use std::num::NonZeroUsize;
use std::time::Duration;

use rollbook::config::{DatabaseUrl, Operator, Secret};
use rollbook::store::migrate::{Manner, Mode, Outcome, migrate, select};
use rollbook::store::{Admin, Installation, TENANT_SCHEMA_VERSION};
use serde_json::{Value, json};

use crate::harness::{Form, Service, Site, eventually, played};

fn outcomes(items: &[Value]) -> Vec<(&str, &str)> {
    let text = |item: &'_ Value, name: &str| {
        item[name].as_str().map(str::to_owned).unwrap_or_default().leak() as &str
    };
    items.iter().map(|item| (text(item, "organization"), text(item, "outcome"))).collect()
}

#[tokio::test]
async fn schemas_that_are_behind_are_brought_up_to_date_and_granted() {
    let site = Site::with(&["acme", "birch"]).await;
    site.take_back("acme").await;
    let items = site.run("migrate --jobs 2 --json").await.done().items();
    assert_eq!(
        items[0],
        json!({
            "organization": "acme", "from": TENANT_SCHEMA_VERSION - 1, "to": TENANT_SCHEMA_VERSION,
            "outcome": "migrated", "error": null,
        })
    );
    assert_eq!(outcomes(&items), [("acme", "migrated"), ("birch", "current")]);
    let reader = site.session_of("reader_acme").await;
    reader
        .query("SELECT * FROM org_acme.report_viewing", &[])
        .await
        .expect("new views are granted to the reader");
    let behind = "SELECT count(*) FROM rollbook.organization WHERE schema_version <> ";
    assert_eq!(site.number(&format!("{behind}{TENANT_SCHEMA_VERSION}")).await, 0);
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let site = Site::with(&["acme", "birch"]).await;
    site.take_back("acme").await;
    for _ in 0..2 {
        let items = site.run("migrate --dry-run --json").await.done().items();
        assert_eq!(outcomes(&items), [("acme", "would_migrate"), ("birch", "current")]);
    }
}

#[tokio::test]
async fn one_organization_can_be_migrated_alone() {
    let site = Site::with(&["acme", "birch"]).await;
    site.take_back("acme").await;
    site.take_back("birch").await;
    assert_eq!(
        outcomes(&site.run("migrate --org birch --json").await.done().items()),
        [("birch", "migrated")]
    );
    let items = site.run("migrate --dry-run --json").await.done().items();
    assert_eq!(outcomes(&items), [("acme", "would_migrate"), ("birch", "current")]);
}

#[tokio::test]
async fn a_busy_schema_is_reported_and_not_waited_for_and_the_next_run_takes_it_up() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    for slug in ["acme", "birch", "cedar"] {
        site.take_back(slug).await;
    }
    let mut busy = site.superuser().await;
    let lock = busy.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE org_birch.report_step IN ACCESS EXCLUSIVE MODE").await.expect("a lock");

    let ran = site.run("migrate --jobs 2 --lock-timeout-ms 100 --json").await.exits(1);
    let items = ran.items();
    assert_eq!(outcomes(&items), [("acme", "migrated"), ("birch", "failed"), ("cedar", "migrated")]);
    let error = items[1]["error"].as_str().expect("a reason");
    assert!(error.contains("lock timeout") && error.contains("it waited in vain for process "), "{error}");
    assert_eq!(ran.error_code(), "migration_failed");
    assert!(ran.stderr.contains("1 of 3 schemas failed: birch"), "{}", ran.stderr);

    lock.rollback().await.expect("the lock is gone");
    let items = site.run("migrate --json").await.done().items();
    assert_eq!(outcomes(&items), [("acme", "current"), ("birch", "migrated"), ("cedar", "current")]);
}

/// In the order in which `rollbook report` reads them, and then the others.
const VIEWS: [&str; 7] = [
    "report_content",
    "report_retention",
    "report_item",
    "report_option",
    "report_answer",
    "report_day",
    "report_viewing",
];

#[tokio::test]
async fn who_reads_reports_while_their_schema_is_migrated_goes_on_reading() {
    let site = Site::with(&["acme"]).await;
    for read_before in 0..VIEWS.len() {
        site.take_back("acme").await;
        let mut reader = site.superuser().await;
        let reading = reader.transaction().await.expect("a transaction");
        let read = async |view: &str| {
            let sql = format!("SELECT * FROM org_acme.{view}");
            reading
                .query(&sql, &[])
                .await
                .unwrap_or_else(|error| panic!("{view} after {read_before}: {error:?}"));
        };
        for view in &VIEWS[..read_before] {
            read(view).await;
        }
        let is_migrated = "SELECT count(*) FROM rollbook.organization WHERE schema_version = ";
        let reads_on = async {
            eventually("it is migrated, or waits for the reader", async || {
                site.number(&format!("{is_migrated}{TENANT_SCHEMA_VERSION}")).await == 1
                    || site
                        .number(
                            "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database \
                                    WHERE NOT granted AND datname = current_database()",
                        )
                        .await
                        > 0
            })
            .await;
            for view in &VIEWS[read_before..] {
                read(view).await;
            }
            reading.batch_execute("COMMIT").await.expect("an end");
        };
        let (ran, ()) = tokio::join!(site.run("migrate --lock-timeout-ms 30000 --json"), reads_on);
        assert_eq!(outcomes(&ran.done().items()), [("acme", "migrated")]);
    }
}

#[tokio::test]
async fn a_schema_that_another_administrator_works_on_is_reported_and_not_waited_for() {
    let site = Site::with(&["acme", "birch"]).await;
    site.take_back("acme").await;
    let other = site.superuser().await;
    let lock = "BEGIN; LOCK TABLE org_acme.refinery_schema_history IN SHARE ROW EXCLUSIVE MODE";
    other.batch_execute(lock).await.expect("the history of acme");
    let items = site.run("migrate --lock-timeout-ms 200 --json").await.exits(1).items();
    assert_eq!(outcomes(&items), [("acme", "failed"), ("birch", "current")]);
    assert_eq!(items[0]["error"], "another administrator is at work on it");
}

/// However long a schema takes: its organization's keys, state and records are not kept waiting.
#[tokio::test]
async fn while_a_schema_is_migrated_its_organization_is_suspended_and_its_keys_are_revoked() {
    let site = Site::set_up().await;
    let key = site.add("acme").await["key_id"].as_str().expect("an id").to_owned();
    site.take_back("acme").await;
    let analyst = site.superuser().await;
    analyst.batch_execute("BEGIN; LOCK TABLE org_acme.report_step").await.expect("a lock");
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let meanwhile = async {
        eventually("the migration waits", async || site.number(waits).await > 0).await;
        for words in ["org suspend acme", "org resume acme", "key add acme"] {
            site.run(words).await.done();
        }
        site.run(&format!("key revoke {key}")).await.done();
        let hold = "INSERT INTO rollbook.held_record \
                        (generation, partition, log_offset, organization_id, record, events, reason) \
                    SELECT 1, 0, 7, id, 'x', 3, 'test' FROM rollbook.organization";
        site.execute(hold).await;
        assert!(site.number(waits).await > 0, "it waits still");
        analyst.batch_execute("COMMIT").await.expect("an end");
    };
    let (ran, ()) = tokio::join!(site.run("migrate --lock-timeout-ms 60000 --json"), meanwhile);
    assert_eq!(outcomes(&ran.done().items()), [("acme", "migrated")]);
}

#[tokio::test]
async fn a_broken_schema_does_not_stop_the_others() {
    let site = Site::with(&["acme", "birch", "cedar"]).await;
    site.execute("DROP SCHEMA org_acme CASCADE; DROP TABLE org_birch.dead_letter").await;
    site.take_back("cedar").await;
    let items = site.run("migrate --json").await.exits(1).items();
    assert_eq!(outcomes(&items), [("acme", "failed"), ("birch", "failed"), ("cedar", "migrated")]);
}

#[tokio::test]
async fn a_schema_that_is_gone_is_said_to_be_also_by_a_dry_run() {
    let site = Site::with(&["acme"]).await;
    site.execute("DROP SCHEMA org_acme CASCADE").await;
    for words in ["migrate --json", "migrate --dry-run --json"] {
        let items = site.run(words).await.exits(1).items();
        assert_eq!(outcomes(&items), [("acme", "failed")]);
        assert_eq!(items[0]["from"], Value::Null);
        assert_eq!(items[0]["error"], "there is no schema `org_acme`");
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_left_alone() {
    let site = Site::with(&["acme"]).await;
    site.execute(
        "INSERT INTO org_acme.refinery_schema_history VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')",
    )
    .await;
    for words in ["migrate --json", "migrate --dry-run --json"] {
        let items = site.run(words).await.exits(1).items();
        assert_eq!(outcomes(&items), [("acme", "failed")]);
        assert_eq!(items[0]["from"], 99);
    }
}

#[tokio::test]
async fn a_control_schema_of_another_release_stops_every_command_but_setup() {
    let site = Site::set_up().await;
    site.execute(
        "INSERT INTO rollbook.refinery_schema_history VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')",
    )
    .await;
    for words in ["org list", "migrate", "status", "setup"] {
        let ran = site.run(&format!("{words} --json")).await.exits(1);
        assert_eq!(ran.error_code(), "control_schema_version", "{words}");
    }
}

#[tokio::test]
async fn a_table_for_people_names_every_schema_and_its_outcome() {
    let site = Site::with(&["acme"]).await;
    let ran = site.run("migrate").await.done();
    assert!(ran.stdout.contains("acme") && ran.stdout.contains("current"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "", "no progress bar where there is no terminal");
}

#[tokio::test]
async fn a_pin_and_grants_that_were_lost_come_back() {
    let site = Site::with(&["acme"]).await;
    let pin = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
               WHERE conname = 'ingest_watermark_is_of_this_organization'";
    let before = site.texts(pin).await;
    let writer = site.role("org_acme");
    site.execute(&format!(
        "ALTER TABLE org_acme.ingest_watermark DROP CONSTRAINT ingest_watermark_is_of_this_organization; \
         REVOKE ALL ON org_acme.event FROM {writer}"
    ))
    .await;
    site.run("migrate").await.done();
    assert_eq!((site.texts(pin).await, before.len()), (before, 1));
    site.session_of("org_acme")
        .await
        .query("SELECT * FROM org_acme.event", &[])
        .await
        .expect("granted again");
}

/// Two databases of a cluster can each have an organization of a name, by a restore; the roles of that name are one's.
#[tokio::test]
async fn what_bears_an_organizations_name_and_not_its_mark_is_given_nothing() {
    let site = Site::with(&["acme"]).await;
    let others = "Rollbook organization 01a22e04-1cad-7620-8b6b-e70c87c19e6a";
    for (thing, sql) in [
        (site.role("reader_acme"), "ROLE"),
        (site.role("org_acme"), "ROLE"),
        ("org_acme".to_owned(), "SCHEMA"),
    ] {
        let its_own = site.texts("SELECT 'Rollbook organization ' || id FROM rollbook.organization").await;
        let (reader, writer) = (site.role("reader_acme"), site.role("org_acme"));
        site.execute(&format!(
            "COMMENT ON {sql} {thing} IS '{others}'; REVOKE ALL ON SCHEMA org_acme FROM {reader}, {writer}; \
             REVOKE ALL ON ALL TABLES IN SCHEMA org_acme FROM {reader}, {writer}"
        ))
        .await;
        let items = site.run("migrate --json").await.exits(1).items();
        let error = items[0]["error"].as_str().expect("a reason");
        assert!(error.contains(&thing) && error.contains("of another organization"), "{error}");
        let granted = "SELECT count(*) FROM pg_namespace, aclexplode(nspacl) \
                       WHERE nspname = 'org_acme' AND grantee <> nspowner";
        assert_eq!(site.number(granted).await, 0, "{thing}");

        site.execute(&format!("COMMENT ON {sql} {thing} IS NULL")).await;
        let ran = site.run("migrate --json").await;
        if sql == "ROLE" {
            let items = ran.exits(1).items();
            let (error, says_so) =
                (items[0]["error"].as_str().expect("a reason"), format!("COMMENT ON ROLE \"{thing}\" IS '"));
            assert!(error.contains(&says_so) && error.contains(&its_own[0]), "{error}");
            site.execute(&format!("COMMENT ON ROLE {thing} IS '{}'", its_own[0])).await;
            site.run("migrate").await.done();
        } else {
            // Whose the schema is, its CHECK says.
            ran.done();
        }
        assert_eq!(site.number(granted).await, 2, "{thing}");
    }
}

#[tokio::test]
async fn roles_that_a_restore_did_not_bring_are_made_again() {
    let site = Site::set_up().await;
    let organization = site.organization("acme").await;
    let (reader, writer) = (site.role("reader_acme"), site.role("org_acme"));
    site.execute(&format!("DROP OWNED BY {reader}, {writer}; DROP ROLE {reader}, {writer}")).await;
    assert_eq!(site.run("migrate --json").await.done().items()[0]["outcome"], "current");
    let service = Service::ready(site.serve("")).await;
    service.post(&organization, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 1).await;
    service.stop().await;
    let readers = site.session_of("reader_acme").await;
    assert_eq!(readers.query("SELECT FROM org_acme.event", &[]).await.expect("its reader reads").len(), 1);
}

#[tokio::test]
async fn an_organization_that_is_removed_during_a_run_is_not_made_again() {
    let site = Site::with(&["acme", "birch"]).await;
    let url: Secret = site.admin_url().parse().expect("any text");
    let (url, operator) = (DatabaseUrl::parse(&url).expect("a URL"), Operator { os_user: None });
    let admin = Admin::connect(&url, operator.clone()).await.expect("the administrator");
    let installation = Installation::load(&admin, None).await.expect("a site that is set up");
    let selected = select(&admin, None).await.expect("both");
    site.run("org remove acme --yes").await.done();

    let lock_timeout = Duration::from_secs(2);
    let manner = Manner { jobs: NonZeroUsize::MIN, lock_timeout, mode: Mode::Apply };
    let reports = migrate(&url, &operator, &installation, selected, manner, |_| {}).await.expect("a run");
    assert!(matches!(reports[0].outcome, Outcome::Removed), "{reports:?}");
    assert!(matches!(reports[1].outcome, Outcome::Current), "{reports:?}");
    assert_eq!(site.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'org_acme'").await, 0);
}
