//! `rollbook serve --check`, and what packagers ask for.

use crate::harness::{Rollbook, Site};

#[tokio::test]
async fn a_site_that_is_fit_to_serve_is_said_to_be_line_by_line() {
    let site = Site::set_up().await;
    let ran = site.run("serve --check").await.done();
    for check in ["settings", "descriptors", "intake's login", "loader's login", "log"] {
        assert!(
            ran.stdout.lines().any(|line| line.starts_with(&format!("ok     {check}"))),
            "{}",
            ran.stdout
        );
    }
    let answer = site.run("serve --check --json").await.done().json();
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(5), "{answer}");
    // It looked, and left nothing behind.
    assert_eq!(site.number("SELECT count(*) FROM rollbook.organization").await, 0);
}

#[tokio::test]
async fn all_that_is_wrong_is_found_and_not_only_the_first() {
    let site = Site::set_up().await;
    let ran = site
        .rollbook("serve --check --json")
        .env("ROLLBOOK_DRAIN_SECONDS", "never")
        .env("ROLLBOOK_DRAIN_SECOND", "1")
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &site.url(&site.role("intake"), "hunter2"))
        .env("ROLLBOOK_LOADER_DATABASE_URL", &site.admin_url())
        .env("ROLLBOOK_KAFKA_TOPIC", "no.such.topic")
        .run()
        .await
        .exits(64);
    assert_eq!(ran.error_code(), "check_failed");
    let items = ran.items();
    let wrong: Vec<(&str, &str)> = items
        .iter()
        .filter(|item| item["ok"] == false)
        .filter_map(|item| Some((item["check"].as_str()?, item["message"].as_str()?)))
        .collect();
    for (check, part) in [
        ("settings", "ROLLBOOK_DRAIN_SECONDS is 'never'"),
        ("settings", "nearest is ROLLBOOK_DRAIN_SECONDS"),
        ("intake's login", "password authentication failed"),
        ("loader's login", "may do more than it needs"),
        ("log", "no.such.topic"),
    ] {
        assert!(
            wrong.iter().any(|(of, why)| *of == check && why.contains(part)),
            "{check}, {part}: {wrong:#?}"
        );
    }
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_log_that_the_settings_are_at_odds_over_is_not_called_fit() {
    let site = Site::set_up().await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("log");
    let brokers = site.rollbook("serve --check").env("ROLLBOOK_LOG", "embedded");
    let said = brokers.env("ROLLBOOK_DATA_DIR", data.to_str().expect("text")).run().await.exits(64).stdout;
    assert!(said.contains("ROLLBOOK_LOG is `embedded`, and ROLLBOOK_KAFKA_BROKERS"), "{said}");
    assert!(!said.contains("ok     log") && !data.exists(), "{said}");
}

#[tokio::test]
async fn a_database_without_setup_is_not_fit_to_serve() {
    let site = Site::empty().await;
    let login = site.admin_url();
    let ran = site
        .rollbook("serve --check --role intake")
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &login)
        .env("ROLLBOOK_ALLOW_PRIVILEGED_LOGIN", "true")
        .run()
        .await
        .exits(64);
    assert!(ran.stdout.contains("wrong  intake's login"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("loader's login"), "{}", ran.stdout);
    // Wrong words are no matter of the settings.
    Rollbook::new("serve --check --role fly").run().await.exits(2);
    Rollbook::new("serve --json").run().await.exits(2);
}

#[tokio::test]
async fn a_server_that_will_not_do_is_said_to_be_one_where_nothing_was_set_up() {
    let site = Site::empty().await;
    site.make_anew("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let check = site
        .rollbook("serve --check --role intake")
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &site.admin_url())
        .env("ROLLBOOK_ALLOW_PRIVILEGED_LOGIN", "true");
    let said = check.run().await.exits(64).stdout;
    assert!(said.contains("SQL_ASCII") && said.contains("does not exist"), "{said}");
}

#[tokio::test]
async fn packagers_get_completions_and_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Rollbook::new(&format!("completions {shell}")).run().await.done();
        assert!(ran.stdout.contains("dead-letters"), "{shell}: {}", ran.stdout);
    }
    assert!(Rollbook::new("man").run().await.done().stdout.contains(".TH rollbook 1"));
    let folder = tempfile::tempdir().expect("a folder");
    Rollbook::new("man --dir").arg(folder.path().to_str().expect("text")).run().await.done();
    let page = std::fs::read_to_string(folder.path().join("rollbook-org-add.1")).expect("a page of its own");
    assert!(page.contains("first write key"), "{page}");
}
