//! `org add`: complete, resumable, and never in somebody else's room.

use serde_json::{Value, json};

use crate::harness::{Ran, Site, eventually};

#[tokio::test]
async fn add_answers_with_what_the_contract_names_and_a_key_that_works() {
    let site = Site::set_up().await;
    let added = site.add("acme").await;
    let names: Vec<&String> = added.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["id", "key", "key_id", "organization", "schema", "state"]);
    assert_eq!((&added["organization"], &added["schema"]), (&json!("acme"), &json!("org_acme")));
    assert_eq!(added["state"], "active");
    let key = added["key"].as_str().expect("a key");
    rollbook::tenant::WriteKey::parse(key).expect("a well-formed key");
}

#[tokio::test]
async fn what_is_made_is_marked_with_the_organizations_id() {
    let site = Site::set_up().await;
    let id = site.add("acme").await["id"].as_str().expect("an id").to_owned();
    let marks = site
        .texts(&format!(
            "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname IN ('{}', '{}') \
             UNION ALL SELECT obj_description('org_acme'::regnamespace, 'pg_namespace')",
            site.role("org_acme"),
            site.role("reader_acme")
        ))
        .await;
    assert_eq!(marks.len(), 3);
    assert!(marks.iter().all(|mark| mark.contains(&id)), "{marks:?}");
}

#[tokio::test]
async fn an_active_organization_is_not_added_again() {
    let site = Site::with(&["acme"]).await;
    assert_eq!(site.run("org add acme --json").await.exits(1).error_code(), "organization_exists");
    site.run("org suspend acme").await.done();
    assert_eq!(site.run("org add acme --json").await.exits(1).error_code(), "organization_exists");
}

#[tokio::test]
async fn hostile_slugs_are_wrong_arguments() {
    let site = Site::set_up().await;
    let long = "a".repeat(49);
    for slug in [
        "",
        "a",
        "1a",
        "_a",
        "Acme",
        "ac me",
        "ac\"me",
        "ac'me",
        "../etc",
        "acme;",
        "acme--",
        "аcme",
        "acmé",
        "ａcme",
        "acme\n",
        "pg-catalog",
        &long,
    ] {
        site.rollbook("org add").arg(slug).run().await.exits(2);
    }
    assert_eq!(site.number("SELECT count(*) FROM rollbook.organization").await, 0);
}

#[tokio::test]
async fn reserved_words_and_the_longest_slug_are_names_like_any_other() {
    let site = Site::set_up().await;
    let long = "a".repeat(48);
    for slug in
        ["select", "user", "public", "pg_catalog", "information_schema", "reader_acme", "org_acme", &long]
    {
        assert_eq!(site.add(slug).await["schema"], json!(format!("org_{slug}")));
    }
}

