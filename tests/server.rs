//! What we rely on and a server may have otherwise is found before anything is made or promised, and said whole.

use crate::harness::{Service, Site};

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused_with_all_else_that_does_not_fit() {
    let site = Site::empty().await;
    site.make_anew("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    site.in_cluster(&format!("ALTER DATABASE {} SET standard_conforming_strings = off", site.database)).await;
    let ran = site.run("setup --json").await.exits(1);
    assert_eq!(ran.error_code(), "unfit_server");
    for said in ["SQL_ASCII", "ENCODING 'UTF8'", "standard_conforming_strings is off"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'rollbook'";
    assert_eq!(site.number(made).await, 0);
    let roles = format!("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, '{}')", site.prefix);
    assert_eq!(site.number(&roles).await, 0);
}

#[tokio::test]
async fn setup_says_that_nothing_can_be_written() {
    let site = Site::empty().await;
    site.in_cluster(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", site.database))
        .await;
    let ran = site.run("setup --json").await.exits(1);
    assert_eq!(ran.error_code(), "unfit_server");
    assert!(ran.stderr.contains("default_transaction_read_only is on"), "{}", ran.stderr);
}

#[tokio::test]
async fn serve_refuses_a_login_whose_triggers_do_not_fire_even_where_rights_are_not_checked() {
    let site = Site::set_up().await;
    for (role, setting) in
        [("loader", "session_replication_role = replica"), ("intake", "standard_conforming_strings = off")]
    {
        site.execute(&format!("ALTER ROLE {} SET {setting}", site.role(role))).await;
        for allowed in ["false", "true"] {
            let serve = site.serve(&format!("--role {role}")).env("ROLLBOOK_ALLOW_PRIVILEGED_LOGIN", allowed);
            let ran = serve.env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0").run().await.exits(64);
            let (name, _) = setting.split_once(' ').expect("a setting");
            let variable = format!("ROLLBOOK_{}_DATABASE_URL", role.to_uppercase());
            assert!(ran.stderr.contains(name) && ran.stderr.contains(&variable), "{}", ran.stderr);
        }
    }
}

#[tokio::test]
async fn a_loader_waits_where_nothing_can_be_written_for_a_while() {
    let site = Site::with(&["acme"]).await;
    let login = site.role("loader");
    site.execute(&format!("ALTER ROLE {login} SET default_transaction_read_only = on")).await;
    let service = Service::start(site.serve("")).await;
    site.execute(&format!("ALTER ROLE {login} RESET default_transaction_read_only")).await;
    service.becomes_ready().await;
    service.stop().await;
}
