//! The table of scopes against errors that Postgres really gives.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::super::writer::{Scope, Statements, insert_rows, scope_of, scope_of_code, sqlstate};
use super::events::{bad_event, event, rows};
use super::site::{POSITION, Site, record_id, settings};
use crate::event::Event;
use crate::store::connect;
use crate::tenant::OrganizationId;

/// What a flush says to Postgres, up to the commit, with the first error as it is.
async fn attempt(
    client: &mut Client,
    statements: &Statements,
    id: OrganizationId,
    event: Event<'_>,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&statements.enter_role).await?;
    transaction
        .query_typed(
            &statements.first_watermark,
            &[
                (&POSITION.generation, Type::INT4),
                (&POSITION.partition, Type::INT4),
                (&id.0, Type::UUID),
                (&1_i64, Type::INT8),
                (&record_id(0), Type::UUID),
                (&1_i64, Type::INT8),
                (&0_i64, Type::INT8),
                (&0_i64, Type::INT8),
            ],
        )
        .await?;
    insert_rows(transaction.client(), &statements.insert_rows, &rows(id, 0, vec![event])).await?;
    transaction.rollback().await
}

#[track_caller]
fn assert_scope(what: &str, outcome: Result<(), Error>, expected: (&str, Scope)) {
    let error = outcome.expect_err(what);
    assert_eq!((sqlstate(&error), scope_of(&error)), expected, "{what}: {error:?}");
}

/// What breaks an organization, what heals it, and how that is taken. `W` is the writer's role, `L` the loader's.
const BROKEN: &[(&str, &str, &str, Scope)] = &[
    (
        "ALTER TABLE org_acme.event RENAME TO gone",
        "ALTER TABLE org_acme.gone RENAME TO event",
        "42P01",
        Scope::Tenant,
    ),
    (
        "ALTER TABLE org_acme.ingest_watermark RENAME TO gone",
        "ALTER TABLE org_acme.gone RENAME TO ingest_watermark",
        "42P01",
        Scope::Tenant,
    ),
    (
        "ALTER TABLE org_acme.event RENAME seq TO gone",
        "ALTER TABLE org_acme.event RENAME gone TO seq",
        "42703",
        Scope::Tenant,
    ),
    (
        "ALTER TABLE org_acme.event RENAME seq TO gone; ALTER TABLE org_acme.event ADD seq uuid",
        "ALTER TABLE org_acme.event DROP seq; ALTER TABLE org_acme.event RENAME gone TO seq",
        "42804",
        Scope::Tenant,
    ),
    ("ALTER SCHEMA org_acme RENAME TO gone", "ALTER SCHEMA gone RENAME TO org_acme", "42P01", Scope::Tenant),
    ("REVOKE INSERT ON org_acme.event FROM W", "GRANT INSERT ON org_acme.event TO W", "42501", Scope::Tenant),
    ("REVOKE USAGE ON SCHEMA org_acme FROM W", "GRANT USAGE ON SCHEMA org_acme TO W", "42501", Scope::Tenant),
    ("REVOKE W FROM L", "GRANT W TO L", "42501", Scope::Tenant),
    // A row's trouble where rows are written; here none is, and so it is the schema's (see `Refusal`).
    ("ALTER ROLE W RENAME TO Wgone", "ALTER ROLE Wgone RENAME TO W", "22023", Scope::Row),
    (
        "ALTER TABLE org_acme.event RENAME TO real; CREATE VIEW org_acme.event AS SELECT * FROM org_acme.real LIMIT 1; \
             GRANT INSERT ON org_acme.event TO W",
        "DROP VIEW org_acme.event; ALTER TABLE org_acme.real RENAME TO event",
        "55000",
        Scope::Tenant,
    ),
    // Unique on something other than the id: asked again it would be the same.
    (
        "CREATE UNIQUE INDEX once ON org_acme.event ((1)); \
          INSERT INTO org_acme.event (event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, received_at) \
          VALUES (gen_random_uuid(), 't', 's', 'v', 'c', now(), now(), now())",
        "DROP INDEX org_acme.once; DELETE FROM org_acme.event",
        "23505",
        Scope::Row,
    ),
    (
        "ALTER TABLE org_acme.ingest_watermark ADD CONSTRAINT never CHECK (partition < 0)",
        "ALTER TABLE org_acme.ingest_watermark DROP CONSTRAINT never",
        "23514",
        Scope::Tenant,
    ),
    (
        "ALTER TABLE org_acme.ingest_watermark ADD extra integer NOT NULL",
        "ALTER TABLE org_acme.ingest_watermark DROP extra",
        "23502",
        Scope::Tenant,
    ),
    (
        "ALTER TABLE org_acme.event ADD extra integer NOT NULL",
        "ALTER TABLE org_acme.event DROP extra",
        "23502",
        Scope::Row,
    ),
    (
        "CREATE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM nowhere.f(); RETURN NEW; END'; \
             CREATE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()",
        "DROP FUNCTION org_acme.f CASCADE",
        "3F000",
        Scope::Tenant,
    ),
];