#[tokio::test]
async fn a_role_of_that_name_that_we_did_not_make_is_refused_and_nothing_is_left() {
    for name in ["org_acme", "reader_acme"] {
        let site = Site::set_up().await;
        site.execute(&format!("CREATE ROLE {}", site.role(name))).await;
        let ran = site.run("org add acme --json").await.exits(1);
        assert_eq!(ran.error_code(), "name_taken");
        assert!(ran.stderr.contains(&site.role(name)), "{}", ran.stderr);
        assert_eq!(site.number("SELECT count(*) FROM rollbook.organization").await, 0);
        assert_eq!(site.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'org_acme'").await, 0);
    }
}

#[tokio::test]
async fn a_schema_of_that_name_that_we_did_not_make_is_refused_and_left_alone() {
    let site = Site::set_up().await;
    site.execute("CREATE SCHEMA org_acme; COMMENT ON SCHEMA org_acme IS 'of the accounting department'")
        .await;
    assert_eq!(site.run("org add acme --json").await.exits(1).error_code(), "name_taken");
    assert_eq!(
        site.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'org_acme'::regnamespace").await,
        0
    );
}

#[tokio::test]
async fn another_organizations_mark_is_not_ours() {
    let site = Site::with(&["acme"]).await;
    site.execute("ALTER SCHEMA org_acme RENAME TO org_birch").await;
    assert_eq!(site.run("org add birch --json").await.exits(1).error_code(), "name_taken");
}

/// Takes a complete organization back to where a crash would have left it, one step further each time.
fn steps_back(site: &Site) -> Vec<(&'static str, String)> {
    let (writer, reader) = (site.role("org_acme"), site.role("reader_acme"));
    vec![
        (
            "before the state and the key",
            "DELETE FROM rollbook.write_key; \
             UPDATE rollbook.organization SET state = 'provisioning', schema_version = 0"
                .to_owned(),
        ),
        (
            "before the grants",
            format!(
                "REVOKE ALL ON ALL TABLES IN SCHEMA org_acme FROM {writer}, {reader}; \
                 REVOKE ALL ON SCHEMA org_acme FROM {writer}, {reader}; \
                 REVOKE {writer} FROM {}; REVOKE {} FROM {reader}",
                site.role("loader"),
                site.role("rollbook_readers")
            ),
        ),
        (
            "before the pin",
            "ALTER TABLE org_acme.ingest_watermark DROP CONSTRAINT ingest_watermark_is_of_this_organization"
                .to_owned(),
        ),
        (
            "between two migrations",
            "DROP TABLE org_acme.dead_letter; DROP VIEW org_acme.watch_event, org_acme.answer_event; \
             ALTER TABLE org_acme.event DROP COLUMN stored_in; \
             DO $$ DECLARE report regclass; BEGIN \
                 FOR report IN SELECT oid FROM pg_class WHERE relnamespace = 'org_acme'::regnamespace \
                     AND relkind = 'r' AND relname LIKE 'report%' \
                 LOOP EXECUTE 'DROP TABLE ' || report || ' CASCADE'; END LOOP; END $$; \
             DELETE FROM org_acme.refinery_schema_history WHERE version > 2"
                .to_owned(),
        ),
        (
            "before the first migration",
            "DROP TABLE org_acme.event, org_acme.ingest_watermark, \
             org_acme.refinery_schema_history"
                .to_owned(),
        ),
        ("before the schema", "DROP SCHEMA org_acme CASCADE".to_owned()),
        ("before the reader's role", format!("DROP ROLE {reader}")),
        ("before the writer's role", format!("DROP ROLE {writer}")),
    ]
}

/// Everything that Postgres knows of an organization's things, so that two can be compared.
async fn portrait(site: &Site) -> Vec<String> {
    site.texts(
        "SELECT concat_ws(' ', relkind, relname, relacl) FROM pg_class WHERE relnamespace = 'org_acme'::regnamespace \
         UNION ALL SELECT concat_ws(' ', 'c', conrelid::regclass, conname, pg_get_constraintdef(oid)) \
                   FROM pg_constraint WHERE connamespace = 'org_acme'::regnamespace \
         UNION ALL SELECT concat_ws(' ', 'schema', nspacl, obj_description(oid, 'pg_namespace')) FROM pg_namespace \
                   WHERE nspname = 'org_acme' \
         UNION ALL SELECT concat_ws(' ', 'member', member::regrole, 'of', roleid::regrole) FROM pg_auth_members, \
                   rollbook.installation \
                   WHERE starts_with(roleid::regrole::text, role_prefix) AND concat(roleid::regrole, member::regrole) ~ '_acme' \
         UNION ALL SELECT concat_ws(' ', state, schema_version) FROM rollbook.organization \
         ORDER BY 1",
    )
    .await
}

#[tokio::test]
async fn a_crash_at_any_step_is_taken_up_by_the_same_command() {
    let site = Site::set_up().await;
    let first = site.add("acme").await;
    let whole = portrait(&site).await;
    let steps = steps_back(&site);
    for crash in 0..steps.len() {
        for (_, undo) in &steps[..=crash] {
            site.execute(undo).await;
        }
        let (when, _) = &steps[crash];
        assert_eq!(site.run("org show acme --json").await.done().json()["state"], "provisioning", "{when}");
        let again = site.add("acme").await;
        assert_eq!(again["id"], first["id"], "{when}");
        assert_ne!(again["key"], first["key"], "{when}");
        assert_eq!(portrait(&site).await, whole, "{when}");
        assert_eq!(site.number("SELECT count(*) FROM rollbook.write_key").await, 1, "{when}");
    }
}

#[tokio::test]
async fn a_name_that_is_given_when_an_add_is_taken_up_again_is_written_down() {
    let site = Site::with(&["acme"]).await;
    site.execute("UPDATE rollbook.organization SET state = 'provisioning'").await;
    site.run("org add acme --name Acme").await.done();
    assert_eq!(site.run("org show acme --json").await.done().json()["name"], "Acme");
    let trail = "SELECT action || ' ' || what FROM rollbook.admin_event WHERE what ? 'name' ORDER BY id";
    assert_eq!(
        site.texts(trail).await,
        [r#"org.add {"name": "acme", "slug": "acme"}"#, r#"org.set {"name": "Acme"}"#]
    );
}

#[tokio::test]
async fn an_organization_that_is_not_complete_takes_no_other_command_but_removal() {
    let site = Site::with(&["acme"]).await;
    site.execute("UPDATE rollbook.organization SET state = 'provisioning'").await;
    for words in
        ["org suspend acme", "org resume acme", "org set acme --name X", "key add acme", "migrate --org acme"]
    {
        let ran = site.run(&format!("{words} --json")).await.exits(1);
        assert_eq!(ran.error_code(), "organization_provisioning", "{words}");
    }
    assert_eq!(site.run("migrate --json").await.done().items(), Vec::<Value>::new());
    site.run("org remove acme --yes").await.done();
}

#[tokio::test]
async fn many_organizations_can_be_added_at_once() {
    let site = Site::set_up().await;
    let slugs = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel"];
    let adds = slugs.map(async |slug| site.run(&format!("org add {slug}")).await);
    for ran in futures_util::future::join_all(adds).await {
        ran.done();
    }
    assert_eq!(site.number("SELECT count(*) FROM rollbook.organization WHERE state = 'active'").await, 8);
}

#[tokio::test]
async fn of_several_adds_of_one_slug_one_wins() {
    let site = Site::set_up().await;
    let adds = [(); 4].map(|()| site.run("org add acme --json"));
    let ran = futures_util::future::join_all(adds).await;
    let (won, lost): (Vec<_>, Vec<_>) = ran.into_iter().partition(|ran| ran.stderr.is_empty());
    assert_eq!(won.len(), 1, "{won:?}");
    for ran in lost {
        assert_eq!(ran.exits(1).error_code(), "organization_exists");
    }
    assert_eq!(site.number("SELECT count(*) FROM rollbook.write_key").await, 1);
}

/// Runs `org add acme` against another administrator's open transaction, which commits once the command waits for it.
async fn add_against(site: &Site, other_does: &str) -> Ran {
    let mut other = site.superuser().await;
    let work = other.transaction().await.expect("a transaction");
    work.batch_execute(other_does).await.expect("the other administrator's change");
    let (ran, ()) = tokio::join!(site.run("org add acme --json"), async {
        eventually("the command waits for the other administrator", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                             AND wait_event_type = 'Lock'";
            site.number(waiting).await == 1
        })
        .await;
        work.commit().await.expect("the other goes first");
    });
    ran
}

#[tokio::test]
async fn a_grant_that_another_administrator_made_at_the_same_moment_is_tried_again() {
    let site = Site::with(&["acme"]).await;
    let (writer, reader) = (site.role("org_acme"), site.role("reader_acme"));
    site.execute(&format!(
        "UPDATE rollbook.organization SET state = 'provisioning'; REVOKE ALL ON org_acme.event FROM {writer}"
    ))
    .await;
    // Postgres answers XX000, "tuple concurrently updated".
    add_against(&site, &format!("GRANT SELECT ON org_acme.event TO {reader}, {}", site.role("loader")))
        .await
        .done();
}

#[tokio::test]
async fn a_role_that_somebody_made_at_the_same_moment_is_somebody_elses() {
    let site = Site::set_up().await;
    // Postgres answers 23505, from its own catalog.
    let ran = add_against(&site, &format!("CREATE ROLE {}", site.role("org_acme"))).await;
    assert_eq!(ran.exits(1).error_code(), "name_taken");
}
