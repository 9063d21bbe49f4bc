//! A flag that changes nothing beside the others is a slip, and refused. A variable is not: the environment is every command's.

use crate::harness::Rollbook;

const ADMIN: (&str, &str) =
    ("ROLLBOOK_ADMIN_DATABASE_URL", "postgres://nobody:hunter2@127.0.0.1:1/nowhere?sslmode=disable");
/// Nobody answers there.
const BROKERS: (&str, &str) = ("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1");

fn rollbook(words: &str, variables: &[(&str, &str)]) -> Rollbook {
    variables.iter().fold(Rollbook::new(words), |run, (name, value)| run.env(name, value))
}

#[tokio::test]
async fn a_flag_that_changes_nothing_is_refused_by_name() {
    let service = [
        ("ROLLBOOK_DATABASE_URL", ADMIN.1),
        ("ROLLBOOK_ALLOW_PRIVILEGED_LOGIN", "true"),
        ("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0"),
        ("ROLLBOOK_ADMIN_ADDR", "127.0.0.1:0"),
        BROKERS,
    ];
    for (words, variables, flag) in [
        ("demo --kafka-brokers 127.0.0.1:1", &[][..], "--kafka-brokers"),
        ("demo --kafka-properties security.protocol=ssl", &[BROKERS], "--kafka-properties"),
        ("audit --data-dir elsewhere", &[ADMIN, BROKERS], "--data-dir"),
        ("audit --admin-addr 127.0.0.1:1", &[ADMIN, BROKERS], "--admin-addr"),
        ("status --data-dir elsewhere", &[ADMIN], "--data-dir"),
        ("status --kafka-topic other", &[ADMIN], "--kafka-topic"),
        ("setup --data-dir elsewhere", &service, "--data-dir"),
        ("serve --data-dir elsewhere", &service, "--data-dir"),
        ("serve --log kafka --log-retention-bytes 1048576", &service, "--log-retention-bytes"),
        (
            "serve --kafka-group-protocol consumer --kafka-session-timeout-ms 6000",
            &service,
            "--kafka-session-timeout-ms",
        ),
    ] {
        let refused = rollbook(words, variables).run().await.exits(2);
        assert!(refused.stderr.starts_with(&format!("error: {flag} ")), "{words}: {}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{words}: {}", refused.stderr);
    }
    let refused = rollbook("audit --json --data-dir elsewhere", &[ADMIN, BROKERS]).run().await.exits(2);
    assert_eq!(refused.error_code(), "bad_arguments");
}

#[tokio::test]
async fn a_demos_log_is_chosen_by_its_own_flag_which_is_named() {
    for words in ["demo --log kafka", "demo --log=embedded", "demo --kafka --log kafka"] {
        let refused = Rollbook::new(words).run().await.exits(2);
        assert!(
            refused.stderr.contains("--log") && refused.stderr.contains("'--kafka'"),
            "{}",
            refused.stderr
        );
    }
}

#[tokio::test]
async fn a_command_has_no_flag_of_what_it_does_not_use() {
    for words in [
        "demo --data-dir elsewhere",
        "demo --kafka --kafka-topic other",
        "held drain acme --loader-connections 9",
    ] {
        Rollbook::new(words).run().await.exits(2);
    }
    let drain = rollbook("held drain acme --json", &[ADMIN, ("ROLLBOOK_LOADER_CONNECTIONS", "9")]);
    assert_eq!(drain.run().await.exits(1).error_code(), "database_unavailable");
}

#[tokio::test]
async fn a_variable_that_another_command_needs_is_let_pass() {
    let elsewhere = ("ROLLBOOK_DATA_DIR", "elsewhere");
    let audit = rollbook("audit --json", &[ADMIN, BROKERS, elsewhere]).run().await.exits(1);
    assert_eq!(audit.error_code(), "database_unavailable");
    for log in ["kafka", "embedded"] {
        let variables = [BROKERS, elsewhere, ("ROLLBOOK_LOG", log)];
        let demo = rollbook("demo --json --postgres-bin /nowhere", &variables).run().await.exits(1);
        assert_eq!(demo.error_code(), "no_postgres");
    }
    // Something else that is wrong comes first: it may be the reason.
    let serve = rollbook("serve --data-dir elsewhere", &[("ROLLBOOK_DATABASE_URL", ADMIN.1)]);
    let serve = serve.run().await.exits(64);
    assert!(serve.stderr.contains("ROLLBOOK_LOG=embedded"), "{}", serve.stderr);
}
