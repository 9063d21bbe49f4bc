//! The life of an organization after `org add`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Site, sqlstate};

#[tokio::test]
async fn list_and_show_answer_with_what_the_contract_names() {
    let site = Site::with(&["birch"]).await;
    site.rollbook("org add acme --name").arg("Acme School").run().await.done();
    let items = site.run("org list --json").await.done().items();
    let slugs: Vec<&Value> = items.iter().map(|item| &item["organization"]).collect();
    assert_eq!(slugs, ["acme", "birch"]);

    let acme = site.run("org show acme --json").await.done().json();
    assert_eq!(acme, items[0]);
    let names: Vec<&String> = acme.as_object().expect("an object").keys().collect();
    assert_eq!(
        names,
        [
            "completion",
            "created_at",
            "id",
            "name",
            "organization",
            "origins",
            "rate_limit",
            "schema",
            "state"
        ]
    );
    assert_eq!(acme["completion"], 0.9);
    assert_eq!((&acme["name"], &acme["schema"]), (&json!("Acme School"), &json!("org_acme")));
    assert_eq!((&acme["rate_limit"], &acme["origins"]), (&Value::Null, &json!([])));
    let created_at = acme["created_at"].as_str().expect("a time");
    assert!(created_at.ends_with('Z') && created_at.parse::<jiff::Timestamp>().is_ok(), "{created_at}");
}

#[tokio::test]
async fn suspend_and_resume_can_be_repeated_and_are_written_down_once() {
    let site = Site::with(&["acme"]).await;
    for (words, state) in [
        ("org suspend acme", "suspended"),
        ("org suspend acme", "suspended"),
        ("org resume acme", "active"),
        ("org resume acme", "active"),
    ] {
        assert_eq!(site.run(&format!("{words} --json")).await.done().json()["state"], state);
    }
    let trail = "SELECT action FROM rollbook.admin_event WHERE organization_id IS NOT NULL ORDER BY id";
    assert_eq!(site.texts(trail).await, ["org.add", "org.ready", "org.suspend", "org.resume"]);
}

#[tokio::test]
async fn set_changes_what_is_named_and_leaves_the_rest() {
    let site = Site::with(&["acme"]).await;
    let set = "org set acme --json --rate-limit 250 --origin https://a.example --origin https://b.example";
    let acme = site.run(set).await.done().json();
    assert_eq!(acme["rate_limit"], 250);
    assert_eq!(acme["origins"], json!(["https://a.example", "https://b.example"]));

    let acme = site.rollbook("org set acme --json --name").arg("Acme & Co").run().await.done().json();
    assert_eq!((&acme["name"], &acme["rate_limit"]), (&json!("Acme & Co"), &json!(250)));

    let acme = site.run("org set acme --json --rate-limit default --origin any").await.done().json();
    assert_eq!((&acme["rate_limit"], &acme["origins"]), (&Value::Null, &json!([])));

    site.run("org set acme --origin any").await.done();
    let trail = "SELECT what::text FROM rollbook.admin_event WHERE action = 'org.set' ORDER BY id";
    assert_eq!(
        site.texts(trail).await,
        [
            r#"{"origins": ["https://a.example", "https://b.example"], "rate_limit": 250}"#,
            r#"{"name": "Acme & Co"}"#,
            r#"{"origins": [], "rate_limit": null}"#,
        ]
    );
}

#[tokio::test]
async fn set_refuses_what_no_browser_sends_and_what_changes_nothing() {
    let site = Site::with(&["acme"]).await;
    for words in ["", "--rate-limit 0", "--rate-limit -5", "--origin example.org", "--origin http://a:b:c"] {
        site.run(&format!("org set acme {words}")).await.exits(2);
    }
    for written in ["https://a.example:443", "https://A.example/"] {
        let said = site.run(&format!("org set acme --origin {written}")).await.exits(2).stderr;
        assert!(said.contains("browsers write this origin as `https://a.example`"), "{said}");
    }
    // Of these one says every origin and the other says one.
    let said = site.run("org set acme --origin any --origin https://x.example").await.exits(2).stderr;
    assert!(said.contains("--origin is `any`, which is every origin, and others beside it"), "{said}");
    assert_eq!(site.run("org show acme --json").await.done().json()["origins"], json!([]));
}

