//! `rollbook setup`: safe to repeat, exactly the rights that are needed, and what it refuses.

use serde_json::json;

use crate::harness::{Site, sqlstate};

#[tokio::test]
async fn setup_can_be_repeated_and_changes_nothing() {
    let site = Site::set_up().await;
    let first = site.run("setup --json").await.done().json();
    let again = site.run("setup --json").await.done().json();
    assert_eq!(first, again);
    assert_eq!(again["generation"], 1);
    assert_eq!(site.number("SELECT count(*) FROM rollbook.log").await, 1);
}

#[tokio::test]
async fn a_new_generation_is_declared_once_each_time_it_is_asked_for() {
    let site = Site::set_up().await;
    let answer = site.run("setup --new-generation --json").await.done().json();
    assert_eq!(answer["generation"], 2);
    assert_eq!(site.run("setup --json").await.done().json()["generation"], 2);
}

#[tokio::test]
async fn the_logins_are_made_with_the_passwords_of_their_urls_and_get_new_ones() {
    let site = Site::set_up().await;
    let row = site.intake().await.query_one("SELECT current_user::text", &[]).await.expect("intake logs in");
    assert_eq!(row.get::<_, String>(0), site.role("intake"));

    let other = site.url(&site.role("intake"), "another password");
    site.rollbook("setup").env("ROLLBOOK_INTAKE_DATABASE_URL", &other).run().await.done();
    let config: tokio_postgres::Config = other.parse().expect("a URL");
    assert_eq!(sqlstate(&config.connect(tokio_postgres::NoTls).await), None, "the new password works");
    let former = site.intake_database().config().connect(tokio_postgres::NoTls).await;
    assert_eq!(sqlstate(&former), Some("28P01"));
}

#[tokio::test]
async fn the_loaders_login_inherits_nothing_and_is_not_left_in_a_transaction() {
    let site = Site::set_up().await;
    let loader = site.loader().await;
    let row = loader
        .query_one(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'), \
                    rolinherit FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await
        .expect("its own row");
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("10s", "\"\"", false));
}

#[tokio::test]
async fn another_prefix_is_refused_and_no_prefix_is_the_old_one() {
    let site = Site::set_up().await;
    for words in ["setup --json", "org list --json"] {
        let ran = site.rollbook(words).env("ROLLBOOK_ROLE_PREFIX", "other_").run().await.exits(64);
        assert_eq!(ran.error_code(), "contradiction");
        assert!(ran.stderr.contains("ROLLBOOK_ROLE_PREFIX"), "{}", ran.stderr);
    }
    let ran = site.rollbook("setup --json").without("ROLLBOOK_ROLE_PREFIX").run().await.done();
    assert_eq!(ran.json()["role_prefix"], json!(site.prefix));
}

#[tokio::test]
async fn a_strangers_login_cannot_even_connect() {
    let site = Site::set_up().await;
    let stranger = site.role("stranger");
    site.execute(&format!("CREATE ROLE {stranger} LOGIN PASSWORD 'pw'")).await;
    let config: tokio_postgres::Config = site.url(&stranger, "pw").parse().expect("a URL");
    assert_eq!(sqlstate(&config.connect(tokio_postgres::NoTls).await), Some("42501"));
}

#[tokio::test]
async fn an_analysts_login_connects_through_its_reader_role() {
    let site = Site::with(&["acme"]).await;
    let (analyst, reader) = (site.role("analyst"), site.role("reader_acme"));
    site.execute(&format!("CREATE ROLE {analyst} LOGIN PASSWORD 'pw'; GRANT {reader} TO {analyst}")).await;
    let config: tokio_postgres::Config = site.url(&analyst, "pw").parse().expect("a URL");
    let (client, driver) = config.connect(tokio_postgres::NoTls).await.expect("an analyst connects");
    tokio::spawn(driver);
    client.query("SELECT * FROM org_acme.answer_event", &[]).await.expect("an analyst reads");
}

#[tokio::test]
async fn another_login_takes_over_from_the_one_that_was_the_loader() {
    let site = Site::with(&["acme"]).await;
    let new = site.url(&site.role("loader2"), "pw");
    site.rollbook("setup").env("ROLLBOOK_LOADER_DATABASE_URL", &new).run().await.done();

    let config: tokio_postgres::Config = new.parse().expect("a URL");
    let (client, driver) = config.connect(tokio_postgres::NoTls).await.expect("the new loader logs in");
    tokio::spawn(driver);
    let become_writer = format!("SET ROLE {}", site.role("org_acme"));
    client.batch_execute(&become_writer).await.expect("the new loader becomes the writer");
    let members = "SELECT pg_get_userbyid(member)::text FROM pg_auth_members \
                   WHERE pg_get_userbyid(roleid) ~ 'org_acme$' AND starts_with(pg_get_userbyid(roleid), $1)";
    let rows = site.superuser().await.query(members, &[&site.prefix]).await.expect("a query");
    let members: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(members, [site.role("loader2")]);
}

