//! The demo, as who starts it for the first time: nothing is configured, and nothing is left behind.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Rollbook, Site, eventually};

/// A run with nothing of ours in its environment, and temporary folders in one of its own.
fn demo(words: &str, folder: &Path) -> Rollbook {
    Rollbook::new(&format!("demo {words}"))
        .env("TMPDIR", folder.to_str().expect("text"))
        .env("PATH", &std::env::var("PATH").unwrap_or_default())
}

fn folder() -> tempfile::TempDir {
    // PostgreSQL may run as another user, who has to get through; so not below somebody's home.
    let folder = tempfile::tempdir().expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("ours");
    folder
}

/// Neither files nor processes that work in them.
async fn nothing_is_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    no_process_is_left(folder).await;
}

async fn no_process_is_left(folder: &Path) {
    eventually("the end of all processes", async || processes(folder).is_empty()).await;
}

/// The ids and command lines of all processes that know this folder, by their words or by their environment.
fn processes(folder: &Path) -> Vec<(String, String)> {
    let name = folder.to_str().expect("text");
    let text = |path: &Path, file: &str| {
        let bytes = std::fs::read(path.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let all = std::fs::read_dir("/proc").expect("processes").flatten().map(|process| process.path());
    let ours =
        all.filter(|path| text(path, "cmdline").contains(name) || text(path, "environ").contains(name));
    let id = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ours.map(|path| (id(&path), text(&path, "cmdline"))).collect()
}

fn number(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_else(|| panic!("{name} in {answer}"))
}

#[tokio::test]
async fn it_shows_that_what_was_accepted_is_stored_and_leaves_nothing_behind() {
    let folder = folder();
    let answer = demo("--seconds 4 --json", folder.path()).run().await.done().json();
    let (accepted, stored) = (number(&answer, "accepted"), number(&answer, "stored"));
    assert_eq!(accepted, stored + number(&answer, "duplicate"), "{answer}");
    assert!(accepted > 100 && number(&answer, "rejected") > 0, "{answer}");
    assert!(answer["seconds"].as_f64().is_some_and(|seconds| seconds >= 4.0), "{answer}");
    assert_eq!(answer["audit_ok"], true);
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn without_a_terminal_it_says_a_line_a_second_and_the_audit_last() {
    let folder = folder();
    let ran = demo("--seconds 3", folder.path()).run().await.done();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines.iter().filter(|line| line.contains("accepted/s") || line.contains(" s  accepted ")).count()
            >= 2
    );
    assert!(lines.last().is_some_and(|line| line.starts_with("audit: ok")), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "no control characters: {}", ran.stdout);
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn on_kafka_it_has_a_topic_of_its_own_and_removes_it() {
    let (folder, site) = (folder(), Site::empty().await);
    let run = demo("--seconds 3 --json --kafka", folder.path()).env("ROLLBOOK_KAFKA_BROKERS", site.brokers());
    let answer = run.run().await.done().json();
    assert_eq!(answer["audit_ok"], true, "{answer}");
    assert!(number(&answer, "accepted") > 50, "{answer}");
    nothing_is_left(folder.path()).await;
}

/// Waits until both run: PostgreSQL, and the service.
async fn all_runs(folder: &Path) {
    for part in ["postgres -D", "rollbook serve"] {
        let runs = async || processes(folder).iter().any(|(_, line)| line.contains(part));
        eventually(part, runs).await;
    }
}

fn signal(signal: &str, process: &str) {
    let sent =
        std::process::Command::new("kill").args([signal, process]).status().expect("kill is installed");
    assert!(sent.success(), "{process} is gone");
}

#[tokio::test]
async fn a_demo_whose_terminal_is_closed_ends_in_order() {
    let folder = folder();
    let mut demo = demo("--json", folder.path()).start();
    all_runs(folder.path()).await;
    signal("-HUP", &demo.id().expect("it runs").to_string());
    demo.wait().await.expect("a child of ours");
    nothing_is_left(folder.path()).await;
}

/// As a machine does that is short of memory.
#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_process_behind_and_the_next_one_removes_its_folder() {
    let folder = folder();
    let mut killed = demo("--json", folder.path()).start();
    all_runs(folder.path()).await;
    killed.kill().await.expect("a child of ours");
    no_process_is_left(folder.path()).await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let next = demo("--seconds 1", folder.path()).run().await.done();
    assert!(next.stderr.contains("which a demo left that was killed"), "{}", next.stderr);
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn what_runs_on_after_a_demo_was_killed_is_ended_by_the_next_one() {
    let folder = folder();
    let mut killed = demo("--json", folder.path()).start();
    all_runs(folder.path()).await;
    // Those who would tell the others that it is gone.
    for (watcher, _) in processes(folder.path()).iter().filter(|(_, line)| line.contains("read -r _")) {
        signal("-KILL", watcher);
    }
    killed.kill().await.expect("a child of ours");
    all_runs(folder.path()).await;
    demo("--seconds 1 --json", folder.path()).run().await.done();
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn what_is_missing_is_said_in_a_line() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere");
    let words = format!("--seconds 1 --json --postgres-bin {}", nowhere.display());
    let ran = demo(&words, folder.path()).run().await.exits(1);
    assert_eq!(ran.error_code(), "no_postgres");
    nothing_is_left(folder.path()).await;
    let unset = demo("--seconds 1 --kafka", folder.path()).run().await.exits(64);
    assert!(unset.stderr.contains("ROLLBOOK_KAFKA_BROKERS"), "{}", unset.stderr);
}