#[tokio::test]
async fn an_unknown_organization_is_not_found_by_any_command() {
    let site = Site::set_up().await;
    for words in [
        "org show acme",
        "org suspend acme",
        "org resume acme",
        "org set acme --name X",
        "org remove acme --yes",
        "key add acme",
        "key list acme",
        "migrate --org acme",
        "status acme",
    ] {
        let ran = site.run(&format!("{words} --json")).await.exits(1);
        assert_eq!(ran.error_code(), "organization_not_found", "{words}");
        assert_eq!(ran.stdout, "", "{words}");
    }
}

#[tokio::test]
async fn removal_asks_and_takes_no_answer_from_a_script() {
    let site = Site::with(&["acme"]).await;
    assert_eq!(site.run("org remove acme --json").await.exits(1).error_code(), "not_confirmed");
    assert_eq!(site.run("org remove birch --json").await.exits(1).error_code(), "organization_not_found");
    assert_eq!(site.run("org show acme --json").await.done().json()["state"], "active");
}

#[tokio::test]
async fn removal_on_a_terminal_takes_nothing_but_the_slug_typed_once_more() {
    let site = Site::with(&["acme"]).await;
    for typed in ["yes\n", "\n", "Acme\n"] {
        let ran = site.rollbook("org remove acme").on_a_terminal(typed).await.exits(1);
        assert!(ran.stdout.contains("Every event of acme will be deleted"), "{}", ran.stdout);
        assert_eq!(site.run("org show acme --json").await.done().json()["state"], "active");
    }
    site.rollbook("org remove acme").on_a_terminal("acme\n").await.done();
    assert_eq!(site.run("org show acme --json").await.done().json()["state"], "removed");
}

/// What is left in Postgres under an organization's names.
async fn left_of_acme(site: &Site) -> Vec<String> {
    site.texts(&format!(
        "SELECT rolname::text FROM pg_roles WHERE rolname IN ('{}', '{}') \
         UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname = 'org_acme'",
        site.role("org_acme"),
        site.role("reader_acme")
    ))
    .await
}

#[tokio::test]
async fn removal_takes_schema_roles_keys_and_held_records_and_keeps_the_row() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute(
        "INSERT INTO rollbook.held_record (generation, partition, log_offset, organization_id, record, events, reason) \
         SELECT 1, 0, row_number() OVER (), id, 'x', 3, 'test' FROM rollbook.organization",
    )
    .await;
    let removed = site.run("org remove acme --yes --json").await.done().json();
    assert_eq!(removed["state"], "removed");
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
    let live = "SELECT count(*) FROM rollbook.write_key WHERE revoked_at IS NULL";
    assert_eq!(site.number(live).await, 1, "birch's key lives");
    assert_eq!(site.number("SELECT count(*) FROM rollbook.held_record").await, 1, "birch's record is held");
    let trail = "SELECT what::text FROM rollbook.admin_event WHERE action = 'org.remove'";
    assert_eq!(
        site.texts(trail).await,
        [r#"{"state": "removed", "keys_revoked": 1, "held_records_deleted": 1}"#]
    );
    site.run("org remove acme --yes").await.done();
    assert_eq!(site.texts(trail).await.len(), 1, "a second removal changes nothing");
}

#[tokio::test]
async fn a_removed_slug_is_never_used_again() {
    let site = Site::with(&["acme"]).await;
    site.run("org remove acme --yes").await.done();
    for words in
        ["org add acme", "org suspend acme", "org set acme --name X", "key add acme", "migrate --org acme"]
    {
        let ran = site.run(&format!("{words} --json")).await.exits(1);
        assert_eq!(ran.error_code(), "organization_removed", "{words}");
    }
    assert_eq!(site.run("org show acme --json").await.done().json()["state"], "removed");
}

