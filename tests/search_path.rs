//! Nothing of ours is found by a search path. In `public`, ahead of Postgres' own, stands a trap for every function and
//! every operator that `pg_catalog` has: whatever calls one of them fails, and the trap remembers.

use crate::harness::{Form, Service, Site, played};

/// A function for each function, aggregate and operator of `pg_catalog` whose arguments a function may have. The counter
/// stays also when what stepped into the trap is rolled back.
const TRAPS: &str = r#"
    SET search_path = pg_catalog;
    CREATE SEQUENCE public.trapped;
    CREATE FUNCTION public.spring(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog AS $$
    BEGIN
        PERFORM nextval('public.trapped');
        RAISE EXCEPTION 'trapped by %, called by %', what, session_user;
    END $$;
    DO $do$
    DECLARE
        trap record;
        made integer := 0;
    BEGIN
        FOR trap IN
            SELECT proname, p.oid::regprocedure::text AS what,
                   CASE WHEN proretset THEN 'SETOF ' ELSE '' END ||
                   CASE WHEN typtype <> 'p' OR typname ~ '^any(element|array|nonarray|enum|range|compatible|compatible(array|nonarray|range))$'
                        THEN format_type(prorettype, NULL) ELSE 'void' END AS result,
                   (SELECT string_agg(format_type(argument, NULL), ', ' ORDER BY n)
                    FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS a (argument, n)) AS arguments
            FROM pg_proc p JOIN pg_type ON pg_type.oid = prorettype
            WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a', 'w') AND provariadic = 0
              AND NOT EXISTS (SELECT FROM unnest(proargtypes::oid[]) AS argument JOIN pg_type t ON t.oid = argument
                              WHERE typtype = 'p' AND typname !~ '^any(element|array|nonarray|enum|range|compatible|compatible(array|nonarray|range))$')
        LOOP
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$ BEGIN PERFORM public.spring(%L); END $$',
                           trap.proname, trap.arguments, trap.result, trap.what);
            made := made + 1;
        END LOOP;
        FOR trap IN
            SELECT oprname, oprleft, oprright, oid::regoperator::text AS what FROM pg_operator
            WHERE oprnamespace = 'pg_catalog'::regnamespace
              AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid IN (oprleft, oprright)
                                AND typtype = 'p' AND typname !~ '^any(element|array|nonarray|enum|range|compatible|compatible(array|nonarray|range))$')
        LOOP
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.spring(%L); RETURN true; END $$',
                           'operator_' || made,
                           concat_ws(', ', CASE WHEN trap.oprleft <> 0 THEN format_type(trap.oprleft, NULL) END,
                                     format_type(trap.oprright, NULL)),
                           trap.what);
            EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.%I, %s RIGHTARG = %s)', trap.oprname,
                           'operator_' || made,
                           CASE WHEN trap.oprleft <> 0 THEN format('LEFTARG = %s,', format_type(trap.oprleft, NULL)) END,
                           format_type(trap.oprright, NULL));
            made := made + 1;
        END LOOP;
        IF made < 2500 THEN
            RAISE EXCEPTION 'only % traps', made;
        END IF;
    END $do$;
"#;

/// On the database, and on the logins, whose own path `setup` empties: what is on them before a connection says
/// anything.
fn set_the_path(site: &Site) -> String {
    let logins: String = ["intake", "loader"]
        .map(|role| {
            format!(
                "ALTER ROLE {} IN DATABASE {} SET search_path = public, pg_catalog; ",
                site.role(role),
                site.database
            )
        })
        .concat();
    format!("ALTER DATABASE {} SET search_path = public, pg_catalog; {logins}", site.database)
}

#[tokio::test]
async fn no_command_calls_what_somebody_put_on_the_path() {
    let site = Site::empty().await;
    site.execute(TRAPS).await;
    // The logins come with the first setup; the path lies in wait for it, too.
    site.in_cluster(&format!("ALTER DATABASE {} SET search_path = public, pg_catalog", site.database)).await;
    let stepped = site.superuser().await;
    let caught = stepped.query("SELECT unnest('{a}'::text[])", &[]).await.expect_err("the traps are there");
    assert!(format!("{caught:?}").contains("trapped"), "{caught:?}");
    stepped
        .batch_execute("SET search_path = ''; SELECT setval('public.trapped', 1, false)")
        .await
        .expect("the sequence");

    site.run("setup").await.done();
    site.in_cluster(&set_the_path(&site)).await;
    let acme = site.organization("acme").await;
    for words in [
        "setup",
        "key add acme",
        "key list acme",
        "org add birch",
        "org list",
        "org set acme --rate-limit 1000",
        "org suspend birch",
        "migrate",
    ] {
        site.run(words).await.done();
    }
    let service = Service::ready(site.serve("")).await;
    // A COPY of many, and an INSERT of few; each again, to be found as a duplicate.
    for events in [played(400), played(3)] {
        for _ in 0..2 {
            service.post(&acme, Form::Json, &events).await.accepts(events.len());
        }
    }
    let stored = "SELECT pg_catalog.count(*) FROM org_acme.event";
    crate::harness::eventually("all of it is stored", async || {
        stepped.query_one(stored, &[]).await.expect("a count").get::<_, i64>(0) == 403
    })
    .await;
    for words in ["status", "audit", "dead-letters list acme", "held list acme", "held drain acme"] {
        site.run(words).await.done();
    }
    service.stop().await;
    site.run("org remove birch --yes").await.done();
    let row = stepped.query_one("SELECT is_called FROM public.trapped", &[]).await.expect("the sequence");
    assert!(!row.get::<_, bool>(0), "something was trapped: the server's log says what");
}
