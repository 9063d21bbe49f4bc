//! The second fence: what Postgres refuses, whatever our code does.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::harness::{Form, Service, Site, played, sqlstate};

/// Who may do what, decided one by one. A relation that is missing here fails the test, and so does a right that
/// is not written down.
struct Decided {
    relation: &'static str,
    /// `(role or login, privileges)`; everybody else: none.
    rights: &'static [(&'static str, &'static str)],
}

const fn decided(relation: &'static str, rights: &'static [(&'static str, &'static str)]) -> Decided {
    Decided { relation, rights }
}

const CONTROL: &[Decided] = &[
    decided("admin_event", &[]),
    decided("admin_event_id_seq", &[]),
    decided("held_record", &[("loader", "SELECT INSERT DELETE")]),
    decided("partition_anchor", &[("loader", "SELECT INSERT UPDATE")]),
    decided("installation", &[]),
    decided("log", &[("loader", "SELECT")]),
    decided("organization", &[("intake", "SELECT"), ("loader", "SELECT")]),
    decided("refinery_schema_history", &[]),
    decided("unreadable_record", &[("loader", "INSERT")]),
    decided("write_key", &[("intake", "SELECT")]),
];

/// In the schema of the organization whose roles are `writer` and `reader`.
const TENANT: &[Decided] = &[
    decided("answer_event", &[("reader", "SELECT")]),
    decided("dead_letter", &[("writer", "SELECT INSERT"), ("reader", "SELECT")]),
    decided("dead_letter_id_seq", &[]),
    decided("event", &[("writer", "SELECT INSERT"), ("reader", "SELECT")]),
    decided("ingest_watermark", &[("writer", "SELECT INSERT UPDATE"), ("reader", "SELECT")]),
    decided("refinery_schema_history", &[("reader", "SELECT")]),
    decided("report_answer", &[("reader", "SELECT")]),
    decided("report_build", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_content", &[("reader", "SELECT")]),
    decided("report_content_sum", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_curve", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_day", &[("reader", "SELECT")]),
    decided("report_day_content", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_day_session", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_day_sum", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_elapsed", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_elapsed_part", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_further_session", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_item", &[("reader", "SELECT")]),
    decided("report_item_sum", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_option", &[("reader", "SELECT")]),
    decided("report_option_sum", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_retention", &[("reader", "SELECT")]),
    decided("report_state", &[("writer", "SELECT UPDATE"), ("reader", "SELECT")]),
    decided("report_step", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_viewer_content", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_viewer_item", &[("writer", "SELECT INSERT UPDATE DELETE"), ("reader", "SELECT")]),
    decided("report_viewing", &[("reader", "SELECT")]),
    decided("watch_event", &[("reader", "SELECT")]),
];

/// Every privilege that a role has on a relation, as Postgres sees it: columns, inheritance and PUBLIC included.
const PRIVILEGES: &str = "
    SELECT privilege
    FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'USAGE'])
                   WITH ORDINALITY AS p (privilege, position)
    WHERE oid = $2::text::regclass
      AND CASE WHEN relkind = 'S'
               THEN privilege IN ('SELECT', 'UPDATE', 'USAGE') AND has_sequence_privilege($1, oid, privilege)
               WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
               THEN has_any_column_privilege($1, oid, privilege)
               ELSE privilege <> 'USAGE' AND has_table_privilege($1, oid, privilege) END
    ORDER BY position";

async fn privileges(client: &Client, role: &str, relation: &str) -> String {
    let rows = client.query(PRIVILEGES, &[&role, &relation]).await.expect("a role and a relation");
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join(" ")
}

async fn relations(client: &Client, schema: &str) -> BTreeSet<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::text::regnamespace \
                 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')";
    client.query(sql, &[&schema]).await.expect("a schema").iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_role_and_login_may_do_what_was_decided_for_each_table_and_nothing_else() {
    // Names that would collide if roles were told apart by a suffix, or slugs by what a pattern takes `_` for.
    let slugs = ["acme", "acme_reader", "ac_me"];
    let site = Site::with(&slugs).await;
    let client = site.superuser().await;
    site.execute(&format!("CREATE ROLE {}", site.role("stranger"))).await;
    let mut everybody = vec!["intake".to_owned(), "loader".to_owned(), "stranger".to_owned()];
    everybody.push("rollbook_readers".to_owned());
    everybody.extend(slugs.iter().flat_map(|slug| [format!("org_{slug}"), format!("reader_{slug}")]));

    let mut schemas = vec![("rollbook".to_owned(), CONTROL)];
    schemas.extend(slugs.iter().map(|slug| (format!("org_{slug}"), TENANT)));
    for (schema, decisions) in &schemas {
        let decided: BTreeSet<String> = decisions.iter().map(|one| one.relation.to_owned()).collect();
        assert_eq!(relations(&client, schema).await, decided, "a relation of {schema} has no decision");
        for Decided { relation, rights } in *decisions {
            for who in &everybody {
                // In a tenant's schema `writer` and `reader` are that tenant's own roles.
                let slug = schema.trim_start_matches("org_");
                let part = match who.as_str() {
                    own if own == format!("org_{slug}") => "writer",
                    own if own == format!("reader_{slug}") => "reader",
                    other => other,
                };
                let expected =
                    rights.iter().find(|(role, _)| *role == part).map_or("", |(_, rights)| *rights);
                let found = privileges(&client, &site.role(who), &format!("{schema}.{relation}")).await;
                assert_eq!(found, expected, "{who} on {schema}.{relation}");
            }
        }
    }
}

/// What somebody may call, and what everybody (grantee 0) may do. Where there is no list of rights, everybody has what
/// Postgres gives by default.
const OF_EVERYBODY: &str = "
    SELECT concat_ws(' ', proname, grantee, privilege_type)
    FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace,
         aclexplode(coalesce(proacl, acldefault('f', proowner)))
    WHERE nspname IN ('rollbook', 'org_acme') AND grantee <> proowner
    UNION ALL
    SELECT concat_ws(' ', relname, privilege_type)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace, aclexplode(relacl)
    WHERE nspname IN ('rollbook', 'org_acme') AND grantee = 0
    UNION ALL
    SELECT concat_ws(' ', nspname, privilege_type) FROM pg_namespace, aclexplode(nspacl)
    WHERE (nspname IN ('rollbook', 'org_acme') OR nspname = 'public' AND privilege_type = 'CREATE') AND grantee = 0
    UNION ALL
    SELECT concat_ws(' ', datname, privilege_type)
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE datname = current_database() AND grantee = 0";

#[tokio::test]
async fn nobody_may_call_our_functions_and_the_public_has_nothing() {
    let site = Site::with(&["acme"]).await;
    assert_eq!(site.texts(OF_EVERYBODY).await, Vec::<String>::new());
}

#[tokio::test]
async fn nobody_but_the_administrator_may_make_anything() {
    let site = Site::with(&["acme"]).await;
    for who in ["intake", "loader", "org_acme", "reader_acme"] {
        let client = site.session_of(who).await;
        for sql in [
            "CREATE TABLE public.event (id int)",
            "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE org_acme.mine (id int)",
            "CREATE TABLE rollbook.mine (id int)",
            "CREATE TEMPORARY TABLE event (id int)",
            "CREATE SCHEMA org_mine",
            "CREATE ROLE mine",
        ] {
            assert_eq!(sqlstate(&client.batch_execute(sql).await), Some("42501"), "{who}: {sql}");
        }
    }
}

/// A large object outlives its organization, and its owner may show it to all; advisory locks are one table for all.
#[tokio::test]
async fn an_analyst_leaves_nothing_behind_and_takes_no_lock_that_others_need() {
    let site = Site::with(&["acme"]).await;
    for who in ["intake", "org_acme", "reader_acme"] {
        let client = site.session_of(who).await;
        for sql in [
            "SELECT lo_create(0)",
            "SELECT lo_creat(-1)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_xact_lock_shared(1, 2)",
            "SELECT pg_try_advisory_lock_shared(n) FROM generate_series(1, 9) AS n",
        ] {
            assert_eq!(sqlstate(&client.batch_execute(sql).await), Some("42501"), "{who}: {sql}");
        }
    }
    site.loader().await.batch_execute("SELECT pg_try_advisory_xact_lock(1)").await.expect("for draining");
}

#[tokio::test]
async fn what_an_administrators_default_privileges_give_other_organizations_is_taken_back() {
    let site = Site::with(&["acme"]).await;
    let acme = site.role("reader_acme");
    site.execute(&format!(
        "CREATE ROLE {auditor}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {acme}, {auditor}; \
         ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {acme}, {auditor}; \
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
        auditor = site.role("auditor"),
    ))
    .await;
    site.add("birch").await;
    let reader = site.session_of("reader_acme").await;
    assert_eq!(sqlstate(&reader.batch_execute("SELECT FROM org_birch.event").await), Some("42501"));
    let given = "SELECT count(*) FROM pg_class, aclexplode(relacl), pg_namespace n \
                 WHERE relnamespace = n.oid AND nspname = 'org_birch' AND grantee ";
    assert_eq!(site.number(&format!("{given} IN (0, '{acme}'::regrole)")).await, 0);
    let auditor = format!("{given} = '{}'::regrole", site.role("auditor"));
    assert!(site.number(&auditor).await > 0, "whom an administrator lets in knowingly");
}

#[tokio::test]
async fn intakes_login_reads_organizations_and_keys_and_nothing_else() {
    let site = Site::with(&["acme"]).await;
    let intake = site.intake().await;
    for sql in ["SELECT * FROM rollbook.organization", "SELECT * FROM rollbook.write_key"] {
        intake.query(sql, &[]).await.expect(sql);
    }
    let become_writer = format!("SET ROLE {}", site.role("org_acme"));
    for sql in [
        "SELECT * FROM org_acme.event",
        "SELECT * FROM rollbook.held_record",
        "UPDATE rollbook.write_key SET revoked_at = NULL",
        "INSERT INTO rollbook.organization SELECT * FROM rollbook.organization",
        &become_writer,
    ] {
        assert_eq!(sqlstate(&intake.batch_execute(sql).await), Some("42501"), "{sql}");
    }
}

/// A transaction of the loader in an organization's role.
async fn as_writer(client: &mut Client, role: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("SET LOCAL ROLE {role}")).await?;
    transaction.batch_execute(sql).await?;
    transaction.commit().await
}

