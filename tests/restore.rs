//! What docs/operating.md says of restoring one organization's schema, by the commands that stand there. (All of Postgres:
//! `faults/anchor.rs`.)

use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Form, Organization, Service, Site, eventually, played};

/// The commands of the page that are for a shell and hold this, for the organization `acme`.
fn documented(mark: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let page = std::fs::read_to_string(page).expect("our own documentation");
    let scripts = page.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let mut fitting = scripts.filter(|script| script.contains(mark));
    let script = fitting.next().unwrap_or_else(|| panic!("no command of the page holds {mark}"));
    assert!(fitting.next().is_none(), "{mark} stands there once");
    script.replace("SLUG", "acme")
}

/// A site at work, and a folder for dumps.
struct Scene {
    site: Site,
    acme: Organization,
    birch: Organization,
    service: Service,
    folder: TempDir,
}

impl Scene {
    async fn set_up() -> Self {
        let site = Site::set_up().await;
        let (acme, birch) = (site.organization("acme").await, site.organization_beside("acme").await);
        let serve = site.serve("").env("ROLLBOOK_LOADER_LOG_CHECK_SECONDS", "1");
        let scene = Self {
            acme,
            birch,
            service: Service::ready(serve).await,
            folder: tempfile::tempdir().expect("a folder"),
            site,
        };
        scene.gets(10).await;
        scene.site.loaded("acme", 10).await;
        scene
    }

    async fn gets(&self, events: usize) {
        self.service.post(&self.acme, Form::Json, &played(events)).await.accepts(events);
    }

    async fn types(&self, script: &str) {
        self.site.rollbook("").by_shell(script, self.folder.path()).run().await.done();
    }

    /// Loses the schema while records come.
    async fn loses_the_schema(&self) {
        self.site.execute("DROP SCHEMA org_acme CASCADE").await;
        self.gets(1).await;
        let held = "SELECT count(*) FROM rollbook.held_record";
        eventually("it is held", async || self.site.number(held).await == 1).await;
    }

    /// What is held drains, and the organization can be removed: what was restored is known for its own.
    async fn ends_whole(self, stored: usize) {
        self.site.run("held drain acme").await.done();
        eventually("all is stored", async || self.site.stored_ids("acme").await.len() == stored).await;
        self.gets(1).await;
        eventually("and more", async || self.site.stored_ids("acme").await.len() == stored + 1).await;
        self.service.stop().await;
        self.site.run("org remove acme --yes").await.done();
        assert_eq!(self.site.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'org_acme'").await, 0);
    }
}

#[tokio::test]
async fn what_a_schema_restored_from_its_own_dump_lacks_is_named_by_the_audit_and_comes_with_a_new_generation()
 {
    let scene = Scene::set_up().await;
    scene.service.post(&scene.birch, Form::Json, &played(10)).await.accepts(10);
    scene.site.loaded(&scene.birch.slug, 10).await;
    scene.types(&documented("--schema=org_SLUG --file")).await;
    scene.gets(5).await;
    scene.site.loaded("acme", 15).await;
    scene.loses_the_schema().await;
    scene
        .types(&documented(
            "psql \"$ROLLBOOK_ADMIN_DATABASE_URL\" -c 'DROP SCHEMA IF EXISTS org_SLUG CASCADE'\npg_restore",
        ))
        .await;
    scene.site.run("held drain acme").await.done();
    assert_eq!(scene.site.stored_ids("acme").await.len(), 11);
    // The anchors are beyond what came between the dump and the accident.
    let audit = scene.site.run("audit acme --json").await.exits(1).json();
    assert_eq!(audit["items"][0]["missing"].as_array().map(Vec::len), Some(5), "{audit}");
    scene.site.run("setup --new-generation").await.done();
    eventually("the schema has them", async || scene.site.stored_ids("acme").await.len() == 16).await;
    eventually("the books are right", async || scene.site.run("audit --json").await.json()["ok"] == true)
        .await;
    assert_eq!(scene.site.stored_ids(&scene.birch.slug).await.len(), 10);
    scene.ends_whole(16).await;
}

#[tokio::test]
async fn a_schema_comes_back_from_a_dump_of_the_whole_database_with_its_rights_and_its_mark() {
    let scene = Scene::set_up().await;
    scene.types("pg_dump --format=custom --file=all.dump \"$ROLLBOOK_ADMIN_DATABASE_URL\"").await;
    scene.loses_the_schema().await;
    scene.types(&documented("CREATE SCHEMA org_SLUG")).await;
    scene.ends_whole(11).await;
}
