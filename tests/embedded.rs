//! One process, and no Kafka: the log in files of its own keeps the same promises.

mod at_rest;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Form, Organization, Ran, Rollbook, Service, Site, eventually, id_of, played};

/// A site whose log is a folder.
struct Local {
    site: Site,
    folder: TempDir,
}

impl Local {
    async fn set_up() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let local = Self { site: Site::empty().await, folder };
        local.rollbook("setup").run().await.done();
        local
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// A run without Kafka.
    fn rollbook(&self, words: &str) -> Rollbook {
        self.site.rollbook(words).with_embedded_log(&self.data())
    }

    fn serve(&self) -> Rollbook {
        self.rollbook("serve")
    }

    /// A run that asks the service about its log.
    async fn ask(&self, service: &Service, words: &str) -> Ran {
        self.rollbook(words).env("ROLLBOOK_ADMIN_ADDR", service.admin.address()).run().await
    }

    async fn organization(&self, slug: &str) -> Organization {
        self.site.organization(slug).await
    }

    /// Keeps the loader away from Postgres, or lets it in again.
    async fn let_loader_in(&self, is_in: bool) {
        let login = self.site.role("loader");
        let limit = if is_in { -1 } else { 0 };
        self.site.execute(&format!("ALTER ROLE {login} CONNECTION LIMIT {limit}")).await;
        if !is_in {
            let end = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{login}'"
            );
            self.site.number(&end).await;
        }
    }
}