const EVENT: &str = "(event_id, type, session_id, viewer_id, content_id, occurred_at, client_occurred_at, received_at) \
                     VALUES (gen_random_uuid(), 'video.played', 's', 'v', 'c', now(), now(), now())";

#[tokio::test]
async fn the_loader_can_insert_only_where_its_role_of_the_moment_may() {
    let site = Site::with(&["acme", "birch"]).await;
    let mut loader = site.loader().await;
    let (acme, birch) = (site.role("org_acme"), site.role("org_birch"));
    let into_acme = format!("INSERT INTO org_acme.event {EVENT}");

    assert_eq!(sqlstate(&loader.batch_execute(&into_acme).await), Some("42501"), "in its own right");
    as_writer(&mut loader, &acme, &into_acme).await.expect("as the organization's writer");
    assert_eq!(
        sqlstate(&as_writer(&mut loader, &birch, &into_acme).await),
        Some("42501"),
        "as another's writer"
    );
    assert_eq!(sqlstate(&loader.batch_execute(&into_acme).await), Some("42501"), "after the transaction");
    for sql in [
        "UPDATE org_acme.event SET viewer_id = 'x'",
        "DELETE FROM org_acme.event",
        "DELETE FROM org_acme.dead_letter",
        "DELETE FROM org_acme.ingest_watermark",
        "TRUNCATE org_acme.event",
        "DROP TABLE org_acme.event",
    ] {
        assert_eq!(sqlstate(&as_writer(&mut loader, &acme, sql).await), Some("42501"), "{sql}");
    }
    assert_eq!(sqlstate(&as_writer(&mut loader, "rollbook_admin", "SELECT 1").await), Some("42501"));
}

