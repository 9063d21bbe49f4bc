//! No process has the folder open: `audit` and `status` look at it themselves, and change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Local, send};
use crate::harness::{Form, Ran, Rollbook, Service, eventually, id_of, played};

/// An address at which nobody answers.
const NOBODY: &str = "127.0.0.1:1";

impl Local {
    fn at_rest(&self, words: &str) -> Rollbook {
        self.rollbook(words).env("ROLLBOOK_ADMIN_ADDR", NOBODY)
    }

    async fn look(&self, words: &str) -> Ran {
        self.at_rest(words).run().await
    }
}

/// Each file with all that is in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .map(|entry| {
            (entry.file_name().into_string().expect("text"), fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[tokio::test]
async fn an_audit_between_a_crash_and_the_next_start_finds_what_is_there_and_changes_nothing() {
    let local = Local::set_up().await;
    let (acme, birch) = (local.organization("acme").await, local.organization("birch").await);
    let serve = || local.serve().env("ROLLBOOK_LOG_RETENTION_BYTES", "1048576");
    let service = Service::ready(serve()).await;
    send(&service, &acme, 3).await;
    send(&service, &birch, 2).await;
    local.site.loaded("acme", 30).await;
    local.site.loaded("birch", 20).await;
    // Anchors are written every second.
    eventually("status says that nothing is left", async || {
        let items = local.ask(&service, "status --json").await.done().items();
        items.iter().all(|one| one["lag_records"] == json!(0))
    })
    .await;
    local.let_loader_in(false).await;
    send(&service, &acme, 2).await;
    service.kill().await;
    local.let_loader_in(true).await;
    // What a crash cuts off, as well.
    let last = files(&local.data()).into_keys().rfind(|name| name != "lock").expect("segments");
    let mut bytes = fs::read(local.data().join(&last)).expect("a file");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("frames").next_multiple_of(8) + 8;
    bytes[end..end + 40].fill(7);
    fs::write(local.data().join(&last), bytes).expect("it can be written");
    let before = files(&local.data());

    let audited = local.look("audit --json").await.done().json();
    assert_eq!((&audited["ok"], &audited["counts"]), (&json!(true), &json!("checked")), "{audited}");
    let of_acme = &audited["items"][0];
    assert_eq!(
        (&of_acme["accepted"], &of_acme["stored"], &of_acme["in_flight"]),
        (&json!(50), &json!(30), &json!(20))
    );
    let status = local.look("status --json").await.done();
    assert_eq!(status.items()[0]["lag_records"], json!(2), "{}", status.stdout);
    assert_eq!(status.stderr, "");
    assert!(files(&local.data()) == before, "nothing was changed");

    let service = Service::ready(serve()).await;
    assert!(service.said().contains("was cut off by a crash"));
    local.site.loaded("acme", 50).await;
    service.stop().await;
    let audited = local.look("audit --json").await.done().json();
    assert_eq!((&audited["items"][0]["stored"], &audited["counts"]), (&json!(50), &json!("checked")));
}

#[tokio::test]
async fn a_row_that_is_gone_while_the_service_is_stopped_is_missing() {
    let local = Local::set_up().await;
    let acme = local.organization("acme").await;
    let service = Service::ready(local.serve()).await;
    let events = played(5);
    service.post(&acme, Form::Json, &events).await.accepts(5);
    local.site.loaded("acme", 5).await;
    service.stop().await;
    local.look("audit").await.done();
    let gone = id_of(&events[3]);
    local.site.execute(&format!("DELETE FROM org_acme.event WHERE event_id = '{gone}'")).await;
    let audited = local.look("audit --json").await.exits(1);
    assert_eq!(audited.json()["items"][0]["missing"], json!([gone]));
    assert_eq!(audited.error_code(), "audit_difference");
}

#[tokio::test]
async fn a_log_that_neither_a_process_tells_of_nor_its_folder_is_said_with_both_names() {
    let local = Local::set_up().await;
    local.organization("acme").await;
    // It was never started.
    let folder = local.data();
    let said = local.look("audit").await.exits(1).stderr;
    for part in [NOBODY, "ROLLBOOK_ADMIN_ADDR", "ROLLBOOK_DATA_DIR", folder.to_str().expect("text"), "no log"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let status = local.look("status --json").await.done();
    assert_eq!(status.items()[0]["lag_records"], json!(null));
    assert!(!folder.exists(), "a look makes nothing");

    let service = Service::ready(local.serve()).await;
    let said = local.look("audit --json").await.exits(1);
    assert_eq!(said.error_code(), "log_unavailable");
    assert!(said.stderr.contains("in use by another process"), "{}", said.stderr);
    service.stop().await;
}

#[tokio::test]
async fn a_service_that_starts_during_a_look_waits_for_it() {
    let local = Local::set_up().await;
    local.organization("acme").await;
    Service::ready(local.serve()).await.stop().await;
    let look = fs::File::open(local.data().join("lock")).expect("it was open once");
    look.try_lock_shared().expect("nobody has it");
    // Others may look meanwhile.
    local.look("audit").await.done();
    let serve =
        local.serve().env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0").env("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:0");
    let mut starting = serve.start();
    let mut said = BufReader::new(starting.stderr.take().expect("a pipe")).lines();
    let mut says = async |what: &str| {
        while let Some(line) = said.next_line().await.expect("text") {
            assert!(!line.contains("serving") || what == "serving", "it did not wait: {line}");
            if line.contains(what) {
                return;
            }
        }
        panic!("it ended and never said: {what}");
    };
    says("another process looks at the log").await;
    drop(look);
    says("serving").await;
    starting.kill().await.expect("a child of ours");
}

#[tokio::test]
async fn a_check_looks_at_the_folder_and_changes_nothing() {
    let local = Local::set_up().await;
    let other = || local.at_rest("serve --check").env("ROLLBOOK_LOG_PARTITIONS", "13");
    let differs = "the log in this folder has 3 partitions, and the settings ask for 13\n";
    let said = local.look("serve --check").await.done().stdout;
    let not_yet =
        format!("there is no log in `{}` yet: it will be made, with 3 partitions", local.data().display());
    assert!(said.contains(&not_yet), "{said}");
    assert!(!local.data().exists(), "a look makes nothing");

    let service = Service::ready(local.serve()).await;
    let running =
        other().env("ROLLBOOK_ADMIN_ADDR", service.admin.address()).env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0");
    let said = running.run().await.exits(64).stdout;
    assert!(said.contains("wrong  log ") && said.ends_with(differs), "{said}");
    service.stop().await;

    let before = files(&local.data());
    let said = local.look("serve --check").await.done().stdout;
    assert!(said.contains("can be opened, with 3 partitions"), "{said}");
    let said = other().run().await.exits(64).stdout;
    assert!(said.contains("wrong  log ") && said.ends_with(differs), "{said}");
    assert!(files(&local.data()) == before, "nothing was changed");
}
