//! What a login may do beyond its role's need is found and named.

use rollbook::store::{look, rights};
use rollbook::tenant::RolePrefix;

use crate::harness::{Service, Site};

async fn of_intake(site: &Site) -> Vec<String> {
    let mut login = site.intake().await;
    rights::check_intake(&look(&mut login).await.expect("a transaction")).await.expect("an answer")
}

async fn of_loader(site: &Site) -> Vec<String> {
    let prefix: RolePrefix = site.prefix.parse().expect("a prefix");
    let mut login = site.loader().await;
    rights::check_loader(&look(&mut login).await.expect("a transaction"), &prefix).await.expect("an answer")
}

#[tokio::test]
async fn the_logins_that_setup_makes_have_nothing_too_much() {
    let site = Site::with(&["acme", "birch"]).await;
    assert_eq!(of_intake(&site).await, Vec::<String>::new());
    assert_eq!(of_loader(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn whatever_is_too_much_is_named() {
    let site = Site::with(&["acme"]).await;
    let (database, reader) = (&site.database, site.role("reader_acme"));
    // What gives it, what takes it back, and what is said of it. `X` is the login.
    let cases = [
        ("ALTER ROLE X SUPERUSER", "ALTER ROLE X NOSUPERUSER", "is a superuser"),
        ("ALTER ROLE X CREATEROLE", "ALTER ROLE X NOCREATEROLE", "may create roles"),
        ("ALTER ROLE X CREATEDB", "ALTER ROLE X NOCREATEDB", "may create databases"),
        ("ALTER ROLE X REPLICATION", "ALTER ROLE X NOREPLICATION", "may replicate"),
        ("ALTER ROLE X BYPASSRLS", "ALTER ROLE X NOBYPASSRLS", "bypasses row security"),
        (
            "ALTER DATABASE D OWNER TO X",
            // Ownership takes the former owner's own grants with it.
            "ALTER DATABASE D OWNER TO session_user; GRANT CONNECT ON DATABASE D TO X",
            "owns the database",
        ),
        ("GRANT CREATE ON DATABASE D TO X", "REVOKE CREATE ON DATABASE D FROM X", "may create schemas"),
        (
            "ALTER SCHEMA org_acme OWNER TO X",
            "ALTER SCHEMA org_acme OWNER TO session_user",
            "owns the schema `org_acme`",
        ),
        (
            "ALTER TABLE org_acme.event OWNER TO X",
            "ALTER TABLE org_acme.event OWNER TO session_user",
            "owns `org_acme.event`",
        ),
        (
            "GRANT pg_read_all_data TO X",
            "REVOKE pg_read_all_data FROM X",
            "is a member of `pg_read_all_data`",
        ),
        ("GRANT R TO X", "REVOKE R FROM X", "is a member of `R`"),
        (
            "GRANT CREATE ON SCHEMA public TO X",
            "REVOKE CREATE ON SCHEMA public FROM X",
            "may create things in the schema `public`",
        ),
        (
            "GRANT SELECT ON org_acme.event TO X",
            "REVOKE ALL ON org_acme.event FROM X",
            "may SELECT `org_acme.event`",
        ),
        (
            "GRANT UPDATE (name) ON rollbook.organization TO X",
            "REVOKE UPDATE (name) ON rollbook.organization FROM X",
            "may UPDATE `rollbook.organization`",
        ),
        (
            "GRANT TRUNCATE ON rollbook.organization TO PUBLIC",
            "REVOKE TRUNCATE ON rollbook.organization FROM PUBLIC",
            "may TRUNCATE `rollbook.organization`",
        ),
    ];
    for login in ["intake", "loader"] {
        for (give, take, said) in cases {
            let fill = |text: &str| {
                let text = text
                    .replace("DATABASE D", &format!("DATABASE {database}"))
                    .replace(" X", &format!(" {}", site.role(login)));
                text.replace("GRANT R ", &format!("GRANT {reader} "))
                    .replace("REVOKE R ", &format!("REVOKE {reader} "))
                    .replace("`R`", &format!("`{reader}`"))
            };
            site.execute(&fill(give)).await;
            let excess = if login == "intake" { of_intake(&site).await } else { of_loader(&site).await };
            assert!(excess.contains(&fill(said)), "{login}, {give}: {excess:?}");
            site.execute(&fill(take)).await;
        }
    }
    assert_eq!(of_intake(&site).await, Vec::<String>::new());
    assert_eq!(of_loader(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn only_the_loader_may_become_a_writer_and_only_without_inheriting_its_rights() {
    let site = Site::with(&["acme"]).await;
    let (intake, loader, writer) = (site.role("intake"), site.role("loader"), site.role("org_acme"));
    site.execute(&format!(
        "GRANT {writer} TO {intake}; ALTER ROLE {loader} INHERIT; GRANT {writer} TO {loader}"
    ))
    .await;
    assert_eq!(of_intake(&site).await, [format!("is a member of `{writer}`")]);
    if site.number("SELECT current_setting('server_version_num')::bigint").await < 160_000 {
        let excess = of_loader(&site).await;
        assert!(excess.contains(&"may INSERT, SELECT `org_acme.event`".to_owned()), "{excess:?}");
    }
}

#[tokio::test]
async fn what_the_loader_could_do_as_an_organizations_role_is_its_own_excess() {
    let site = Site::with(&["acme", "birch"]).await;
    let (acme, birch, loader) = (site.role("org_acme"), site.role("org_birch"), site.role("loader"));
    // What gives it, what takes it back, and what is said of it. `A` and `B` are the writers, `L` is the login.
    let cases = [
        ("ALTER ROLE A SUPERUSER", "ALTER ROLE A NOSUPERUSER", "`A`, which is a superuser"),
        ("ALTER ROLE A BYPASSRLS", "ALTER ROLE A NOBYPASSRLS", "`A`, which bypasses row security"),
        ("GRANT B TO A", "REVOKE B FROM A", "`A`, which is a member of `B`"),
        ("GRANT A TO L WITH ADMIN OPTION", "REVOKE ADMIN OPTION FOR A FROM L", "may give `A` to others"),
        (
            "GRANT SELECT ON org_birch.event TO A",
            "REVOKE ALL ON org_birch.event FROM A",
            "`A`, which has rights on table org_birch.event",
        ),
        (
            "GRANT UPDATE (viewer_id) ON org_birch.event TO A",
            "REVOKE UPDATE (viewer_id) ON org_birch.event FROM A",
            "`A`, which has rights on column viewer_id of table org_birch.event",
        ),
        (
            "GRANT USAGE ON SCHEMA org_birch TO A",
            "REVOKE USAGE ON SCHEMA org_birch FROM A",
            "`A`, which has rights on schema org_birch",
        ),
        (
            "ALTER VIEW org_birch.watch_event OWNER TO A",
            "ALTER VIEW org_birch.watch_event OWNER TO session_user",
            "`A`, which owns view org_birch.watch_event",
        ),
        (
            "GRANT SELECT ON rollbook.write_key TO A",
            "REVOKE SELECT ON rollbook.write_key FROM A",
            "`A`, which has rights on table rollbook.write_key",
        ),
    ];
    for (give, take, said) in cases {
        let fill = |text: &str| {
            let words = text.split(' ').map(|word| match word {
                "A" => acme.clone(),
                "B" => birch.clone(),
                "L" => loader.clone(),
                other => other.replace("`A`", &format!("`{acme}`")).replace("`B`", &format!("`{birch}`")),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        site.execute(&fill(give)).await;
        let excess = of_loader(&site).await;
        assert!(excess.iter().any(|one| one.ends_with(&fill(said))), "{give}: {excess:?}");
        site.execute(&fill(take)).await;
        assert_eq!(of_loader(&site).await, Vec::<String>::new(), "{take}");
    }
}

/// Another installation of the cluster may have made a role of that name.
#[tokio::test]
async fn a_writer_that_bears_another_organizations_mark_is_too_much_and_goes_to_no_other_loader() {
    let site = Site::with(&["acme"]).await;
    let acme = site.role("org_acme");
    let others = "Rollbook organization 01a22e04-1cad-7620-8b6b-e70c87c19e6a";
    site.execute(&format!("COMMENT ON ROLE {acme} IS '{others}'")).await;
    assert_eq!(
        of_loader(&site).await,
        [format!("may become `{acme}`, which bears the mark of another organization")]
    );
    let other = site.role("loader2");
    site.rollbook("setup").env("ROLLBOOK_LOADER_DATABASE_URL", &site.url(&other, "x")).run().await.done();
    let members = "SELECT count(*) FROM pg_auth_members WHERE pg_get_userbyid(member) = ";
    assert_eq!(site.number(&format!("{members} '{other}'")).await, 0);
}

#[tokio::test]
async fn what_is_odd_within_one_organizations_schema_is_its_own_trouble() {
    let site = Site::with(&["acme", "birch"]).await;
    site.execute(&format!(
        "ALTER TABLE org_acme.event RENAME TO away; GRANT DELETE ON org_acme.away TO {acme}; \
         GRANT CREATE ON SCHEMA org_acme TO {acme}; ALTER SCHEMA org_acme RENAME TO elsewhere; \
         DROP SCHEMA org_birch CASCADE",
        acme = site.role("org_acme")
    ))
    .await;
    assert_eq!(of_loader(&site).await, Vec::<String>::new());
}

#[tokio::test]
async fn how_names_are_printed_says_nothing_about_rights() {
    let site = Site::with(&["acme", "birch"]).await;
    site.in_cluster(&format!("ALTER DATABASE {} SET quote_all_identifiers = on", site.database)).await;
    assert_eq!(of_intake(&site).await, Vec::<String>::new());
    assert_eq!(of_loader(&site).await, Vec::<String>::new());
    for words in ["setup", "org add cedar", "migrate", "status", "org remove birch --yes", "setup"] {
        site.run(words).await.done();
    }
    site.execute(&format!("GRANT SELECT ON org_cedar.event TO {}", site.role("org_acme"))).await;
    assert_eq!(of_loader(&site).await.len(), 1, "what is too much is still found");
}

#[tokio::test]
async fn serve_refuses_a_login_with_too_many_rights_and_says_which_unless_it_is_told_otherwise() {
    let site = Site::with(&["acme"]).await;
    let (admin, reader) = (site.admin_url(), site.role("reader_acme"));
    for role in ["intake", "loader"] {
        let variable = format!("ROLLBOOK_{}_DATABASE_URL", role.to_uppercase());
        let serve = || site.serve(&format!("--role {role}")).env("ROLLBOOK_HTTP_ADDR", "127.0.0.1:0");
        let ran = serve().env(&variable, &admin).run().await.exits(64);
        for said in ["is a superuser", &variable, "ROLLBOOK_ALLOW_PRIVILEGED_LOGIN"] {
            assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
        }
        site.execute(&format!("GRANT {reader} TO {}", site.role(role))).await;
        let ran = serve().run().await.exits(64);
        assert!(ran.stderr.contains(&format!("is a member of `{reader}`")), "{}", ran.stderr);

        let told = serve().env(&variable, &admin).env("ROLLBOOK_ALLOW_PRIVILEGED_LOGIN", "true");
        Service::ready(told).await.stop().await;
    }
}

#[tokio::test]
async fn serve_refuses_another_prefix_than_the_installations() {
    // Without an organization no membership gives it away.
    let site = Site::set_up().await;
    let serve = site.serve("--role loader").without("ROLLBOOK_ROLE_PREFIX");
    let ran = serve.run().await.exits(64);
    assert!(
        ran.stderr.contains("ROLLBOOK_ROLE_PREFIX") && ran.stderr.contains(&site.prefix),
        "{}",
        ran.stderr
    );
}
