//! Postgres: killed, restarted, out of reach, read-only, its disk full. Intake goes on without it.

use super::{Ground, Passage};
use crate::harness::eventually;

/// Under load, something is done to Postgres until the loader notices, and undone.
async fn through(hurt: impl AsyncFn(&Ground), heal: impl AsyncFn(&Ground)) {
    let ground = Ground::with(&["acme", "birch"]).await;
    let (_intake, mut loader) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    ground.gains(100).await;
    hurt(&ground).await;
    eventually("the loader notices", async || {
        ["Postgres cannot be used", "a database connection failed"]
            .iter()
            .any(|said| loader.said().contains(said))
    })
    .await;
    // Intake keeps its promises to itself until Postgres is back.
    ground.promises(500).await;
    heal(&ground).await;
    ground.gains(100).await;
    loader.becomes_ready().await;
    assert!(!loader.has_ended());
    let all = ground.reckon(clients).await;
    assert_eq!((all.dead, all.failures), (0, 0), "{all:?}");
}

#[tokio::test]
async fn a_postgres_that_is_killed_gets_everything_when_it_is_back() {
    through(async |ground| ground.postgres().kill(), async |ground| ground.postgres().start()).await;
}

#[tokio::test]
async fn a_postgres_that_is_restarted_gets_everything_when_it_is_back() {
    through(async |ground| ground.postgres().stop(), async |ground| ground.postgres().start()).await;
}

#[tokio::test]
async fn a_postgres_out_of_reach_gets_everything_when_it_is_back() {
    let hurt = async |ground: &Ground| {
        ground.loader_to_postgres.set(Passage::Refused);
        ground.loader_to_postgres.cut();
    };
    through(hurt, async |ground| ground.loader_to_postgres.set(Passage::Open)).await;
}

#[tokio::test]
async fn a_postgres_that_is_read_only_gets_everything_when_it_writes_again() {
    through(async |ground| ground.read_only(true).await, async |ground| ground.read_only(false).await).await;
}

#[tokio::test]
async fn a_postgres_whose_disk_is_full_gets_everything_when_there_is_room() {
    if Ground::with(&[]).await.postgres().disk().is_none() {
        eprintln!("skipped: only root can mount a disk that may be filled");
        return;
    }
    let disk = |ground: &Ground, change: &dyn Fn(&super::servers::SmallDisk)| {
        change(ground.postgres().disk().expect("it was asked for"));
    };
    let heal = async |ground: &Ground| {
        disk(ground, &super::servers::SmallDisk::grow);
        ground.postgres().start();
    };
    through(async |ground| disk(ground, &super::servers::SmallDisk::fill), heal).await;
}
