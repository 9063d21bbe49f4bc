//! `rollbook audit`: the log against every schema.

use serde_json::{Value, json};

use crate::harness::{
    Form, Organization, Ran, Rollbook, Service, Site, eventually, id_of, of_deploy, played,
};

/// Two organizations with events that are loaded, of whom the second sent one of them twice.
async fn loaded_site() -> (Site, Service, [Organization; 2], [Vec<Value>; 2]) {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("")).await;
    let (of_acme, of_birch) = (played(20), played(5));
    service.post(&acme, Form::Json, &of_acme).await.accepts(20);
    service.post(&birch, Form::Json, &of_birch).await.accepts(5);
    service.post(&birch, Form::Json, &of_birch[..1]).await.accepts(1);
    assert_eq!(site.loaded("acme", 20).await, (20, 0));
    assert_eq!(site.loaded("birch", 6).await, (5, 1));
    (site, service, [acme, birch], [of_acme, of_birch])
}

fn item(ran: &Ran, at: usize) -> Value {
    ran.json()["items"][at].clone()
}

#[tokio::test]
async fn a_clean_run_is_ok_by_id_and_by_count() {
    let (site, service, _, _) = loaded_site().await;
    let item = |organization: &str, stored: i64, duplicate: i64| {
        json!({
            "organization": organization, "accepted": stored + duplicate, "stored": stored, "duplicate": duplicate,
            "dead": 0, "discarded": 0, "held": 0, "in_flight": 0, "missing": [], "foreign": [],
        })
    };
    let (acme, birch) = (item("acme", 20, 0), item("birch", 5, 1));
    let whole = json!({"ok": true, "counts": "checked", "items": [acme, birch]});
    assert_eq!(site.run("audit --json").await.done().json(), whole);
    let one = json!({"ok": true, "counts": "checked", "items": [item("birch", 5, 1)]});
    assert_eq!(site.run("audit birch --json").await.done().json(), one);
    let table = site.run("audit").await.done().stdout;
    assert!(table.contains("in flight") && table.contains("birch"), "{table}");
    service.stop().await;
}

#[tokio::test]
async fn what_no_loader_has_taken_is_in_flight() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    service.post(&acme, Form::Json, &played(3)).await.accepts(3);
    let ran = site.run("audit --json").await.done();
    assert_eq!((&item(&ran, 0)["in_flight"], &item(&ran, 0)["accepted"]), (&json!(3), &json!(3)));
    service.stop().await;
}

#[tokio::test]
async fn an_audit_of_a_service_at_work_is_ok() {
    let (site, service, [acme, birch], _) = loaded_site().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let sending = async {
        while !stop.is_cancelled() {
            service.post(&acme, Form::Json, &played(50)).await.accepts(50);
            service.post(&birch, Form::Json, &played(3)).await.accepts(3);
        }
    };
    let auditing = async {
        for _ in 0..5 {
            let report = site.run("audit --json").await.done().json();
            assert_eq!((&report["ok"], &report["counts"]), (&json!(true), &json!("checked")), "{report}");
        }
        stop.cancel();
    };
    tokio::join!(sending, auditing);
    service.stop().await;
    site.run("audit").await.done();
}

#[tokio::test]
async fn a_row_deleted_by_hand_is_missing() {
    let (site, service, _, [of_acme, _]) = loaded_site().await;
    let gone = id_of(&of_acme[7]);
    site.execute(&format!("DELETE FROM org_acme.event WHERE event_id = '{gone}'")).await;
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!(ran.error_code(), "audit_difference");
    assert_eq!((&ran.json()["ok"], &ran.json()["counts"]), (&json!(false), &json!("checked")));
    assert_eq!((&item(&ran, 0)["missing"], &item(&ran, 0)["foreign"]), (&json!([gone]), &json!([])));
    assert_eq!((&item(&ran, 1)["missing"], &item(&ran, 1)["foreign"]), (&json!([]), &json!([])));
    site.run("audit birch").await.done();
    let table = site.run("audit acme").await.exits(1);
    assert!(table.stdout.contains(&format!("acme: missing {gone}")), "{}", table.stdout);
    service.stop().await;
}

#[tokio::test]
async fn a_row_copied_into_another_schema_is_foreign_there() {
    let (site, service, _, [_, of_birch]) = loaded_site().await;
    let copied = id_of(&of_birch[2]);
    site.execute(&format!(
        "INSERT INTO org_acme.event SELECT * FROM org_birch.event WHERE event_id = '{copied}'"
    ))
    .await;
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!((&item(&ran, 0)["foreign"], &item(&ran, 0)["missing"]), (&json!([copied]), &json!([])));
    assert_eq!((&item(&ran, 1)["foreign"], &item(&ran, 1)["missing"]), (&json!([]), &json!([])));

    // Moved, not only copied.
    site.execute(&format!("DELETE FROM org_birch.event WHERE event_id = '{copied}'")).await;
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!((&item(&ran, 0)["foreign"], &item(&ran, 1)["missing"]), (&json!([copied]), &json!([copied])));
    service.stop().await;
}

