//! Whose the cluster's roles are, and which installation a database is: by an id, whatever its name.

use crate::harness::{Ran, Rollbook, Site, sqlstate};

const LOGINS: [(&str, &str); 2] =
    [("ROLLBOOK_INTAKE_DATABASE_URL", "intake"), ("ROLLBOOK_LOADER_DATABASE_URL", "loader")];

/// `setup` of a site, with one login that is another site's.
fn setup_with(site: &Site, words: &str, variable: &str, login: &str, password: &str) -> Rollbook {
    site.rollbook(&format!("setup --json {words}")).env(variable, &site.url(login, password))
}

async fn takes(site: &Site, login: &str, password: &str) -> bool {
    let config: tokio_postgres::Config = site.url(login, password).parse().expect("a URL");
    sqlstate(&config.connect(tokio_postgres::NoTls).await).is_none()
}

/// Nothing of ours stands in the database.
async fn is_empty(site: &Site) -> bool {
    site.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'rollbook'").await == 0
}

fn names(ran: Ran, code: &str, said: &[&str]) {
    let ran = ran.exits(1);
    assert_eq!(ran.error_code(), code);
    for said in said {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(!ran.stderr.to_lowercase().contains("drop"), "{}", ran.stderr);
}

#[tokio::test]
async fn another_installations_logins_are_named_and_keep_their_passwords() {
    let (site, staging) = (Site::set_up().await, Site::empty().await);
    for (variable, role) in LOGINS {
        let (login, own) = (site.role(role), format!("{role} password"));
        for password in ["changed", &own] {
            for words in ["", "--adopt-logins"] {
                let ran = setup_with(&staging, words, variable, &login, password).run().await;
                names(ran, "name_taken", &[&login, "another installation"]);
            }
        }
        assert!(takes(&site, &login, &own).await, "its password is what it was");
        assert!(is_empty(&staging).await);
    }
    site.run("setup").await.done();
}

#[tokio::test]
async fn a_login_that_nobody_marked_is_taken_only_where_a_person_says_so() {
    for (variable, role) in LOGINS {
        let site = Site::empty().await;
        let login = site.role(role);
        site.execute(&format!(
            "CREATE ROLE {login} LOGIN PASSWORD 'keep'; COMMENT ON ROLE {login} IS 'of the accounting department'"
        ))
        .await;
        names(
            setup_with(&site, "", variable, &login, "new").run().await,
            "name_taken",
            &[&login, "--adopt-logins"],
        );
        assert!(takes(&site, &login, "keep").await && is_empty(&site).await);

        setup_with(&site, "--adopt-logins", variable, &login, "new").run().await.done();
        assert!(takes(&site, &login, "new").await);
        setup_with(&site, "", variable, &login, "newer").run().await.done();
        assert!(takes(&site, &login, "newer").await, "from here on it is marked");
    }
}

#[tokio::test]
async fn what_an_earlier_release_left_without_an_id_is_marked_by_the_next_setup() {
    let mut site = Site::with(&["acme"]).await;
    let topic = site.database.clone();
    let readers = site.role("rollbook_readers");
    let (intake, loader) = (site.role("intake"), site.role("loader"));
    let renamed = format!("{}renamed", site.database);
    site.execute(&format!(
        "COMMENT ON SCHEMA rollbook IS 'Rollbook installation in database {database}'; \
         COMMENT ON ROLE {readers} IS 'Rollbook installation in database {database}'; \
         COMMENT ON ROLE {intake} IS NULL; COMMENT ON ROLE {loader} IS NULL; \
         ALTER TABLE rollbook.installation DROP COLUMN id; DROP TABLE rollbook.partition_anchor; \
         DELETE FROM rollbook.refinery_schema_history WHERE version > 8",
        database = site.database
    ))
    .await;
    rename(&mut site, renamed).await;
    for words in ["setup", "setup", "org add birch"] {
        site.rollbook(words).env("ROLLBOOK_KAFKA_TOPIC", &topic).run().await.done();
    }
    let marks = format!(
        "SELECT 'Rollbook installation ' || id FROM rollbook.installation \
         UNION ALL SELECT obj_description('rollbook'::regnamespace, 'pg_namespace') \
         UNION ALL SELECT shobj_description(oid, 'pg_authid') FROM pg_roles \
                   WHERE rolname IN ('{readers}', '{intake}', '{loader}')"
    );
    let marks = site.texts(&marks).await;
    assert_eq!(marks.len(), 5);
    assert!(marks.iter().all(|mark| *mark == marks[0]), "{marks:?}");
}

/// Gives the database another name.
async fn rename(site: &mut Site, name: String) {
    site.in_cluster(&format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
        site.database
    ))
    .await;
    site.in_cluster(&format!("ALTER DATABASE {} RENAME TO {name}", site.database)).await;
    site.database = name;
}