#[tokio::test]
async fn a_former_loader_can_be_dropped_and_a_new_one_can_drain_whoever_sets_it_up() {
    let site = Site::empty().await;
    let admin = lesser_administrator(&site).await;
    let set_up = async |loader: &str, by: String| {
        site.rollbook("setup --json")
            .env("ROLLBOOK_ADMIN_DATABASE_URL", &by)
            .env("ROLLBOOK_LOADER_DATABASE_URL", &site.url(&site.role(loader), "pw"))
            .run()
            .await
    };
    let may_lock = async |loader: &str| {
        let may = format!(
            "SELECT has_function_privilege('{}', 'pg_try_advisory_xact_lock(bigint)', 'EXECUTE')::int::bigint",
            site.role(loader)
        );
        site.number(&may).await == 1
    };
    set_up("loader1", site.admin_url()).await.done();
    set_up("loader2", site.admin_url()).await.done();
    assert!(may_lock("loader2").await && !may_lock("loader1").await);
    site.execute(&format!("DROP ROLE {}", site.role("loader1"))).await;

    set_up("loader3", site.url(&admin, "pw")).await.done();
    assert!(may_lock("loader3").await, "the owner gives it on");
    site.execute(&format!(
        "REVOKE EXECUTE ON FUNCTION pg_try_advisory_xact_lock(bigint) FROM {admin} CASCADE"
    ))
    .await;
    let ran = set_up("loader4", site.url(&admin, "pw")).await.exits(1);
    assert_eq!(ran.error_code(), "insufficient_rights");
    assert!(ran.stderr.contains("GRANT EXECUTE ON FUNCTION"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_former_loader_keeps_nothing_unnoticed() {
    let site = Site::empty().await;
    let admin = lesser_administrator(&site).await;
    site.run("setup").await.done();
    site.add("acme").await;
    // The superuser gave the membership; a lesser administrator takes it away, or says that it cannot.
    let ran = site
        .rollbook("setup --json")
        .env("ROLLBOOK_ADMIN_DATABASE_URL", &site.url(&admin, "pw"))
        .env("ROLLBOOK_LOADER_DATABASE_URL", &site.url(&site.role("loader2"), "pw"))
        .run()
        .await;
    let members = "SELECT count(*) FROM pg_auth_members WHERE pg_get_userbyid(member) = ";
    match site.number(&format!("{members}'{}'", site.role("loader"))).await {
        0 => drop(ran.done()),
        _ => assert_eq!(ran.exits(1).error_code(), "insufficient_rights"),
    }
}

#[tokio::test]
async fn the_administrators_own_login_can_be_all_three_and_is_left_alone() {
    let site = Site::empty().await;
    for words in ["setup", "org add acme", "migrate", "status"] {
        site.rollbook(words)
            .without("ROLLBOOK_ADMIN_DATABASE_URL")
            .without("ROLLBOOK_INTAKE_DATABASE_URL")
            .without("ROLLBOOK_LOADER_DATABASE_URL")
            .env("ROLLBOOK_DATABASE_URL", &site.admin_url())
            .run()
            .await
            .done();
    }
    let set = "SELECT count(*) FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = session_user";
    assert_eq!(site.number(set).await, 0);
}

#[tokio::test]
async fn a_superuser_that_is_not_the_administrator_is_no_login_for_the_service() {
    let site = Site::empty().await;
    let root = site.role("root");
    site.execute(&format!("CREATE ROLE {root} LOGIN SUPERUSER PASSWORD 'keep'")).await;
    let url = site.url(&root, "changed");
    let ran = site.rollbook("setup --json").env("ROLLBOOK_INTAKE_DATABASE_URL", &url).run().await.exits(1);
    assert_eq!(ran.error_code(), "login_is_superuser");
    let config: tokio_postgres::Config = site.url(&root, "keep").parse().expect("a URL");
    assert_eq!(sqlstate(&config.connect(tokio_postgres::NoTls).await), None, "its password is what it was");
}

#[tokio::test]
async fn a_database_without_the_schema_public_is_as_good() {
    let site = Site::empty().await;
    site.execute("DROP SCHEMA public").await;
    site.run("setup").await.done();
    site.add("acme").await;
}

#[tokio::test]
async fn a_schema_called_rollbook_that_is_not_ours_is_left_alone() {
    let site = Site::empty().await;
    site.execute("CREATE SCHEMA rollbook; CREATE TABLE rollbook.organization (id int)").await;
    assert_eq!(site.run("setup --json").await.exits(1).error_code(), "name_taken");
    assert_eq!(
        site.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'rollbook'::regnamespace").await,
        1
    );
}

#[tokio::test]
async fn what_a_lesser_administrator_lacks_is_said() {
    let site = Site::empty().await;
    let admin = site.role("admin");
    site.execute(&format!("CREATE ROLE {admin} LOGIN PASSWORD 'pw'")).await;
    let url = site.url(&admin, "pw");
    let ran = site.rollbook("setup --json").env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await.exits(1);
    assert_eq!(ran.error_code(), "insufficient_rights");
    for said in
        ["CREATEROLE", "ownership of the database", &format!("ALTER DATABASE \\\"{}\\\"", site.database)]
    {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

/// Makes a role that only has CREATEROLE and owns the database.
async fn lesser_administrator(site: &Site) -> String {
    let admin = site.role("admin");
    site.execute(&format!(
        "CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD 'pw'; ALTER DATABASE {} OWNER TO {admin}",
        site.database
    ))
    .await;
    admin
}

/// Every administrator's command, as a role that only has CREATEROLE and owns the database.
async fn whole_life_as(site: &Site, admin: &str) {
    let url = site.url(admin, "pw");
    for words in [
        "setup",
        "org add birch",
        "key add birch",
        "org set birch --rate-limit 7",
        "org suspend birch",
        "migrate",
        "status",
        "setup --new-generation",
        "org remove birch --yes",
    ] {
        site.rollbook(words).env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await.done();
    }
    let left =
        "SELECT rolname::text FROM pg_roles WHERE rolname ~ '(org|reader)_birch$' AND starts_with(rolname, '";
    assert_eq!(site.texts(&format!("{left}{}')", site.prefix)).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_administrator_needs_no_more_than_createrole_and_the_database() {
    let site = Site::empty().await;
    let admin = lesser_administrator(&site).await;
    whole_life_as(&site, &admin).await;
}

#[tokio::test]
async fn a_superuser_begins_and_the_databases_owner_goes_on() {
    let site = Site::empty().await;
    let admin = lesser_administrator(&site).await;
    site.run("setup").await.done();
    site.add("acme").await;
    whole_life_as(&site, &admin).await;
    let url = site.url(&admin, "pw");
    let ran =
        site.rollbook("org remove acme --yes --json").env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await;
    assert_eq!(ran.done().json()["state"], "removed");
}

#[tokio::test]
async fn a_database_that_is_given_to_another_owner_later_takes_everything_along() {
    let site = Site::with(&["acme"]).await;
    let (admin, analyst) = (site.role("admin"), site.role("analyst"));
    site.execute(&format!(
        "CREATE ROLE {analyst}; CREATE TABLE org_acme.notes (); ALTER TABLE org_acme.notes OWNER TO {analyst}; \
         CREATE SCHEMA forged AUTHORIZATION {analyst}; COMMENT ON SCHEMA forged IS 'Rollbook organization {analyst}'; \
         CREATE ROLE {admin} LOGIN CREATEROLE PASSWORD 'pw'; ALTER DATABASE {} OWNER TO {admin}",
        site.database
    ))
    .await;
    let url = site.url(&admin, "pw");
    let ran = site.rollbook("org list --json").env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await.exits(1);
    assert_eq!(ran.error_code(), "insufficient_rights");
    assert!(ran.stderr.contains("as a superuser, hands it over"), "{}", ran.stderr);

    site.run("setup").await.done();
    let owners = "SELECT DISTINCT pg_get_userbyid(owner)::text FROM pg_namespace n, LATERAL ( \
                    SELECT nspowner UNION SELECT proowner FROM pg_proc WHERE pronamespace = n.oid \
                    UNION SELECT relowner FROM pg_class WHERE relnamespace = n.oid AND relname <> 'notes') AS o (owner) \
                  WHERE nspname IN ('rollbook', 'org_acme')";
    assert_eq!(site.texts(owners).await, [admin.as_str()]);
    // Neither what somebody has in a schema of ours, nor what bears our mark and was never made by us.
    let others = "SELECT DISTINCT owner::text FROM (SELECT tableowner FROM pg_tables WHERE tablename = 'notes' UNION ALL \
                  SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'forged') AS of (owner)";
    assert_eq!(site.texts(others).await, [analyst]);
    site.execute("DROP TABLE org_acme.notes; DROP SCHEMA forged").await;
    whole_life_as(&site, &admin).await;
    for words in ["org suspend acme", "migrate --org acme", "org remove acme --yes"] {
        site.rollbook(words).env("ROLLBOOK_ADMIN_DATABASE_URL", &url).run().await.done();
    }
}