async fn send(service: &Service, organization: &Organization, records: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..records {
        let events = played(10);
        service.post(organization, Form::Json, &events).await.accepts(10);
        ids.extend(events.iter().map(id_of));
    }
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_is_accepted_is_in_its_schema_across_a_kill_and_the_books_agree() {
    let local = Local::set_up().await;
    let (acme, birch) = (local.organization("acme").await, local.organization("birch").await);
    let service = Service::ready(local.serve()).await;
    let mut ids = send(&service, &acme, 5).await;
    send(&service, &birch, 3).await;
    local.site.loaded("acme", 50).await;
    local.site.loaded("birch", 30).await;
    let audited = local.ask(&service, "audit --json").await.done().json();
    assert_eq!((&audited["ok"], &audited["counts"]), (&json!(true), &json!("checked")), "{audited}");
    // Anchors are written every second.
    eventually("status says that nothing is left", async || {
        let status = local.ask(&service, "status --json").await.done().items();
        (&status[0]["stored"], &status[0]["lag_records"]) == (&json!(50), &json!(0))
    })
    .await;

    // Acknowledged, and nothing else is sure.
    local.let_loader_in(false).await;
    ids.extend(send(&service, &acme, 4).await);
    service.kill().await;
    local.let_loader_in(true).await;
    let service = Service::ready(local.serve()).await;
    local.site.loaded("acme", 90).await;
    ids.sort_unstable();
    assert_eq!(local.site.stored_ids("acme").await, ids);
    let audited = local.ask(&service, "audit --json").await.done().json();
    assert_eq!(audited["items"][0]["accepted"], 90, "{audited}");
    service.stop().await;

    // In order again: nothing is left to load, and nothing is loaded twice.
    let service = Service::ready(local.serve()).await;
    ids.extend(send(&service, &acme, 1).await);
    local.site.loaded("acme", 100).await;
    service.stop().await;
}

#[tokio::test]
async fn a_folder_is_one_processs_and_a_process_does_both() {
    let local = Local::set_up().await;
    let service = Service::ready(local.serve()).await;
    let addresses = |serve: Rollbook| {
        serve.env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0").env("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:0")
    };
    let second = addresses(local.serve()).run().await.exits(1);
    assert!(second.stderr.contains(local.data().to_str().expect("text")), "{}", second.stderr);
    let generation = "SELECT max(generation)::bigint FROM rollbook.log";
    local.rollbook("setup --new-generation").run().await.exits(1);
    assert_eq!(local.site.number(generation).await, 1, "nothing was changed while the process runs");
    // Before an upgrade the service that is to be replaced still runs. Anybody else in the folder is a fault.
    let looked = local.ask(&service, "serve --check --http-addr 127.0.0.1:0").await.done();
    let its = format!("the service at {} has it open, with 3 partitions", service.admin.address());
    assert!(
        looked.stdout.lines().any(|line| line.starts_with("ok     log ") && line.ends_with(&its)),
        "{}",
        looked.stdout
    );
    let looked = addresses(local.rollbook("serve --check")).run().await.exits(64);
    assert!(looked.stdout.contains("is in use by another process: a log has one; "), "{}", looked.stdout);
    service.stop().await;
    local.rollbook("setup --new-generation").run().await.done();
    assert_eq!(local.site.number(generation).await, 2);

    for (serve, said) in [
        (local.rollbook("serve --role intake"), "--role has to name"),
        (local.rollbook("serve --role loader"), "--role has to name"),
        (local.serve().env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1"), "ROLLBOOK_KAFKA_BROKERS"),
        (local.serve().env("ROLLBOOK_KAFKA_GROUP", "loaders"), "ROLLBOOK_KAFKA_GROUP"),
        (local.rollbook("setup --kafka-topic other"), "--kafka-topic is set"),
        (local.serve().env("ROLLBOOK_KAFKA_REPLICATION", "3"), "ROLLBOOK_KAFKA_REPLICATION"),
        (local.rollbook("setup").env("ROLLBOOK_KAFKA_GROUP", "loaders"), "ROLLBOOK_KAFKA_GROUP"),
    ] {
        let refused = addresses(serve).run().await.exits(64);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let neither = addresses(local.serve().without("ROLLBOOK_LOG")).run().await.exits(64);
    for way in ["ROLLBOOK_KAFKA_BROKERS", "ROLLBOOK_LOG=embedded"] {
        assert!(neither.stderr.contains(way), "{}", neither.stderr);
    }
}

#[tokio::test]
async fn a_full_log_refuses_out_loud_keeps_all_that_is_not_loaded_and_recovers_by_itself() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let serve = local.serve().env("ROLLBOOK_LOG_RETENTION_BYTES", "1048576");
    let service = Service::ready(serve).await;
    local.let_loader_in(false).await;
    let mut accepted = 0;
    let refused = loop {
        let reply = service.post(&acme, Form::Json, &played(500)).await;
        match reply.status.as_u16() {
            200 => accepted += 500,
            _ => break reply,
        }
        assert!(accepted < 100_000, "it is never full");
    };
    refused.refuses(503, "log_unavailable");
    assert!(accepted >= 5_000, "{accepted} events are no megabyte");
    eventually("intake says so", async || service.admin.get("/readyz").await.status == 503).await;
    assert_eq!(service.admin.get("/healthz").await.status, 200);
    let taken = service.metric("rollbook_log_bytes").await;
    assert!(taken <= 1_048_576.0, "{taken}");
    eventually("nothing of it can go", async || {
        service.metric("rollbook_log_unloaded_bytes").await == service.metric("rollbook_log_bytes").await
    })
    .await;

    local.let_loader_in(true).await;
    local.site.loaded("acme", accepted).await;
    eventually("it takes batches again", async || {
        service.post(&acme, Form::Json, &played(1)).await.status == 200
    })
    .await;
    service.becomes_ready().await;
    let unloaded = "rollbook_log_unloaded_bytes";
    eventually("all of it can go", async || service.metric(unloaded).await == 0.0).await;
    service.stop().await;
}

/// A full log forgets as soon as it may. A loader that dies while it catches up is followed by one that begins at the anchor.
#[tokio::test]
async fn a_full_log_that_catches_up_forgets_nothing_that_the_next_process_begins_with() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let serve = || {
        local
            .serve()
            .env("ROLLBOOK_LOG_PARTITIONS", "1")
            .env("ROLLBOOK_LOG_RETENTION_BYTES", "1048576")
            // A record a flush: the anchor has fewer places than the low-water mark.
            .env("ROLLBOOK_LOADER_BATCH_ROWS", "5")
    };
    local.rollbook("setup").env("ROLLBOOK_LOG_PARTITIONS", "1").run().await.done();
    let mut accepted = 0;
    for _ in 0..3 {
        let service = Service::ready(serve()).await;
        local.let_loader_in(false).await;
        let before = accepted;
        loop {
            match service.post(&acme, Form::Json, &played(5)).await.status.as_u16() {
                200 => accepted += 5,
                _ => break,
            }
            assert!(accepted < 100_000, "it is never full");
        }
        assert!(accepted > before + 5 * 300, "places for the anchor lie 256 records apart");
        let full = service.metric("rollbook_log_bytes").await;
        local.let_loader_in(true).await;
        eventually("it forgets a part", async || service.metric("rollbook_log_bytes").await < full).await;
        service.kill().await;
    }
    let service = Service::ready(serve()).await;
    local.site.loaded("acme", accepted).await;
    eventually("nothing is left", async || {
        let standing = local.ask(&service, "status acme --json").await.done().items()[0].clone();
        assert_eq!(standing["stopped"], json!(null), "{standing}");
        standing["lag_records"] == json!(0)
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn behind_a_log_that_was_lost_all_that_is_accepted_is_kept_until_a_person_has_decided() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let serve = || local.serve().env("ROLLBOOK_LOG_RETENTION_BYTES", "1048576");
    let service = Service::ready(serve()).await;
    send(&service, &acme, 30).await;
    local.site.loaded("acme", 300).await;
    service.stop().await;
    fs::remove_dir_all(local.data()).expect("it is ours");

    let service = Service::ready_or_not(serve()).await;
    eventually("the loader says so", async || {
        let reply = service.admin.get("/readyz").await.json;
        reply["loader"]["reason"].as_str().is_some_and(|said| said.contains("ends at offset 0, below 30"))
    })
    .await;
    let (mut accepted, mut records) = (0, 0);
    let refused = loop {
        let reply = service.post(&acme, Form::Json, &played(500)).await;
        match reply.status.as_u16() {
            200 => (accepted, records) = (accepted + 500, records + 1),
            _ => break reply,
        }
        assert!(accepted < 100_000, "what is not loaded goes");
    };
    let refused = refused.refuses(503, "log_unavailable");
    assert!(refused.json["detail"].as_str().is_some_and(|said| said.contains("none of them is stored")));
    let standing = local.ask(&service, "status acme --json").await.done().items()[0].clone();
    assert!(standing["lag_records"].as_i64().is_some_and(|lag| lag >= records), "{standing}");
    assert!(standing["stopped"].as_str().is_some_and(|said| said.contains("another log")), "{standing}");
    service.stop().await;

    // Whoever says so from another folder may mean another log, or none.
    let elsewhere = local.rollbook("setup --new-generation").env("ROLLBOOK_DATA_DIR", "not-here").run().await;
    elsewhere.exits(1);
    local.rollbook("setup --new-generation").run().await.done();
    let service = Service::ready(serve()).await;
    local.site.loaded("acme", 300 + accepted).await;
    service.stop().await;
}

/// Changes a byte of a record that holds this text, also under a process that has the file open.
fn damage(folder: &Path, text: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let bytes = fs::read(entry.path()).expect("a file");
        if let Some(at) = memchr::memmem::find(&bytes, text.as_bytes()) {
            let file = fs::OpenOptions::new().write(true).open(entry.path()).expect("a file");
            file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("it can be written");
            return;
        }
    }
    panic!("no segment holds {text}");
}

#[tokio::test]
async fn damage_stops_its_partition_alone_until_a_person_gives_it_up() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let other = local.site.organization_beside("acme").await;
    let service = Service::ready(local.serve()).await;
    send(&service, &acme, 1).await;
    local.site.loaded("acme", 10).await;
    local.let_loader_in(false).await;
    send(&service, &acme, 1).await;
    let mut marked = played(1);
    marked[0]["content_id"] = json!("the-damaged-one");
    service.post(&acme, Form::Json, &marked).await.accepts(1);
    send(&service, &acme, 2).await;
    send(&service, &other, 1).await;
    service.kill().await;
    damage(&local.data(), "the-damaged-one");

    local.let_loader_in(true).await;
    let service = Service::ready(local.serve()).await;
    local.site.loaded(&other.slug, 10).await;
    eventually("the loader says so", async || {
        let reply = service.admin.get("/readyz").await.json;
        reply["loader"]["reason"].as_str().is_some_and(|said| said.contains("damaged at offset 2"))
    })
    .await;
    local.site.loaded("acme", 20).await;
    let stopped = local.ask(&service, "status acme --json").await.done().items()[0]["stopped"].clone();
    assert!(stopped.as_str().is_some_and(|said| said.contains("damaged at offset 2")), "{stopped}");
    assert!(service.said().contains("the log is damaged"));
    // Not in silence: what is behind it waits.
    assert_eq!(local.site.stored_ids("acme").await.len(), 20);
    service.stop().await;

    let given_up = local.rollbook("setup --new-generation --json").run().await.done().json();
    assert_eq!(given_up["damage_given_up"], 1, "{given_up}");
    let service = Service::ready(local.serve()).await;
    eventually("what is left is loaded", async || local.site.stored_ids("acme").await.len() == 40).await;
    assert_eq!(local.ask(&service, "status acme --json").await.done().items()[0]["stopped"], Value::Null);
    service.stop().await;
}

/// The loader has read past it, and left the records in the log for want of room.
#[tokio::test]
async fn damage_that_is_met_where_the_log_is_read_again_stops_its_partition_and_is_said() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let serve = local
        .serve()
        .env("ROLLBOOK_LOADER_LANE_MEMORY_BYTES", "65536")
        .env("ROLLBOOK_LOADER_LOG_CHECK_SECONDS", "1");
    let service = Service::ready(serve).await;
    send(&service, &acme, 1).await;
    local.site.loaded("acme", 10).await;
    local.let_loader_in(false).await;
    send(&service, &acme, 150).await;
    let mut marked = played(1);
    marked[0]["content_id"] = json!("the-damaged-one");
    service.post(&acme, Form::Json, &marked).await.accepts(1);
    send(&service, &acme, 5).await;
    damage(&local.data(), "the-damaged-one");

    local.let_loader_in(true).await;
    eventually("the loader says so", async || {
        let reply = service.admin.get("/readyz").await.json;
        reply["loader"]["reason"].as_str().is_some_and(|said| said.contains("damaged at offset 151"))
    })
    .await;
    assert_eq!(local.site.stored_ids("acme").await.len(), 1_510, "what stands before it");
    service.stop().await;
    local.rollbook("setup --new-generation").run().await.done();
    let service = Service::ready(local.serve()).await;
    eventually("what is left is loaded", async || local.site.stored_ids("acme").await.len() == 1_560).await;
    service.stop().await;
}

