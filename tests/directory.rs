//! The snapshot of organizations: in step within two seconds, and kept while Postgres is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollbook::config::DatabaseUrl;
use rollbook::store::directory::{self, View};
use rollbook::tenant::{Directory, OrganizationId, RecordOwner, ResolveError, WriteKey};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::{Site, eventually};

/// A directory that is being followed until it is dropped.
struct Followed {
    directory: Arc<Directory>,
    stop: CancellationToken,
}

impl Followed {
    async fn new(url: DatabaseUrl, view: View) -> Self {
        let (directory, stop) = (Arc::new(Directory::default()), CancellationToken::new());
        let (followed, until) = (Arc::clone(&directory), stop.clone());
        tokio::spawn(async move { directory::follow(&url, view, &followed, &until).await });
        eventually("a first snapshot", async || directory.taken_at().is_some()).await;
        Self { directory, stop }
    }

    fn age(&self) -> Duration {
        self.directory.taken_at().expect("a snapshot").elapsed()
    }

    fn claim(&self, key: &WriteKey, tag: &str) -> Result<(), ResolveError> {
        self.directory.authenticate(key)?.claim(tag).map(drop)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn key(answer: &Value) -> WriteKey {
    WriteKey::parse(answer["key"].as_str().expect("a key")).expect("a well-formed key")
}

async fn within_two_seconds(what: &str, is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    eventually(what, is_so).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{what}: {:?}", begun.elapsed());
}

#[tokio::test]
async fn keys_and_states_take_effect_within_two_seconds() {
    let site = Site::set_up().await;
    let intake = Followed::new(site.intake_database(), View::Intake).await;
    let added = site.add("acme").await;
    let first = key(&added);
    within_two_seconds("a new key works", async || intake.claim(&first, "acme") == Ok(())).await;
    assert_eq!(intake.claim(&first, "birch"), Err(ResolveError::OrganizationMismatch));

    site.run("org suspend acme").await.done();
    let suspended = Err(ResolveError::OrganizationSuspended);
    within_two_seconds("a suspension holds", async || intake.claim(&first, "acme") == suspended).await;
    site.run("org resume acme").await.done();
    within_two_seconds("it is over", async || intake.claim(&first, "acme") == Ok(())).await;

    site.run(&format!("key revoke {}", added["key_id"].as_str().expect("an id"))).await.done();
    let unknown = Err(ResolveError::UnknownKey);
    within_two_seconds("a revoked key stops", async || intake.claim(&first, "acme") == unknown).await;
}

#[tokio::test]
async fn a_removed_organization_has_no_keys_and_its_records_are_known_as_removed() {
    let site = Site::set_up().await;
    let added = site.add("acme").await;
    let id: OrganizationId = OrganizationId(added["id"].as_str().expect("an id").parse().expect("a UUID"));
    let intake = Followed::new(site.intake_database(), View::Intake).await;
    let loader = Followed::new(site.loader_database(), View::Loader).await;
    assert!(matches!(loader.directory.of_record(id), Some(RecordOwner::Tenant(_))));
    assert_eq!(loader.claim(&key(&added), "acme"), Err(ResolveError::UnknownKey), "the loader reads no keys");

    site.run("org remove acme --yes").await.done();
    let unknown = Err(ResolveError::UnknownKey);
    within_two_seconds("its key stops", async || intake.claim(&key(&added), "acme") == unknown).await;
    within_two_seconds("it is removed", async || {
        matches!(loader.directory.of_record(id), Some(RecordOwner::Removed))
    })
    .await;
}

#[tokio::test]
async fn the_last_snapshot_serves_while_postgres_is_away_and_its_age_is_known() {
    let site = Site::set_up().await;
    let added = site.add("acme").await;
    let intake = Followed::new(site.intake_database(), View::Intake).await;
    let login = site.role("intake");
    let cut = format!(
        "ALTER ROLE {login} NOLOGIN; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{login}'"
    );
    site.execute(&cut).await;
    eventually("the snapshot is old", async || intake.age() > Duration::from_secs(2)).await;
    assert_eq!(intake.claim(&key(&added), "acme"), Ok(()));

    site.execute(&format!("ALTER ROLE {login} LOGIN")).await;
    eventually("the snapshot is fresh", async || intake.age() < Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_lost_announcement_is_made_up_for_by_the_poll() {
    let site = Site::with(&["acme"]).await;
    let intake = Followed::new(site.intake_database(), View::Intake).await;
    site.execute("ALTER TABLE rollbook.write_key DISABLE TRIGGER announce").await;
    let added = site.run("key add acme --json").await.done().json();
    within_two_seconds("the key works", async || intake.claim(&key(&added), "acme") == Ok(())).await;
}

#[tokio::test]
async fn following_ends_when_it_is_told_to_even_while_postgres_is_away() {
    let nowhere: rollbook::config::Secret = "postgres://ann:pw@127.0.0.1:1/x".parse().expect("any text");
    let nowhere = DatabaseUrl::parse(&nowhere).expect("a URL");
    let (directory, stop) = (Directory::default(), CancellationToken::new());
    let follow = directory::follow(&nowhere, View::Intake, &directory, &stop);
    tokio::join!(follow, async { stop.cancel() });
    assert!(directory.taken_at().is_none());
}