#[tokio::test]
async fn a_schema_takes_no_watermark_of_another_organization_even_from_its_own_writer() {
    let site = Site::with(&["acme", "birch"]).await;
    let mut loader = site.loader().await;
    let watermark = |of: &str| {
        format!(
            "INSERT INTO org_acme.ingest_watermark (generation, partition, organization_id, next_offset, last_record_id) \
             SELECT 1, 0, id, 1, gen_random_uuid() FROM (VALUES ('{of}'::uuid)) AS o (id)"
        )
    };
    let ids = site.texts("SELECT id::text FROM rollbook.organization ORDER BY slug").await;
    let acme = site.role("org_acme");
    assert_eq!(sqlstate(&as_writer(&mut loader, &acme, &watermark(&ids[1])).await), Some("23514"));
    as_writer(&mut loader, &acme, &watermark(&ids[0])).await.expect("its own organization");
    let moved = format!("UPDATE org_acme.ingest_watermark SET organization_id = '{}'", ids[1]);
    assert_eq!(sqlstate(&as_writer(&mut loader, &acme, &moved).await), Some("23514"));
}

#[tokio::test]
async fn a_reader_sees_its_own_organization_and_no_other() {
    let site = Site::with(&["acme", "acme_reader", "ac_me"]).await;
    for (own, others) in [
        ("acme", ["acme_reader", "ac_me"]),
        ("acme_reader", ["acme", "ac_me"]),
        ("ac_me", ["acme", "acme_reader"]),
    ] {
        let reader = site.session_of(&format!("reader_{own}")).await;
        for Decided { relation, .. } in TENANT.iter().filter(|one| one.relation != "dead_letter_id_seq") {
            let read = |slug: &str| format!("SELECT * FROM org_{slug}.{relation}");
            reader.query(&read(own), &[]).await.expect("its own");
            for other in others {
                assert_eq!(
                    sqlstate(&reader.query(&read(other), &[]).await),
                    Some("42501"),
                    "{own} reads {other}"
                );
            }
            let write = format!("DELETE FROM org_{own}.{relation}");
            let written = reader.batch_execute(&write).await;
            // Of a view that nobody can write Postgres says so first.
            assert!(
                matches!(sqlstate(&written), Some("42501" | "55000")),
                "{own} writes {relation}: {written:?}"
            );
        }
        assert_eq!(sqlstate(&reader.query("SELECT * FROM rollbook.organization", &[]).await), Some("42501"));
    }
}

