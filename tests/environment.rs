//! Settings, exit codes, and what must never be printed.

use crate::harness::{Hole, Rollbook, Service, Site, eventually};

/// A URL that leads nowhere: nothing here gets as far as Postgres.
const URL: &str = "postgres://ann:hunter2@127.0.0.1:1/nowhere";

#[tokio::test]
async fn an_unknown_variable_stops_the_start_and_the_nearest_is_named() {
    let ran = Rollbook::new("org list")
        .env("ROLLBOOK_DATABASE_URL", URL)
        .env("ROLLBOOK_ADMIN_DATABASE_URI", "hunter2")
        .run()
        .await
        .exits(64);
    assert!(ran.stderr.contains("ROLLBOOK_ADMIN_DATABASE_URI"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nearest is ROLLBOOK_ADMIN_DATABASE_URL"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test]
async fn what_kubernetes_injects_is_let_pass_and_so_is_any_commands_setting() {
    let ran = Rollbook::new("org list --json")
        .env("ROLLBOOK_DATABASE_URL", URL)
        .env("ROLLBOOK_PORT_8080_TCP_ADDR", "10.0.0.1")
        .env("ROLLBOOK_SERVICE_HOST", "10.0.0.1")
        .env("ROLLBOOK_KAFKA_SERVICE_HOST", "10.0.0.2")
        .env("ROLLBOOK_KAFKA_SERVICE_PORT_TCP_CLIENT", "9092")
        .env("ROLLBOOK_KAFKA_PORT", "tcp://10.0.0.2:9092")
        .env("ROLLBOOK_POSTGRESQL_PORT_5432_TCP_PROTO", "tcp")
        .env("ROLLBOOK_ADMIN_PORT_9090_TCP", "tcp://10.0.0.3:9090")
        .env("ROLLBOOK_MIGRATE_JOBS", "2")
        .run()
        .await
        .exits(1);
    assert_eq!(ran.error_code(), "database_unavailable");
}

#[tokio::test]
async fn a_missing_database_is_said_with_both_names_that_would_do() {
    let ran = Rollbook::new("org list --json").run().await.exits(64);
    assert_eq!(ran.error_code(), "missing_setting");
    for name in ["ROLLBOOK_ADMIN_DATABASE_URL", "ROLLBOOK_DATABASE_URL"] {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let ran = Rollbook::new("org list --json")
        .env("ROLLBOOK_ADMIN_DATABASE_URL", "")
        .env("ROLLBOOK_ROLE_PREFIX", "")
        .run()
        .await
        .exits(64);
    assert_eq!(ran.error_code(), "missing_setting");
}

#[tokio::test]
async fn a_bad_value_is_64_from_the_environment_and_2_from_a_flag() {
    let cases = [
        (Rollbook::new("org list").env("ROLLBOOK_ROLE_PREFIX", "Not-A-Prefix"), 64),
        (Rollbook::new("org list --role-prefix Not-A-Prefix"), 2),
        (Rollbook::new("org list --role-prefix=Not-A-Prefix"), 2),
        (Rollbook::new("org list").env("ROLLBOOK_ADMIN_DATABASE_URL", "mysql://x"), 64),
        (Rollbook::new("org list --admin-database-url mysql://x"), 2),
        (Rollbook::new("migrate").env("ROLLBOOK_MIGRATE_JOBS", "0"), 64),
        (Rollbook::new("migrate --jobs 0"), 2),
        (Rollbook::new("migrate --jobs 0").env("ROLLBOOK_MIGRATE_JOBS", "0"), 2),
        (Rollbook::new("serve").env("RUST_LOG", "=[["), 64),
        (Rollbook::new("serve --log-filter =[["), 2),
        (Rollbook::new("org show Acme"), 2),
        (Rollbook::new("org fly acme"), 2),
        (Rollbook::new("key revoke 7"), 2),
        (Rollbook::new(""), 2),
    ];
    for (rollbook, code) in cases {
        rollbook.run().await.exits(code);
    }
}

#[tokio::test]
async fn a_wrong_value_is_told_by_the_name_that_it_was_given_under() {
    let ran = Rollbook::new("serve").env("ROLLBOOK_HTTP_ADDR", "here").run().await.exits(64);
    assert!(ran.stderr.contains("ROLLBOOK_HTTP_ADDR is 'here'"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--http-addr"), "{}", ran.stderr);
    let ran = Rollbook::new("serve --http-addr here").env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0").run().await;
    let ran = ran.exits(2);
    assert!(ran.stderr.contains("--http-addr"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("ROLLBOOK_HTTP_ADDR"), "{}", ran.stderr);

    let ran = Rollbook::new("org list").env("ROLLBOOK_DATABASE_URL", "mysql://x").run().await.exits(64);
    assert_eq!(ran.stderr, "error: ROLLBOOK_DATABASE_URL must start with postgres://\n");
    let ran = Rollbook::new("org list --database-url mysql://x").run().await.exits(2);
    assert_eq!(ran.stderr, "error: --database-url must start with postgres://\n");
}

#[tokio::test]
async fn all_that_is_wrong_or_missing_is_told_at_once() {
    let wrong = || {
        Rollbook::new("serve --drain-seconds 0")
            .env("ROLLBOOK_HTTP_ADDR", "here")
            .env("ROLLBOOK_LOG_FORMAT", "xml")
            .env("ROLLBOOK_HTTP_STREAM", "7")
            .env("ROLLBOOK_LOADER_LOCK_TIMEOUT_MS", "10000")
            .env("ROLLBOOK_INTAKE_DATABASE_URL", URL)
    };
    let ran = wrong().run().await.exits(2);
    for part in [
        "'--drain-seconds <SECONDS>': 0 is not in 1..=3600",
        "ROLLBOOK_HTTP_ADDR is 'here'",
        "ROLLBOOK_LOG_FORMAT is 'xml': it can be text, json",
        "ROLLBOOK_HTTP_STREAM; the nearest is ROLLBOOK_HTTP_STREAMS",
        "ROLLBOOK_LOADER_DATABASE_URL (or",
        "ROLLBOOK_LOADER_LOCK_TIMEOUT_MS (10000) must be below",
        "set ROLLBOOK_KAFKA_BROKERS for Kafka, or ROLLBOOK_LOG=embedded",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("INTAKE_DATABASE_URL"), "{}", ran.stderr);
    let lines = ran.stderr.lines().count();
    assert_eq!(lines, 8, "a line for each, and how many: {}", ran.stderr);

    let setup = Rollbook::new("setup --json").env("ROLLBOOK_HTTP_STREAM", "7").run().await.exits(64);
    assert_eq!(setup.error_code(), "unknown_setting");
    for part in ["ROLLBOOK_HTTP_STREAMS", "ROLLBOOK_ADMIN_DATABASE_URL", "ROLLBOOK_KAFKA_BROKERS"] {
        assert!(setup.stderr.contains(part), "{part}: {}", setup.stderr);
    }
}

#[tokio::test]
async fn a_contradiction_is_told_beside_what_is_missing() {
    let ran = Rollbook::new("serve --json-not").run().await.exits(2);
    assert!(ran.stderr.contains("--json-not"), "{}", ran.stderr);
    let ran = Rollbook::new("serve")
        .env("ROLLBOOK_LOADER_LOCK_TIMEOUT_MS", "9000")
        .env("ROLLBOOK_LOADER_STATEMENT_TIMEOUT_MS", "5000")
        .run()
        .await
        .exits(64);
    for part in ["LOCK_TIMEOUT_MS (9000)", "STATEMENT_TIMEOUT_MS (5000)", "ROLLBOOK_KAFKA_BROKERS"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn what_follows_from_a_refused_value_is_not_told_as_well() {
    for serve in [Rollbook::new("serve").env("ROLLBOOK_LOG", "x"), Rollbook::new("serve --log x")] {
        let said = serve.env("ROLLBOOK_DATABASE_URL", URL).run().await.stderr;
        assert!(said.contains("kafka, embedded") && !said.contains("no log is chosen"), "{said}");
        assert!(!said.contains("things are wrong"), "{said}");
    }
    // Its default would not go with the other.
    let said = Rollbook::new("serve")
        .env("ROLLBOOK_DATABASE_URL", URL)
        .env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1")
        .env("ROLLBOOK_IN_FLIGHT_BYTES", "64MiB")
        .env("ROLLBOOK_MAX_UNPACKED_BYTES", "67108864")
        .run()
        .await
        .exits(64)
        .stderr;
    assert_eq!(
        said,
        "error: ROLLBOOK_IN_FLIGHT_BYTES is '64MiB': it must be a whole number, in digits alone\n"
    );
}

#[tokio::test]
async fn a_contradiction_is_told_by_the_names_that_its_settings_were_given_under() {
    let serve = |flags: &str| Rollbook::new(&format!("serve {flags}")).env("ROLLBOOK_DATABASE_URL", URL);
    for (serve, told) in [
        (
            serve("--log embedded --role intake"),
            "--log is `embedded`, a log of one process: --role has to name",
        ),
        (
            serve("--log embedded --kafka-brokers a:1").env("ROLLBOOK_KAFKA_GROUP", "loaders"),
            "--log is `embedded`, and --kafka-brokers, ROLLBOOK_KAFKA_GROUP are set",
        ),
        (
            serve("--log embedded --http-addr 127.0.0.1:9090"),
            "--http-addr (127.0.0.1:9090) and ROLLBOOK_ADMIN_ADDR (127.0.0.1:9090)",
        ),
        (
            serve("--log embedded --in-flight-bytes 262144"),
            "--in-flight-bytes (262144) must be at least ROLLBOOK_MAX_UNPACKED_BYTES (2097152)",
        ),
    ] {
        let said = serve.run().await.exits(64).stderr;
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[tokio::test]
async fn why_a_value_is_refused_is_said_in_words_for_everyone() {
    let jobs = Rollbook::new("migrate --jobs 0").env("ROLLBOOK_DATABASE_URL", URL).run().await.exits(2);
    assert_eq!(
        jobs.stderr,
        "error: invalid value '0' for '--jobs <N>': it must be at least 1\n\nFor more information, try '--help'.\n"
    );
    let serve = Rollbook::new("serve --admin-addr :9090")
        .env("ROLLBOOK_DEFAULT_RATE_LIMIT", "0")
        .env("ROLLBOOK_LOG_PARTITIONS", "x")
        .env("ROLLBOOK_LOG_RETENTION_BYTES", "5")
        .env("ROLLBOOK_HTTP_ADDR", "localhost:8080")
        .env("ROLLBOOK_ROLE", "intake,");
    let said = serve.run().await.exits(2).stderr;
    for part in [
        "invalid value ':9090' for '--admin-addr <IP:PORT>': it must be IP:PORT, such as 0.0.0.0:8080",
        "ROLLBOOK_DEFAULT_RATE_LIMIT is '0': it must be at least 1",
        "ROLLBOOK_LOG_PARTITIONS is 'x': it must be a whole number, in digits alone",
        "ROLLBOOK_LOG_RETENTION_BYTES is '5': it must be at least 1048576",
        "ROLLBOOK_HTTP_ADDR is 'localhost:8080': it must be IP:PORT",
        "ROLLBOOK_ROLE is 'intake,', with '' in it: it can be intake, loader, reporter",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_secret_may_stand_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let site = Site::set_up().await;
    let url = file("url", &(site.admin_url() + "\n"));
    let by_file = |path: &str| {
        site.rollbook("org list --json")
            .without("ROLLBOOK_ADMIN_DATABASE_URL")
            .env("ROLLBOOK_ADMIN_DATABASE_URL_FILE", path)
    };
    assert!(by_file(&url).run().await.done().items().is_empty());
    let with_a_blank = file("blank", &(site.admin_url() + " \n"));
    assert!(by_file(&with_a_blank).run().await.done().items().is_empty());
    // An empty variable counts as unset, here too.
    let beside_nothing = by_file(&url).env("ROLLBOOK_ADMIN_DATABASE_URL", "");
    assert!(beside_nothing.run().await.done().items().is_empty());
    // A content may be called as a command is.
    let of_a_content = site
        .rollbook("report acme rebuild --json")
        .without("ROLLBOOK_ADMIN_DATABASE_URL")
        .env("ROLLBOOK_ADMIN_DATABASE_URL_FILE", &url);
    assert_eq!(of_a_content.run().await.exits(1).error_code(), "organization_not_found");

    for (path, why) in [
        (
            file("mysql", "mysql://ann:hunter2@x"),
            "ROLLBOOK_ADMIN_DATABASE_URL_FILE must start with postgres://",
        ),
        (
            file("two", "postgres://ann:hunter2@127.0.0.1:1/eyes\nhunter2"),
            "ROLLBOOK_ADMIN_DATABASE_URL_FILE has a line break",
        ),
        (file("empty", "\n"), "it is empty"),
        (folder.path().join("nothing").to_str().expect("text").to_owned(), "No such file"),
    ] {
        let ran = by_file(&path).run().await.exits(64);
        assert_eq!(ran.error_code(), "bad_setting");
        assert!(ran.stderr.contains(why) && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("is not set"), "{}", ran.stderr);
    }
    let ran = by_file(&url).env("ROLLBOOK_ADMIN_DATABASE_URL", URL).run().await.exits(64);
    assert_eq!(ran.error_code(), "contradiction");
    let ran = by_file(&url).env("ROLLBOOK_ADMIN_DATABASE_URI_FILE", "x").run().await.exits(64);
    assert!(ran.stderr.contains("nearest is ROLLBOOK_ADMIN_DATABASE_URL_FILE"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_service_says_by_which_settings_it_runs_and_no_secret() {
    let site = Site::set_up().await;
    // An empty variable counts as unset: its default is in effect.
    let serve = site.serve("--role intake --drain-seconds 7").env("ROLLBOOK_HTTP_STREAMS", "");
    let service = Service::start(serve).await;
    let said = service.said();
    let settings = |from: &str| {
        let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut of_it = lines.filter(|line| line["message"] == "settings in effect" && line["from"] == from);
        let settings = of_it.next().expect("they are said")["settings"].as_str().expect("text").to_owned();
        assert!(of_it.next().is_none(), "once");
        settings
    };
    assert_eq!(settings("the command line"), "ROLLBOOK_ROLE=intake ROLLBOOK_DRAIN_SECONDS=7");
    assert!(settings("variables").contains("ROLLBOOK_INTAKE_DATABASE_URL=… "), "{said}");
    assert!(settings("variables").contains("ROLLBOOK_HTTP_ADDR=127.0.0.1:0"), "{said}");
    assert!(settings("defaults").contains("ROLLBOOK_HTTP_STREAMS=128"), "{said}");
    // Nobody wrote it: it follows from the brokers.
    assert!(settings("defaults").contains("ROLLBOOK_LOG=kafka "), "{said}");
    assert!(!said.contains("password"), "{said}");
    service.stop().await;
}

#[tokio::test]
async fn the_two_listeners_of_serve_contradict_each_other_at_one_address() {
    for http_addr in ["127.0.0.1:9090", "0.0.0.0:9090"] {
        let serve = Rollbook::new("serve").env("ROLLBOOK_DATABASE_URL", URL);
        let ran = serve.env("ROLLBOOK_HTTP_ADDR", http_addr).run().await.exits(64);
        assert!(ran.stderr.contains(&format!("ROLLBOOK_HTTP_ADDR ({http_addr})")), "{}", ran.stderr);
        assert!(ran.stderr.contains("ROLLBOOK_ADMIN_ADDR (127.0.0.1:9090)"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn help_and_version_are_answers() {
    for words in
        ["--help", "org --help", "org set --help", "--version", "migrate --help", "help", "help org add"]
    {
        let ran = Rollbook::new(words).env("ROLLBOOK_DATABASE_URL", URL).run().await.done();
        assert!(ran.stdout.contains("rollbook"), "{words}: {}", ran.stdout);
        assert!(!ran.stdout.contains("hunter2"), "{words}: {}", ran.stdout);
    }
}

#[tokio::test]
async fn wrong_arguments_are_told_by_what_has_to_be_written_whatever_the_environment_sets() {
    let run = async |words| Rollbook::new(words).env("ROLLBOOK_ADMIN_DATABASE_URL", URL).run().await.exits(2);
    let ran = run("org show").await;
    assert!(ran.stderr.contains("Usage: rollbook org show [OPTIONS] <SLUG>"), "{}", ran.stderr);
    let ran = run("org set acme").await;
    assert!(ran.stderr.contains("Usage: rollbook org set [OPTIONS] <--name"), "{}", ran.stderr);
    for words in ["", "org", "key", "held", "dead-letters"] {
        let ran = run(words).await;
        assert!(ran.stderr.contains("Commands:") && !ran.stderr.contains("error:"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test]
async fn a_write_key_where_something_else_was_asked_for_is_not_repeated() {
    let secret = "ntdgRnwQoSu1zlxxPVvbGwBnkA9iXzzOGBNKRYhaTZK3R3pbG";
    for words in ["key revoke", "org show", "held list", "org fly", "org add acme --name"] {
        for json in ["", " --json"] {
            let ran = Rollbook::new(&format!("{words}{json} rb_{secret}"))
                .env("ROLLBOOK_DATABASE_URL", URL)
                .run()
                .await;
            assert!(!ran.stderr.contains(secret) && !ran.stderr.is_empty(), "{words}: {}", ran.stderr);
        }
    }
    let ran = Rollbook::new(&format!("key revoke rb_{secret}")).run().await.exits(2);
    assert!(ran.stderr.contains("rollbook key list SLUG"), "{}", ran.stderr);
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_is_a_failure_and_a_reader_that_left_is_none() {
    let site = Site::set_up().await;
    let ran = site.rollbook("org add acme --json").into_file("/dev/full").await;
    assert_eq!(ran.exits(1).error_code(), "answer_not_written");
    assert_eq!(site.run("org show acme --json").await.done().json()["state"], "active");
    site.rollbook("org list").into_closed_pipe().await.done();
}

#[tokio::test]
async fn no_failure_prints_a_password() {
    let flags = [
        format!("org list --admin-database-url {URL}"),
        format!("org list --admin-database-url {URL}?sslmode=maybe"),
        "org list --admin-database-url hunter2".to_owned(),
        format!("org list --database-url {URL} --json"),
        format!("org list {URL}"),
        format!("setup --database-url {URL}?hunter2=1"),
    ];
    for words in flags {
        let ran = Rollbook::new(&words).run().await;
        assert!(!ran.stderr.contains("hunter2"), "{words}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{words}");
    }
}

#[tokio::test]
async fn a_kafka_property_that_cannot_be_used_is_named_and_its_value_is_not_shown() {
    let site = Site::set_up().await;
    for words in ["setup", "status", "audit --json", "serve"] {
        let ran = site
            .rollbook(words)
            .env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1")
            .env("ROLLBOOK_KAFKA_PROPERTIES", "security.protocol=SASL_SSL,sasl.pasword=hunter2")
            .run()
            .await
            .exits(64);
        assert!(ran.stderr.contains("`sasl.pasword`"), "{words}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2") && ran.stdout.is_empty(), "{words}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn why_postgres_refuses_a_login_is_in_the_log_and_its_password_is_not() {
    let site = Site::set_up().await;
    let wrong = site.url(&site.role("intake"), "hunter2");
    let serve = site.serve("--role intake").env("ROLLBOOK_INTAKE_DATABASE_URL", &wrong);
    let service = Service::start(serve).await;
    for first in ["a login's rights could not be checked yet", "organizations cannot be read"] {
        eventually("the log says why", async || {
            let said = service.said();
            said.lines().any(|line| line.contains(first) && line.contains("password authentication failed"))
        })
        .await;
    }
    assert!(!service.said().contains("hunter2"), "{}", service.said());
    let reason = service.admin.get("/readyz").await.json["intake"]["reason"].to_string();
    assert!(reason.contains("password authentication failed") && !reason.contains("hunter2"), "{reason}");
    service.stop().await;
}

#[tokio::test]
async fn a_postgres_that_says_nothing_is_an_answer_to_every_command() {
    let hole = Hole::open();
    let url = format!("postgres://ann:hunter2@{}/x?connect_timeout=1", hole.address());
    for words in ["status", "audit", "setup", "migrate", "org list", "key list acme", "serve --check"] {
        let ran = Rollbook::new(words)
            .env("ROLLBOOK_DATABASE_URL", &url)
            .env("ROLLBOOK_LOG", "embedded")
            .env("ROLLBOOK_DATA_DIR", env!("CARGO_TARGET_TMPDIR"))
            .run()
            .await;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let is_told = said.contains("`ann`") && said.contains("has not answered within 1 s");
        assert!(is_told && !said.contains("hunter2"), "{words}: {said}");
    }
}

#[tokio::test]
async fn three_urls_must_name_one_database_and_the_services_two_logins() {
    let site = Site::empty().await;
    let elsewhere = "postgres://ann:pw@127.0.0.1:1/elsewhere";
    let ran = site.rollbook("setup").env("ROLLBOOK_LOADER_DATABASE_URL", elsewhere).run().await.exits(64);
    assert!(ran.stderr.contains("ROLLBOOK_LOADER_DATABASE_URL"), "{}", ran.stderr);
    assert!(ran.stderr.contains("ROLLBOOK_ADMIN_DATABASE_URL"), "{}", ran.stderr);

    let one = site.url(&site.role("both"), "pw");
    let ran = site
        .rollbook("setup --json")
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &one)
        .env("ROLLBOOK_LOADER_DATABASE_URL", &one)
        .run()
        .await
        .exits(64);
    assert_eq!(ran.error_code(), "contradiction");
}

#[tokio::test]
async fn a_database_without_setup_is_told_from_one_that_is_away() {
    let site = Site::empty().await;
    assert_eq!(site.run("org list --json").await.exits(1).error_code(), "not_set_up");
}
