//! `/healthz` is about progress: red when a partition stands still though nobody keeps it from moving.

use crate::harness::{Form, Service, Site, eventually, id_of, played};

/// The backends that store rows for this site's loader.
const STORING: &str = "SELECT pid::bigint FROM pg_stat_activity \
                       WHERE usename = '{loader}' AND state = 'active' AND wait_event = 'PgSleep'";

/// Stops and continues a process that is not ours: a backend of this test's own session.
async fn signal(signal: &str, process: i64) {
    let sent = tokio::process::Command::new("kill").args([signal, &process.to_string()]).status().await;
    assert!(sent.expect("kill runs").success(), "{signal} {process}");
}

#[tokio::test]
async fn a_partition_that_stands_still_turns_healthz_red_until_it_moves_again() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    site.execute(
        "CREATE FUNCTION org_acme.slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_catalog.pg_sleep(1); RETURN NULL; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON org_acme.event EXECUTE FUNCTION org_acme.slow()",
    )
    .await;
    let service = Service::ready(site.serve("").env("ROLLBOOK_LOADER_STUCK_SECONDS", "5")).await;
    let events = played(1);
    service.post(&acme, Form::Json, &events).await.accepts(1);

    // A backend that does nothing and says nothing, on a connection that is well: only time tells.
    let storing = STORING.replace("{loader}", &site.role("loader"));
    let superuser = site.superuser().await;
    let mut backend = 0;
    eventually("a backend stores the event", async || {
        let found = superuser.query_opt(&storing, &[]).await.expect("a query");
        backend = found.map_or(0, |row| row.get(0));
        backend != 0
    })
    .await;
    signal("-STOP", backend).await;
    let mut last = serde_json::Value::Null;
    eventually("the partition is reported", async || {
        let reply = service.admin.get("/healthz").await;
        last = reply.json;
        reply.status == 503
    })
    .await;
    signal("-CONT", backend).await;
    assert!(last["silent_seconds"]["partitions"].as_u64().is_some_and(|seconds| seconds >= 5), "{last}");

    site.loaded("acme", 1).await;
    assert_eq!(site.stored_ids("acme").await, [id_of(&events[0])]);
    eventually("it is well again", async || service.admin.get("/healthz").await.status == 200).await;
}

#[tokio::test]
async fn a_loader_that_waits_for_postgres_at_its_start_is_not_stuck() {
    let site = Site::set_up().await;
    let nowhere = "postgres://loader:pw@127.0.0.1:1/nowhere";
    let serve = site
        .serve("--role loader")
        .env("ROLLBOOK_LOADER_STUCK_SECONDS", "5")
        .env("ROLLBOOK_LOADER_DATABASE_URL", nowhere);
    let service = Service::start(serve).await;
    // Longer than a partition may stand still.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(7);
    eventually("time passes", async || {
        let reply = service.admin.get("/healthz").await;
        assert_eq!(reply.status, 200, "{}", reply.json);
        std::time::Instant::now() > until
    })
    .await;
    assert_eq!(service.admin.get("/readyz").await.status, 503);
}

/// Most of what is there times out: that may be the server, so it is said, and nobody restarts the process for it. It goes on
/// for as long as time-outs are taken for the server's: they are held in the end.
#[tokio::test]
async fn ten_locked_organizations_turn_readyz_and_not_healthz_and_are_held_in_the_end() {
    let site = Site::set_up().await;
    let intake = Service::ready(site.serve("--role intake")).await;
    let mut organizations = Vec::new();
    for n in 0..10 {
        organizations.push(site.organization(&format!("school{n}")).await);
    }
    for organization in &organizations {
        eventually("its key is known", async || {
            intake.post(organization, Form::Json, &played(1)).await.status == 200
        })
        .await;
    }
    let tables: Vec<String> =
        organizations.iter().map(|organization| format!("org_{}.event", organization.slug)).collect();
    let locker = site.superuser().await;
    let lock = format!("BEGIN; LOCK TABLE {}", tables.join(", "));
    locker.batch_execute(&lock).await.expect("a lock");
    let loader = Service::start(site.serve("--role loader")).await;
    let is_held = "SELECT count(*) FROM rollbook.held_record";
    eventually("it is unready", async || {
        loader.admin.get("/readyz").await.json.to_string().contains("55P03")
    })
    .await;
    eventually("all are held", async || {
        let reply = loader.admin.get("/healthz").await;
        assert_eq!(reply.status, 200, "{}", reply.json);
        site.number(is_held).await == 10
    })
    .await;
    drop(locker);
    loader.becomes_ready().await;
}