#[tokio::test]
async fn what_is_broken_in_a_schema_is_its_organizations_trouble() {
    let site = Site::with(&["acme"]).await;
    let (statements, id) = (site.statements("acme"), site.id("acme"));
    let writer = format!("{}org_acme", site.prefix.as_str());
    let names = |sql: &str| {
        let words = sql.split(' ').map(|word| match word {
            "W" => writer.clone(),
            "Wgone" => format!("{writer}_gone"),
            "L" => site.loader_login(),
            word => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let mut loader = site.loader().await;
    for (breaks, heals, sqlstate, scope) in BROKEN {
        site.execute(&names(breaks)).await;
        assert_scope(breaks, attempt(&mut loader, &statements, id, event(1)).await, (sqlstate, *scope));
        site.execute(&names(heals)).await;
        let healed = attempt(&mut loader, &statements, id, event(1)).await;
        healed.unwrap_or_else(|error| panic!("{heals}: {error:?}"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_its_rows_trouble() {
    let site = Site::with(&["acme"]).await;
    let (statements, id) = (site.statements("acme"), site.id("acme"));
    let mut loader = site.loader().await;
    let cases = [
        ("23514", bad_event(1)),
        ("23514", Event { session_id: "".into(), ..event(1) }),
        ("23514", Event { viewer_id: "v".repeat(129).into(), ..event(1) }),
        ("23514", Event { attempt: Some(0), ..event(1) }),
        ("23514", Event { rate: Some(f32::NAN), ..event(1) }),
        ("22P02", Event { answer: Some("{".into()), ..event(1) }),
        ("22P05", Event { details: Some(r#"{"a":"\u0000"}"#.into()), ..event(1) }),
        ("22021", Event { content_id: "a\0".into(), ..event(1) }),
        ("22000", Event { watched: Some(vec![(5, 3)]), ..event(1) }),
        ("22003", Event { details: Some("1e1000000".into()), ..event(1) }),
    ];
    for (sqlstate, event) in cases {
        let what = format!("{event:?}");
        assert_scope(&what, attempt(&mut loader, &statements, id, event).await, (sqlstate, Scope::Row));
    }
}

#[tokio::test]
async fn another_organizations_id_in_the_watermark_is_no_rows_trouble() {
    let site = Site::with(&["acme", "birch"]).await;
    let outcome =
        attempt(&mut site.loader().await, &site.statements("acme"), site.id("birch"), event(1)).await;
    let error = outcome.expect_err("the CHECK");
    assert_eq!((sqlstate(&error), scope_of(&error)), ("23514", Scope::Tenant));
    let refused = error.as_db_error().expect("from Postgres");
    assert_eq!(refused.constraint(), Some("ingest_watermark_is_of_this_organization"));
}

#[test]
fn codes_are_sorted_by_their_class_and_unknown_ones_are_the_organizations() {
    let cases = [
        (
            Scope::Server,
            "08006 25P03 25006 28000 3D000 53000 53100 53200 53300 57P01 57P02 57P03 58000 58030 F0000",
        ),
        (Scope::Again, "40001 40P01 40003"),
        (Scope::Row, "22000 22003 22012 22021 22023 22P05 23502 23503 23514 23P01 54000 54001 P0001 P0002"),
        (Scope::Tenant, "25001 25P02 3F000 42501 42601 42703 42804 42P01 55000 55006"),
        (Scope::Slow, "55P03 57014 25P04"),
        // No rule knows these.
        (Scope::Tenant, "0A000 0L000 21000 26000 2BP01 34000 38000 39000 XX000 XX001 ZZ999"),
    ];
    for (scope, codes) in cases {
        for code in codes.split(' ') {
            assert_eq!(scope_of_code(&SqlState::from_code(code), None, None), scope, "{code}");
        }
    }
}

/// However much it sounds like the server: the connection is there, and other organizations have no such trigger.
#[tokio::test]
async fn what_a_trigger_raises_in_the_servers_name_is_its_rows_trouble() {
    let site = Site::with(&["acme"]).await;
    let (statements, id) = (site.statements("acme"), site.id("acme"));
    site.execute(
        "CREATE TABLE org_acme.code AS SELECT '00000'::text AS code; \
         CREATE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             RAISE EXCEPTION 'a test' USING ERRCODE = (SELECT code FROM org_acme.code); END $$; \
         CREATE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()",
    )
    .await;
    let mut loader = site.loader().await;
    let codes = "08000 08006 08P01 25P03 25006 28000 28P01 3D000 53000 53100 53200 53300 57P01 57P02 57P03 58030 F0000";
    for code in codes.split(' ') {
        site.execute(&format!("UPDATE org_acme.code SET code = '{code}'")).await;
        assert_scope(code, attempt(&mut loader, &statements, id, event(1)).await, (code, Scope::Row));
    }
}

#[tokio::test]
async fn what_a_trigger_meets_elsewhere_is_its_organizations_trouble() {
    let site = Site::with(&["acme"]).await;
    let (statements, id) = (site.statements("acme"), site.id("acme"));
    let mut loader = site.loader().await;
    let cases = [
        // Another server that is not there.
        ("PERFORM public.dblink_connect('host=127.0.0.1 port=1 dbname=none')", "08001"),
        // Another session that Postgres ended, over there; a disk that is full, over there.
        ("PERFORM public.dblink_exec(HERE, 'SELECT pg_terminate_backend(pg_backend_pid())')", "08006"),
        (
            "PERFORM public.dblink_exec(HERE, 'DO $there$ BEGIN RAISE USING ERRCODE = ''53100''; END $there$')",
            "53100",
        ),
        // A transaction that the trigger itself made read-only.
        (
            "PERFORM pg_catalog.set_config('transaction_read_only', 'on', true); INSERT INTO org_acme.code VALUES ('')",
            "25006",
        ),
    ];
    let here = format!(
        "pg_catalog.format('host=127.0.0.1 port=%s dbname=%s user={} password=loader', \
             pg_catalog.current_setting('port'), pg_catalog.current_database())",
        site.loader_login()
    );
    site.execute("CREATE EXTENSION dblink SCHEMA public; CREATE TABLE org_acme.code (code text)").await;
    for (body, sqlstate) in cases {
        let body = body.replace("HERE", &here);
        site.execute(&format!(
            "CREATE OR REPLACE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
                 $$ BEGIN {body}; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()"
        ))
        .await;
        let outcome = attempt(&mut loader, &statements, id, event(1)).await;
        assert_scope(&body, outcome, (sqlstate, Scope::Tenant));
    }
}

#[tokio::test]
async fn locks_and_slowness_are_the_organizations_and_do_not_last_longer_than_the_settings_say() {
    let site = Site::with(&["acme", "birch"]).await;
    let mut short = settings();
    short.transaction.lock_timeout = Duration::from_millis(100);
    short.transaction.statement_timeout = Duration::from_millis(400);
    let statements = site.statements_with("acme", &short);
    let id = site.id("acme");
    let mut loader = site.loader().await;

    let locker = site.superuser().await;
    locker.batch_execute("BEGIN; LOCK TABLE org_acme.event IN SHARE MODE").await.expect("a lock");
    let locked = attempt(&mut loader, &statements, id, event(1)).await;
    assert_scope("a lock", locked, ("55P03", Scope::Slow));
    locker.batch_execute("ROLLBACK").await.expect("no lock");

    site.execute(
        "CREATE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; \
         CREATE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()",
    )
    .await;
    let slow = attempt(&mut loader, &statements, id, event(1)).await;
    assert_scope("a slow trigger", slow, ("57014", Scope::Slow));
    // The settings were the transaction's own: the same connection serves the next organization.
    let other = attempt(&mut loader, &site.statements("birch"), site.id("birch"), event(1)).await;
    other.expect("birch is well");
}

#[tokio::test]
async fn a_deadlock_is_a_race_to_be_run_again() {
    let site = Site::with(&["acme"]).await;
    site.execute(&format!(
        "ALTER ROLE {} SET deadlock_timeout = '10ms'; \
         GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO PUBLIC; \
         CREATE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock(2); RETURN NEW; END $$; \
         CREATE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()",
        site.loader_login()
    ))
    .await;
    let mut loader = site.loader().await;
    loader.batch_execute("SELECT pg_advisory_lock(1)").await.expect("a lock");
    let other = site.superuser().await;
    other.batch_execute("SELECT pg_advisory_lock(2)").await.expect("a lock");
    let waiting = tokio::spawn(async move { other.batch_execute("SELECT pg_advisory_lock(1)").await });
    site.until("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").await;

    let outcome = attempt(&mut loader, &site.statements("acme"), site.id("acme"), event(1)).await;
    assert_scope("a deadlock", outcome, ("40P01", Scope::Again));
    drop(loader);
    waiting.await.expect("no panic").expect("the other one goes on");
}

#[tokio::test]
async fn what_the_server_does_to_everybody_is_the_servers() {
    let site = Site::with(&["acme"]).await;
    let (statements, id, login) = (site.statements("acme"), site.id("acme"), site.loader_login());

    site.execute(&format!("ALTER ROLE {login} SET default_transaction_read_only = on")).await;
    let read_only = attempt(&mut site.loader().await, &statements, id, event(1)).await;
    assert_scope("read-only", read_only, ("25006", Scope::Server));
    site.execute(&format!("ALTER ROLE {login} RESET default_transaction_read_only")).await;

    site.execute(
        "CREATE FUNCTION org_acme.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; \
         CREATE TRIGGER t BEFORE INSERT ON org_acme.event FOR EACH ROW EXECUTE FUNCTION org_acme.f()",
    )
    .await;
    let mut loader = site.loader().await;
    let killer = async {
        let sleeping = format!("FROM pg_stat_activity WHERE usename = '{login}' AND wait_event = 'PgSleep'");
        site.until(&format!("SELECT count(*) {sleeping}")).await;
        site.number(&format!("SELECT count(pg_terminate_backend(pid)) {sleeping}")).await;
    };
    let (terminated, ()) = tokio::join!(attempt(&mut loader, &statements, id, event(1)), killer);
    assert_scope("terminated", terminated, ("57P01", Scope::Server));
    let gone = attempt(&mut loader, &statements, id, event(1)).await;
    assert_scope("no connection", gone, ("08000", Scope::Server));

    // A transaction that idles is ended by Postgres.
    site.execute(&format!("ALTER ROLE {login} SET idle_in_transaction_session_timeout = '50ms'")).await;
    let mut loader = site.loader().await;
    let transaction = loader.transaction().await.expect("a transaction");
    site.until(&format!(
        "SELECT count(*) FROM (SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity \
         WHERE usename = '{login}')) AS none"
    ))
    .await;
    let idled = transaction.batch_execute(&statements.enter_role).await.expect_err("ended");
    assert_eq!(scope_of(&idled), Scope::Server, "{idled:?}");
}

#[tokio::test]
async fn what_keeps_the_loader_from_logging_in_is_the_servers() {
    let site = Site::with(&[]).await;
    let login = site.loader_login();
    let cases = [
        (format!("ALTER ROLE {login} PASSWORD 'another'"), "28P01"),
        (format!("ALTER ROLE {login} PASSWORD 'loader' CONNECTION LIMIT 0"), "53300"),
        (format!("ALTER ROLE {login} CONNECTION LIMIT -1 NOLOGIN"), "28000"),
    ];
    for (sql, expected) in cases {
        site.execute(&sql).await;
        match connect(&site.loader_url()).await {
            Err(crate::store::Error::Connect { source, .. }) => {
                assert_eq!((sqlstate(&source), scope_of(&source)), (expected, Scope::Server), "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}
