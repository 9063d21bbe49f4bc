//! A loader that is far behind, and catches up.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rollbook::config::log::LogKind;

use super::{Clients, Ground, Passage};
use crate::harness::{Organization, played, within};

/// Batches that wait for the loader, of each organization.
const BATCHES: usize = 200;
/// As many events as a batch may have.
const EVENTS_A_BATCH: usize = 500;
/// On a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

async fn sends(ground: &Ground, organization: &Organization) {
    let client = ground.client(organization);
    for _ in 0..BATCHES {
        client.insist(&played(EVENTS_A_BATCH)).await;
    }
}

/// Everything was sent while the loader could not load; gives how long a new one takes from its start to the last row.
async fn catching_up(log: LogKind) -> Duration {
    let ground = Ground::on(log, &["acme", "birch", "cedar"]).await;
    let (_intake, loader) = ground.running().await;
    ground.loader_to_postgres.set(Passage::Refused);
    ground.loader_to_postgres.cut();
    join_all(ground.organizations.iter().map(|organization| sends(&ground, organization))).await;
    loader.kill().await;
    ground.loader_to_postgres.set(Passage::Open);
    let started = Instant::now();
    let _loader = ground.loader().await;
    let all = i64::try_from(BATCHES * EVENTS_A_BATCH).expect("few");
    for organization in &ground.organizations {
        let slug = &organization.slug;
        let stored = format!("SELECT coalesce(sum(stored), 0)::bigint FROM org_{slug}.ingest_watermark");
        within(PATIENCE, slug, async || ground.number(&stored).await >= all).await;
    }
    let took = started.elapsed();
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.duplicate, all.dead), (0, 0), "{all:?}");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: ./dev faults runs it"]
async fn a_loader_that_is_far_behind_catches_up_on_each_log() {
    for log in [LogKind::Kafka, LogKind::Embedded] {
        let took = catching_up(log).await.as_secs_f64();
        let events = 3 * BATCHES * EVENTS_A_BATCH;
        eprintln!("{log:?}: {events} events in {took:.1} s, {:.0} a second", events as f64 / took);
    }
}