#[tokio::test]
async fn a_removal_that_was_interrupted_is_finished_by_the_same_command() {
    let site = Site::with(&["acme"]).await;
    site.execute("UPDATE rollbook.organization SET state = 'removed'").await;
    site.run("org remove acme --yes").await.done();
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn removal_leaves_what_somebody_else_made_under_the_same_name() {
    let site = Site::with(&["acme"]).await;
    site.execute("COMMENT ON SCHEMA org_acme IS 'of the accounting department'").await;
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert_eq!(ran.error_code(), "not_swept");
    assert!(ran.stderr.contains("the schema `org_acme` does not bear"), "{}", ran.stderr);
    assert!(left_of_acme(&site).await.contains(&"org_acme".to_owned()));
}

/// A restore can leave comments out. What is the organization's all the same is not left behind in silence.
#[tokio::test]
async fn what_lost_its_mark_is_removed_where_it_proves_whose_it_is_and_named_where_it_does_not() {
    let site = Site::with(&["acme"]).await;
    let (reader, writer) = (site.role("reader_acme"), site.role("org_acme"));
    site.execute(&format!(
        "COMMENT ON SCHEMA org_acme IS NULL; COMMENT ON ROLE {reader} IS NULL; COMMENT ON ROLE {writer} IS NULL"
    ))
    .await;
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert_eq!(ran.error_code(), "not_swept");
    assert_eq!(left_of_acme(&site).await, [writer.clone(), reader.clone()], "the events are gone");
    for role in [&writer, &reader] {
        let ran = site.run("org remove acme --yes").await.exits(1);
        let command = ran.stderr.find("COMMENT ON ROLE").map(|at| &ran.stderr[at..]);
        let command = command.and_then(|text| text.split_once(')')).map(|(command, _)| command);
        let command = command.unwrap_or_else(|| panic!("what to type: {}", ran.stderr));
        assert!(command.contains(role.as_str()), "{command}");
        site.execute(command).await;
    }
    site.run("org remove acme --yes").await.done();
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_schema_that_was_renamed_goes_with_its_organization() {
    let site = Site::with(&["acme"]).await;
    site.execute("ALTER SCHEMA org_acme RENAME TO kept").await;
    site.run("org remove acme --yes").await.done();
    assert_eq!(site.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'kept'").await, 0);
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_readers_of_a_removed_organization_read_no_more_even_while_a_lock_keeps_its_tables() {
    let site = Site::with(&["acme"]).await;
    let reading = site.session_of("reader_acme").await;
    reading.batch_execute("BEGIN; SELECT FROM org_acme.event").await.expect("it reads");
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert_eq!(ran.error_code(), "not_swept");
    assert!(ran.stderr.contains(", in a transaction for 1"), "who has the lock: {}", ran.stderr);
    let another = site.session_of("reader_acme").await;
    assert_eq!(sqlstate(&another.batch_execute("SELECT FROM org_acme.event").await), Some("42501"));
    drop((reading, another));
    site.run("org remove acme --yes").await.done();
}

/// Any login may take any advisory lock, and keep it.
#[tokio::test]
async fn an_analyst_keeps_no_administrator_waiting_by_the_locks_that_anybody_may_take() {
    let site = Site::with(&["acme", "birch"]).await;
    let analyst = site.superuser().await;
    let locks = "SELECT pg_advisory_lock(('x' || left(encode(sha256(('rollbook ' || what)::bytea), 'hex'), 16))::bit(64)::bigint) \
                 FROM unnest(ARRAY['setup', 'org_acme', 'org_birch', 'org_cedar', '\"org_birch\".event_stored']) AS what";
    analyst.batch_execute(locks).await.expect("locks");
    let become_analyst = format!("SET SESSION AUTHORIZATION {}", site.role("reader_acme"));
    analyst.batch_execute(&become_analyst).await.expect("an analyst");
    site.take_back("birch").await;
    site.execute("DROP INDEX org_birch.event_stored").await;
    for words in ["setup", "org add cedar", "migrate", "org remove acme --yes"] {
        site.run(words).await.done();
    }
}

#[tokio::test]
async fn keys_are_revoked_beside_a_removal_and_neither_fails() {
    let site = Site::set_up().await;
    for round in 0..4 {
        let slug = format!("acme_{round}");
        site.add(&slug).await;
        for _ in 0..3 {
            site.run(&format!("key add {slug}")).await.done();
        }
        let keys = "SELECT k.id::text FROM rollbook.write_key k JOIN rollbook.organization o ON o.id = organization_id";
        let keys = site.texts(&format!("{keys} WHERE slug = '{slug}'")).await;
        let revoke = async |key: &String| site.run(&format!("key revoke {key}")).await;
        let remove = format!("org remove {slug} --yes");
        let (revoked, removed) = tokio::join!(join_all(keys.iter().map(revoke)), site.run(&remove));
        removed.done();
        revoked.into_iter().for_each(|ran| drop(ran.done()));
    }
}

#[tokio::test]
async fn a_role_that_is_still_in_use_does_not_keep_the_events_and_the_command_can_be_repeated() {
    let site = Site::with(&["acme"]).await;
    let reader = site.role("reader_acme");
    site.execute(&format!("CREATE TABLE public.extra (id int); GRANT SELECT ON public.extra TO {reader}"))
        .await;
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert_eq!(ran.error_code(), "not_swept");
    for said in [&reader, "public.extra", "run the same command again"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert_eq!(left_of_acme(&site).await, [reader]);
    site.execute("DROP TABLE public.extra").await;
    site.run("org remove acme --yes").await.done();
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
}

/// What hangs on acme's schema from outside, one thing of each kind.
const HANGING: &str = "
    CREATE SCHEMA reports;
    CREATE VIEW reports.pair AS SELECT event_id FROM org_acme.event UNION ALL SELECT event_id FROM org_birch.event;
    CREATE VIEW reports.above AS SELECT count(*) FROM reports.pair;
    CREATE MATERIALIZED VIEW reports.kept AS SELECT event_id FROM org_acme.watch_event;
    CREATE INDEX ON reports.kept (event_id);
    CREATE TABLE reports.marks (event_id uuid REFERENCES org_acme.event, mark integer);
    CREATE FUNCTION org_acme.grade(integer) RETURNS integer LANGUAGE sql RETURN $1 + 1;
    CREATE TABLE reports.grades (id integer DEFAULT org_acme.grade(1));
    CREATE FUNCTION reports.first() RETURNS uuid LANGUAGE sql BEGIN ATOMIC SELECT event_id FROM org_acme.event; END;
    CREATE TYPE org_acme.kind AS ENUM ('a');
    CREATE TABLE reports.kinds (kind org_acme.kind, other integer);
    CREATE TABLE org_acme.own (id integer PRIMARY KEY);
    CREATE VIEW org_acme.over_own AS SELECT * FROM org_acme.own;
    CREATE FUNCTION reports.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touch BEFORE INSERT ON org_acme.own FOR EACH ROW EXECUTE FUNCTION reports.touch();";

const HANGS: [&str; 7] = [
    "column kind of table reports.kinds",
    "constraint marks_event_id_fkey on table reports.marks",
    "default value for column id of table reports.grades",
    "function reports.first()",
    "materialized view reports.kept",
    "view reports.above",
    "view reports.pair",
];

#[tokio::test]
async fn what_hangs_on_a_schema_from_outside_is_named_and_nothing_is_removed() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute(HANGING).await;
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert_eq!(ran.error_code(), "has_dependents");
    assert!(ran.stderr.contains(&HANGS.join(", ")), "{}", ran.stderr);
    assert!(ran.stderr.contains("--cascade"), "{}", ran.stderr);
    assert_eq!(site.run("org show acme --json").await.done().json()["state"], "active");
    assert_eq!(left_of_acme(&site).await.len(), 3);

    let removed = site.run("org remove acme --yes --cascade --json").await.done().json();
    assert_eq!((&removed["state"], &removed["cascaded"]), (&json!("removed"), &json!(HANGS)));
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
    let left = "SELECT relname::text FROM pg_class WHERE relnamespace = 'reports'::regnamespace AND relkind = 'r' ORDER BY 1";
    assert_eq!(site.texts(left).await, ["grades", "kinds", "marks"]);
    let trail = "SELECT what->>'cascaded' FROM rollbook.admin_event WHERE action = 'org.remove' AND what ? 'cascaded'";
    let cascaded: Vec<Value> =
        site.texts(trail).await.iter().map(|what| serde_json::from_str(what).expect("JSON")).collect();
    assert_eq!(cascaded, [json!(HANGS)], "they were somebody else's");
}

#[tokio::test]
async fn who_is_asked_hears_what_goes_along() {
    let site = Site::with(&["acme"]).await;
    site.execute("CREATE VIEW public.seen AS SELECT event_id FROM org_acme.event").await;
    let ran = site.rollbook("org remove acme --cascade").on_a_terminal("no\n").await.exits(1);
    assert!(ran.stdout.contains("this goes along: view public.seen"), "{}", ran.stdout);
    assert_eq!(site.number("SELECT count(*) FROM public.seen").await, 0, "it is there");
    let ran = site.rollbook("org remove acme --cascade").on_a_terminal("acme\n").await.done();
    assert!(ran.stdout.contains("went along  view public.seen"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_removal_that_was_interrupted_takes_nothing_along_unasked() {
    let site = Site::with(&["acme"]).await;
    site.execute(
        "CREATE VIEW public.seen AS SELECT event_id FROM org_acme.event; \
         UPDATE rollbook.organization SET state = 'removed'",
    )
    .await;
    let ran = site.run("org remove acme --yes --json").await.exits(1);
    assert!(ran.stderr.contains("view public.seen"), "{}", ran.stderr);
    assert_eq!(site.number("SELECT count(*) FROM public.seen").await, 0, "it is there");
    site.run("org remove acme --yes --cascade").await.done();
    assert_eq!(left_of_acme(&site).await, Vec::<String>::new());
    let trail = "SELECT what::text FROM rollbook.admin_event WHERE action = 'org.remove'";
    assert_eq!(site.texts(trail).await, [r#"{"cascaded": ["view public.seen"]}"#]);
}

#[tokio::test]
async fn the_word_that_reports_keep_for_themselves_is_no_slug_of_a_new_organization() {
    let site = Site::set_up().await;
    let ran = site.run("org add rebuild").await.exits(2);
    assert!(ran.stderr.contains("rollbook report"), "{}", ran.stderr);
    site.add("rebuilt").await;
}

#[tokio::test]
async fn a_record_is_not_held_for_an_organization_that_is_being_removed() {
    let site = Site::with(&["acme"]).await;
    let mut removing = site.superuser().await;
    let removal = removing.transaction().await.expect("a transaction");
    let end = "UPDATE rollbook.organization SET state = 'removed'; DELETE FROM rollbook.held_record";
    removal.batch_execute(end).await.expect("the first half of a removal");

    let holding = site.loader().await;
    let hold = "INSERT INTO rollbook.held_record \
                    (generation, partition, log_offset, organization_id, record, events, reason) \
                SELECT 1, 0, 7, id, 'x', 3, 'test' FROM rollbook.organization WHERE state <> 'removed' \
                ON CONFLICT (generation, partition, log_offset) DO NOTHING";
    let (held, ()) = tokio::join!(holding.execute(hold, &[]), async {
        crate::harness::eventually("the hold waits for the removal", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                             AND wait_event_type = 'Lock'";
            site.number(waiting).await == 1
        })
        .await;
        removal.commit().await.expect("the removal goes first");
    });
    assert_eq!(held.expect("no error"), 0);
    assert_eq!(site.number("SELECT count(*) FROM rollbook.held_record").await, 0);
}

#[tokio::test]
async fn the_trail_says_who_from_where_and_never_a_key() {
    let site = Site::set_up().await;
    let ran = site.rollbook("org add acme --json").env("USER", "ann").run().await.done();
    let key = ran.json()["key"].as_str().expect("a key").to_owned();
    let who = "SELECT DISTINCT concat_ws(' ', os_user, database_login = session_user, client_address IS NOT NULL) \
               FROM rollbook.admin_event WHERE organization_id IS NOT NULL";
    assert_eq!(site.texts(who).await, ["ann t t"]);
    let all = site.texts("SELECT a::text FROM rollbook.admin_event a").await;
    assert!(!all.iter().any(|line| line.contains(&key) || line.contains("password")), "{all:?}");
}