#[tokio::test]
async fn an_unqualified_name_finds_nothing_in_public() {
    let site = Site::with(&["acme"]).await;
    site.execute("CREATE TABLE public.event (LIKE org_acme.event); GRANT ALL ON public.event TO PUBLIC")
        .await;
    let mut loader = site.loader().await;
    let role = site.role("org_acme");
    let ran = as_writer(&mut loader, &role, &format!("INSERT INTO event {EVENT}")).await;
    assert_eq!(sqlstate(&ran), Some("42P01"));
}

/// What an attacker would plant where everybody may look: names that Postgres has too, with arguments that fit our calls
/// better than Postgres' own do.
const PLANTED: &str = "
    CREATE FUNCTION public.cardinality(bigint[]) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the planted function ran as %', current_user; END $$;
    CREATE FUNCTION public.unnest(uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the planted function ran as %', current_user; END $$;
    CREATE FUNCTION public.to_regclass(varchar) RETURNS regclass LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the planted function ran as %', current_user; END $$;
    CREATE TABLE public.organization (id int);
    CREATE TABLE public.event (id int);
    CREATE TABLE public.refinery_schema_history (id int)";

#[tokio::test]
async fn a_function_of_the_same_name_in_public_runs_neither_as_the_administrator_nor_as_the_loader() {
    let site = Site::empty().await;
    site.execute(PLANTED).await;
    let planted = "SELECT cardinality('{1}'::bigint[])";
    let ran = site.superuser().await.batch_execute(planted).await;
    assert_eq!(sqlstate(&ran), Some("P0001"), "it would run in a session that takes no care");
    for words in ["setup", "org add acme"] {
        site.run(words).await.done();
    }
    // Where there is no row, nothing is called.
    site.execute(
        "INSERT INTO org_acme.dead_letter (event_id, generation, partition, log_offset, sqlstate, reason, event) \
         VALUES (gen_random_uuid(), 1, 0, 3, '22P05', 'r', '{}')",
    )
    .await;
    for words in [
        "org set acme --rate-limit 5",
        "key add acme",
        "migrate",
        "status",
        "dead-letters list acme",
        "dead-letters show acme",
        "dead-letters discard acme",
        "held list acme",
        "held drain acme",
    ] {
        site.run(words).await.done();
    }
    let birch = site.organization("birch").await;
    let service = Service::ready(site.serve("")).await;
    service.post(&birch, Form::Json, &played(3)).await.accepts(3);
    assert_eq!(site.loaded("birch", 3).await, (3, 0));
    for words in ["org remove acme --yes", "setup"] {
        site.run(words).await.done();
    }
    assert_eq!(
        site.number(
            "SELECT (SELECT count(*) FROM public.event) + (SELECT count(*) FROM public.organization)"
        )
        .await,
        0
    );
}

#[tokio::test]
async fn the_loader_keeps_records_that_no_schema_can_take() {
    let site = Site::with(&["acme"]).await;
    let loader = site.loader().await;
    let unreadable = "INSERT INTO rollbook.unreadable_record (generation, partition, log_offset, reason, record) \
                      VALUES (1, 0, 5, 'no record', 'x') ON CONFLICT DO NOTHING";
    assert_eq!(loader.execute(unreadable, &[]).await.expect("inserted"), 1);
    assert_eq!(loader.execute(unreadable, &[]).await.expect("seen before"), 0);
    let read = loader.query("SELECT * FROM rollbook.unreadable_record", &[]).await;
    assert_eq!(sqlstate(&read), Some("42501"));

    let hold = "INSERT INTO rollbook.held_record \
                    (generation, partition, log_offset, organization_id, record, events, reason) \
                SELECT 1, 0, 7, id, 'x', 3, 'test' FROM rollbook.organization WHERE state <> 'removed' \
                ON CONFLICT (generation, partition, log_offset) DO NOTHING";
    assert_eq!(loader.execute(hold, &[]).await.expect("held"), 1);
    assert_eq!(loader.execute(hold, &[]).await.expect("held before"), 0);
    assert_eq!(loader.execute("DELETE FROM rollbook.held_record", &[]).await.expect("drained"), 1);
}

#[tokio::test]
async fn a_dead_letter_needs_no_more_than_the_right_to_insert() {
    let site = Site::with(&["acme"]).await;
    let mut loader = site.loader().await;
    let dead = "INSERT INTO org_acme.dead_letter (event_id, generation, partition, log_offset, sqlstate, reason, event) \
                VALUES (gen_random_uuid(), 1, 0, 7, '22P05', 'untranslatable', '{}')";
    as_writer(&mut loader, &site.role("org_acme"), dead).await.expect("a dead letter");
    assert_eq!(site.number("SELECT id FROM org_acme.dead_letter").await, 1);
}