#[tokio::test]
async fn the_operators_listener_tells_which_events_there_are_and_nothing_that_they_say() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let service = Service::ready(local.serve()).await;
    let mut event = played(1);
    event[0]["viewer_id"] = json!("a-viewer-of-ours");
    service.post(&acme, Form::Json, &event).await.accepts(1);
    let partition = rollbook::log::partition_of("acme", 3);
    let page = format!("/log/records?partition={partition}&from=0&to=1");
    let told = service.admin.get(&page).await;
    assert_eq!(told.status, 200);
    let id: uuid::Uuid = id_of(&event[0]).parse().expect("an id");
    assert!(memchr::memmem::find(&told.body, id.as_bytes()).is_some());
    assert!(memchr::memmem::find(&told.body, b"a-viewer-of-ours").is_none());
    assert_eq!(service.admin.get("/log/records?partition=99&from=0&to=1").await.status, 503);
    assert_eq!(service.admin.get("/log/records").await.status, 400);
    assert_eq!(service.intake().get("/log").await.status, 404, "it is the operator's alone");
    service.stop().await;
}

#[tokio::test]
async fn a_site_that_outgrows_one_process_moves_to_kafka_and_loses_nothing() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let service = Service::ready(local.serve()).await;
    let mut ids = send(&service, &acme, 6).await;
    // Drain, stop. What was accepted is loaded: the books say so while the process is still there.
    local.site.loaded("acme", 60).await;
    local.ask(&service, "audit").await.done();
    service.stop().await;

    // Another log is no slip of a setting.
    let refused = local.site.run("setup").await.exits(1);
    assert!(refused.stderr.contains("--new-generation"), "{}", refused.stderr);
    local.site.run("setup --new-generation").await.done();
    let service = Service::ready(local.site.serve("")).await;
    ids.extend(send(&service, &acme, 4).await);
    local.site.loaded("acme", 100).await;
    ids.sort_unstable();
    assert_eq!(local.site.stored_ids("acme").await, ids);
    service.stop().await;
    local.site.run("audit").await.done();
}