#[tokio::test]
async fn a_database_that_is_renamed_is_the_same_installation() {
    let mut site = Site::with(&["acme"]).await;
    let topic = site.database.clone();
    let renamed = format!("{}renamed", site.database);
    rename(&mut site, renamed).await;
    for words in ["setup", "org add birch", "migrate", "org remove acme --yes", "setup"] {
        site.rollbook(words).env("ROLLBOOK_KAFKA_TOPIC", &topic).run().await.done();
    }
}

#[tokio::test]
async fn a_copy_that_takes_the_place_of_the_database_is_the_same_installation() {
    let site = Site::with(&["acme"]).await;
    let copy = site.copied().await;
    site.in_cluster(&format!("DROP DATABASE {} WITH (FORCE)", site.database)).await;
    for words in ["setup", "org add birch", "migrate", "status", "setup"] {
        copy.rollbook(words).env("ROLLBOOK_KAFKA_TOPIC", &site.database).run().await.done();
    }
    let (variable, role) = LOGINS[0];
    let again = setup_with(&copy, "", variable, &copy.role(role), "new");
    again.env("ROLLBOOK_KAFKA_TOPIC", &site.database).run().await.done();
    assert!(takes(&copy, &copy.role(role), "new").await, "nobody else is served by it");
}

#[tokio::test]
async fn a_copy_beside_the_database_does_not_lock_its_service_out() {
    let site = Site::with(&["acme"]).await;
    let copy = site.copied().await;
    for (variable, role) in LOGINS {
        let login = site.role(role);
        let ran = setup_with(&copy, "", variable, &login, "changed");
        let ran = ran.env("ROLLBOOK_KAFKA_TOPIC", &site.database).run().await;
        names(ran, "login_serves_another", &[&login, &site.database]);
        assert!(takes(&site, &login, &format!("{role} password")).await);
    }
    copy.rollbook("setup").env("ROLLBOOK_KAFKA_TOPIC", &site.database).run().await.done();
    for (_, role) in LOGINS {
        assert!(takes(&site, &site.role(role), &format!("{role} password")).await);
    }
}

#[tokio::test]
async fn a_dump_without_comments_is_the_same_installation() {
    let site = Site::with(&["acme"]).await;
    site.execute("COMMENT ON SCHEMA rollbook IS NULL").await;
    site.run("setup").await.done();
    let mark = "SELECT obj_description('rollbook'::regnamespace, 'pg_namespace') = 'Rollbook installation ' || id \
                FROM rollbook.installation";
    let row = site.superuser().await.query_one(mark, &[]).await.expect("the mark");
    assert!(row.get::<_, bool>(0));
    let stranger = site.role("stranger");
    site.execute(&format!(
        "COMMENT ON SCHEMA rollbook IS NULL; CREATE ROLE {stranger}; ALTER SCHEMA rollbook OWNER TO {stranger}"
    ))
    .await;
    names(site.run("setup --json").await, "name_taken", &["the schema `rollbook`"]);
}

#[tokio::test]
async fn roles_whose_installation_is_gone_with_its_database_are_taken_over() {
    let site = Site::set_up().await;
    site.make_anew("").await;
    site.run("setup").await.done();
    assert!(takes(&site, &site.role("intake"), "intake password").await);
    site.add("acme").await;
}

#[tokio::test]
async fn a_schema_called_rollbook_that_is_not_ours_is_named_and_nobody_is_told_to_drop_it() {
    let site = Site::empty().await;
    for comment in ["NULL", "'of the accounting department'", "'Rollbook organization'"] {
        site.execute(&format!("CREATE SCHEMA rollbook; COMMENT ON SCHEMA rollbook IS {comment}")).await;
        names(site.run("setup --json").await, "name_taken", &["the schema `rollbook`"]);
        site.execute("DROP SCHEMA rollbook").await;
    }
}
