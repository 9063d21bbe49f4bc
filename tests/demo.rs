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
    let wide = |line: &&&str| !line.contains(" s  accepted ") && line.chars().count() > 80;
    assert!(!lines.iter().any(|line| wide(&line)), "{}", ran.stdout);
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

/// What a demo that runs has said so far holds this.
async fn has_said(file: &Path, what: &str) {
    eventually(what, async || std::fs::read_to_string(file).is_ok_and(|said| said.contains(what))).await;
}

async fn ends(demo: &mut tokio::process::Child) -> std::process::ExitStatus {
    // Less than what it waits for by itself where nothing answers.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), demo.wait()).await;
    ended.expect("it ends").expect("a child of ours")
}

fn id(demo: &tokio::process::Child) -> String {
    demo.id().expect("it runs").to_string()
}

/// Segments of shared memory on this machine, as the system lists them: an id, and the process that made it.
fn segments() -> Vec<(String, String)> {
    let listed = std::fs::read_to_string("/proc/sysvipc/shm").expect("segments");
    let column = |line: &str, at| line.split_whitespace().nth(at).unwrap_or_default().to_owned();
    listed.lines().skip(1).map(|line| (column(line, 1), column(line, 4))).collect()
}

/// Those that this folder's processes made, and what they have in memory's own folder.
fn shared_memory_of(folder: &Path) -> Vec<String> {
    let ours: Vec<String> = processes(folder).into_iter().map(|(id, _)| id).collect();
    let segments = segments().into_iter().filter(|(_, maker)| ours.contains(maker)).map(|(id, _)| id);
    let maps = ours.iter().map(|id| std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default());
    let mapped: Vec<String> = maps.collect();
    let files =
        mapped.iter().flat_map(|maps| maps.split_whitespace()).filter(|word| word.starts_with("/dev/shm/"));
    segments.chain(files.map(str::to_owned)).collect()
}

fn is_there(memory: &str) -> bool {
    Path::new(memory).exists() || segments().iter().any(|(id, _)| id == memory)
}

#[tokio::test]
async fn a_demo_that_draws_ends_in_order_where_its_terminal_goes_away() {
    let (folder, said) = (folder(), tempfile::NamedTempFile::new().expect("a file"));
    let mut terminal =
        demo("", folder.path()).at_a_terminal("stty rows 24 cols 80; exec ").start_into(said.path());
    has_said(said.path(), "maple_school").await;
    terminal.kill().await.expect("a child of ours");
    eventually("the end of its folder", async || {
        std::fs::read_dir(folder.path()).expect("a folder").count() == 0
    })
    .await;
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn what_nobody_reads_any_more_ends_in_order() {
    let folder = folder();
    let ran = demo("", folder.path()).into_closed_pipe().await.done();
    assert!(ran.stderr.contains("==> audit"), "{}", ran.stderr);
    nothing_is_left(folder.path()).await;
}

/// At whatever step it is: PostgreSQL's shared memory outlasts a process that is killed.
#[tokio::test]
async fn a_demo_that_is_stopped_while_it_starts_leaves_no_shared_memory_behind() {
    for step in ["initdb -D", "postgres -D", "rollbook serve"] {
        let (folder, said) = (folder(), tempfile::NamedTempFile::new().expect("a file"));
        let mut demo = demo("", folder.path()).start_into(said.path());
        let mut made: Vec<String> = Vec::new();
        eventually(step, async || {
            made.extend(shared_memory_of(folder.path()));
            processes(folder.path()).iter().any(|(_, line)| line.contains(step) && !line.contains("read -r"))
        })
        .await;
        made.extend(shared_memory_of(folder.path()));
        signal("-INT", &id(&demo));
        assert_eq!(ends(&mut demo).await.code(), Some(1));
        let said = std::fs::read_to_string(said.path()).expect("text");
        assert!(said.contains("nothing is left behind"), "{step}: {said}");
        let left: Vec<_> = made.iter().filter(|one| is_there(one)).collect();
        assert!(left.is_empty(), "{step}: {left:?}");
        nothing_is_left(folder.path()).await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_even_where_its_postgres_stands_still() {
    let (folder, said) = (folder(), tempfile::NamedTempFile::new().expect("a file"));
    let mut demo = demo("", folder.path()).start_into(said.path());
    has_said(said.path(), "stored").await;
    for (process, _) in processes(folder.path()).iter().filter(|(_, line)| line.contains("postgres")) {
        signal("-STOP", process);
    }
    signal("-INT", &id(&demo));
    // Though its database answers nothing.
    has_said(said.path(), "Ctrl-C").await;
    eventually("its end", async || {
        // The first ones may come so soon that they are one with the first signal.
        demo.try_wait().expect("a child of ours").is_some() || {
            signal("-TERM", &id(&demo));
            false
        }
    })
    .await;
    let said = std::fs::read_to_string(said.path()).expect("text");
    assert!(said.contains("a second signal ended it at once") && said.contains("nothing is left"), "{said}");
    nothing_is_left(folder.path()).await;
}

#[tokio::test]
async fn a_part_that_ends_by_itself_is_quoted() {
    for (part, says) in [
        ("postgres -D", "PostgreSQL ended by itself: "),
        ("rollbook serve", "rollbook serve ended by itself: "),
    ] {
        let (folder, said) = (folder(), tempfile::NamedTempFile::new().expect("a file"));
        let mut demo = demo("", folder.path()).env("OTEL_SERVICE_NAME", "of-ours").start_into(said.path());
        has_said(said.path(), "stored").await;
        let all = processes(folder.path());
        let (process, _) =
            all.iter().find(|(_, line)| line.contains(part) && !line.contains("read -r")).expect("it runs");
        let environment = std::fs::read_to_string(format!("/proc/{process}/environ")).expect("it runs");
        let is_ours = part == "rollbook serve";
        assert!(
            !is_ours || (environment.contains("ROLLBOOK_") && !environment.contains("OTEL_")),
            "{environment}"
        );
        // Both end by it: PostgreSQL without waiting for who is connected.
        signal("-INT", process);
        assert_eq!(ends(&mut demo).await.code(), Some(1));
        let said = std::fs::read_to_string(said.path()).expect("text");
        let quoted = said.split_once(says).unwrap_or_else(|| panic!("{says}: {said}")).1;
        assert!(quoted.trim().len() > 20, "{said}");
        nothing_is_left(folder.path()).await;
    }
}

#[tokio::test]
async fn a_temporary_folder_may_have_a_long_name_and_programs_be_named_from_here() {
    let (folder, found) = (folder(), folder());
    let long = folder.path().join("x".repeat(120));
    std::fs::create_dir(&long).expect("ours");
    let bin = std::env::var("TEST_POSTGRES_BIN").expect("./dev test sets it");
    std::os::unix::fs::symlink(&bin, found.path().join("bin")).expect("ours");
    let script = format!("TMPDIR={} rollbook demo --seconds 1 --json --postgres-bin bin", long.display());
    let ran = Rollbook::new("").by_shell(&script, found.path()).run().await.done();
    assert_eq!(ran.json()["audit_ok"], true);
    nothing_is_left(&long).await;
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