#[tokio::test]
async fn a_row_that_the_log_never_had_is_foreign() {
    let (site, service, _, _) = loaded_site().await;
    let id = "01a206ba-a5f8-7554-af42-9b2489b7132e";
    site.execute(&format!(
        "INSERT INTO org_birch.event (event_id, type, session_id, viewer_id, content_id, occurred_at, \
             client_occurred_at, received_at) \
         VALUES ('{id}', 'video.played', 's', 'v', 'c', now(), now(), now())"
    ))
    .await;
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!(item(&ran, 1)["foreign"], json!([id]));
    service.stop().await;
}

#[tokio::test]
async fn totals_that_do_not_add_up_are_a_difference_without_any_id() {
    let (site, service, _, _) = loaded_site().await;
    site.execute("UPDATE org_acme.ingest_watermark SET duplicate = duplicate + 1").await;
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!((&item(&ran, 0)["missing"], &item(&ran, 0)["foreign"]), (&json!([]), &json!([])));
    assert!(ran.stderr.contains("the log has 20 events, 21 are accounted for"), "{}", ran.stderr);
    service.stop().await;
}

#[tokio::test]
async fn held_and_dead_events_are_accounted_for_and_a_lost_held_record_is_missing() {
    let (site, service, [acme, _], _) = loaded_site().await;
    site.execute("ALTER TABLE org_acme.event RENAME TO away").await;
    let held = played(4);
    service.post(&acme, Form::Json, &held).await.accepts(4);
    let count = "SELECT coalesce(sum(events), 0) FROM rollbook.held_record";
    eventually("the record is held", async || site.number(count).await == 4).await;
    // While the table is away, what it should have is missing.
    let ran = site.run("audit --json").await.exits(1);
    assert_eq!(item(&ran, 0)["missing"].as_array().map(Vec::len), Some(20));

    service.stop().await;
    site.execute("ALTER TABLE org_acme.away RENAME TO event").await;
    let ran = site.run("audit --json").await.done();
    assert_eq!((&item(&ran, 0)["held"], &item(&ran, 0)["stored"]), (&json!(4), &json!(20)));

    // The loader has committed past it, so nobody will ever read it again.
    site.execute("DELETE FROM rollbook.held_record").await;
    let ran = site.run("audit --json").await.exits(1);
    let mut lost: Vec<String> = held.iter().map(id_of).collect();
    lost.sort_unstable();
    assert_eq!(item(&ran, 0)["missing"], json!(lost));
}

#[tokio::test]
async fn what_a_removed_organization_sent_is_not_missing() {
    let (site, service, _, _) = loaded_site().await;
    site.run("org remove acme --yes").await.done();
    let ran = site.run("audit --json").await.done();
    assert_eq!(ran.json()["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(site.run("audit acme --json").await.exits(1).error_code(), "organization_removed");
    assert_eq!(site.run("audit nobody --json").await.exits(1).error_code(), "organization_not_found");
    service.stop().await;
}

#[tokio::test]
async fn another_log_than_the_installations_is_refused() {
    let site = Site::set_up().await;
    let ran =
        site.rollbook("audit --json").env("ROLLBOOK_KAFKA_TOPIC", "rollbook.other").run().await.exits(1);
    assert!(["another_log", "log_unavailable"].contains(&ran.error_code().as_str()), "{}", ran.stderr);
}

#[tokio::test]
async fn the_nightly_script_leaves_what_an_audit_found_and_nothing_of_one_that_could_not_look() {
    let (site, service, _, _) = loaded_site().await;
    let folder = tempfile::tempdir().expect("a folder");
    let left = || std::fs::read_to_string(folder.path().join("rollbook_audit.prom")).unwrap_or_default();
    let script = format!("{} .", of_deploy("prometheus/audit.sh").display());
    let nightly = async |rollbook: Rollbook| rollbook.by_shell(&script, folder.path()).run().await;
    let away = || site.rollbook("").env("ROLLBOOK_ADMIN_DATABASE_URL", "postgres://x@127.0.0.1:1/x");

    let ran = nightly(away()).await.exits(1);
    assert!(ran.stderr.contains("database_unavailable") && left().is_empty(), "{}{}", ran.stderr, left());
    nightly(site.rollbook("")).await.done();
    assert!(left().contains("\nrollbook_audit_differs 0\n"), "{}", left());

    site.execute("DELETE FROM org_acme.event WHERE event_id = (SELECT event_id FROM org_acme.event LIMIT 1)")
        .await;
    let ran = nightly(site.rollbook("")).await.done();
    assert!(ran.stdout.contains("\"missing\":[\""), "who reads the mail sees which: {}", ran.stdout);
    let found = left();
    assert!(found.contains("\nrollbook_audit_differs 1\n"), "{found}");
    assert!(
        found.lines().any(|line| line.starts_with("rollbook_audit_ended_timestamp_seconds 1")),
        "{found}"
    );
    nightly(away()).await.exits(1);
    nightly(site.rollbook("").env("TMPDIR", "/nowhere")).await.exits(1);
    let nowhere = format!("{script}/nowhere");
    site.rollbook("").by_shell(&nowhere, folder.path()).run().await.exits(2);
    assert_eq!(left(), found);
    assert_eq!(std::fs::read_dir(folder.path()).expect("our own").count(), 1, "no half of one");
    service.stop().await;
}
