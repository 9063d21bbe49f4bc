//! Behind PgBouncer: administrators' commands in session mode, the service in transaction mode, too.

use futures_util::future::join_all;
use rollbook::config::{DatabaseUrl, Secret};
use rollbook::store::Error;
use rollbook::store::audit::Snapshot;

use crate::harness::{Form, Lending, Pooler, Rollbook, Service, Site, played};

/// A command of the administrator's by way of a pooler.
fn through(pooler: &Pooler, site: &Site, words: &str) -> Rollbook {
    site.rollbook(words).env("ROLLBOOK_ADMIN_DATABASE_URL", &pooler.through(site, &site.admin_url()))
}

/// Everything that stands in the database, and the locks that are left.
const ALL: &str = "
    SELECT concat_ws(' ', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname !~ '^(pg_|information_schema)'
    UNION ALL SELECT concat_ws(' ', slug, state, schema_version) FROM rollbook.organization
    UNION ALL SELECT rolname::text FROM pg_roles, rollbook.installation WHERE starts_with(rolname, role_prefix)
    UNION ALL SELECT concat_ws(' ', id, revoked_at) FROM rollbook.write_key
    UNION ALL SELECT 'a lock' FROM pg_locks WHERE locktype = 'advisory'
                                              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY 1";

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused_before_anything_is_changed() {
    let site = Site::with(&["acme"]).await;
    let pooler = Pooler::start(&site, Lending::Transaction);
    let before = site.texts(ALL).await;
    for words in [
        "setup",
        "org add birch",
        "org suspend acme",
        "org set acme --name X",
        "org remove acme --yes",
        "key add acme",
        "migrate",
        "status",
        "dead-letters discard acme",
        "held list acme",
    ] {
        let ran = through(&pooler, &site, &format!("{words} --json")).run().await.exits(1);
        assert_eq!(ran.error_code(), "shared_session", "{words}");
        assert!(ran.stderr.contains("ROLLBOOK_ADMIN_DATABASE_URL"), "{}", ran.stderr);
    }
    // `audit` asks the log first; what it then asks of Postgres takes a session of its own as well.
    let url: Secret = pooler.through(&site, &site.admin_url()).parse().expect("any text");
    let opened = Snapshot::open(&DatabaseUrl::parse(&url).expect("a URL")).await;
    assert!(matches!(opened, Err(Error::SharedSession)), "{opened:?}");
    assert_eq!(site.texts(ALL).await, before);
}

#[tokio::test]
async fn many_at_once_are_refused_by_a_pooler_in_transaction_mode_one_by_one() {
    let site = Site::with(&["acme"]).await;
    let pooler = Pooler::start(&site, Lending::Transaction);
    let before = site.texts(ALL).await;
    for _ in 0..3 {
        let adds = (0..8).map(|n| through(&pooler, &site, &format!("org add birch{n} --json")).run());
        for ran in join_all(adds).await {
            assert_eq!(ran.exits(1).error_code(), "shared_session");
        }
    }
    assert_eq!(site.texts(ALL).await, before);
}

#[tokio::test]
async fn an_administrator_works_through_a_pooler_in_session_mode() {
    let site = Site::empty().await;
    let pooler = Pooler::start(&site, Lending::Session);
    through(&pooler, &site, "setup").run().await.done();
    let adds = ["acme", "birch", "cedar", "dogwood"]
        .map(|slug| through(&pooler, &site, &format!("org add {slug}")).run());
    for ran in join_all(adds).await {
        ran.done();
    }
    let url: Secret = pooler.through(&site, &site.admin_url()).parse().expect("any text");
    Snapshot::open(&DatabaseUrl::parse(&url).expect("a URL")).await.expect("a session of its own");
    for words in ["migrate --jobs 2", "key add acme", "status", "org remove birch --yes", "setup"] {
        through(&pooler, &site, words).run().await.done();
    }
    let public = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(site.number(public).await, 0);
}

#[tokio::test]
async fn the_service_works_through_a_pooler_in_transaction_mode() {
    let site = Site::set_up().await;
    let slugs = ["acme", "birch", "cedar", "dogwood"];
    let mut organizations = Vec::new();
    for slug in slugs {
        organizations.push(site.organization(slug).await);
    }
    let pooler = Pooler::start(&site, Lending::Transaction);
    let logins = ["intake", "loader"].map(|role| {
        let url = site.url(&site.role(role), &format!("{role} password"));
        (format!("ROLLBOOK_{}_DATABASE_URL", role.to_uppercase()), pooler.through(&site, &url))
    });
    let mut serve = site.serve("");
    for (variable, url) in &logins {
        serve = serve.env(variable, url);
    }
    let service = Service::ready(serve).await;
    for round in 0..10 {
        let posts = organizations.iter().map(async |organization| {
            let count = if round % 2 == 0 { 3 } else { 300 };
            service.post(organization, Form::Json, &played(count)).await.accepts(count);
        });
        join_all(posts).await;
    }
    for slug in slugs {
        assert_eq!(site.loaded(slug, 5 * 303).await, (5 * 303, 0));
    }
    let late = site.organization("elm").await;
    crate::harness::eventually("a new key is known", async || {
        let reply = service.post(&late, Form::Json, &played(1)).await;
        reply.status == hyper::StatusCode::OK
    })
    .await;
    let complaints = service.complaints();
    assert_eq!(complaints, Vec::<String>::new());
    service.stop().await;
}
