//! Postgres: killed, restarted, out of reach, read-only, its disk full. Intake goes on without it.

use rollbook::config::log::LogKind;

use super::{Ground, Passage, SmallDisk};
use crate::harness::eventually;

// To the loader a restart is a kill, and a read-only server one out of reach: these two on Kafka alone.
on_each_log![
    a_postgres_that_is_killed_gets_everything_when_it_is_back,
    a_postgres_out_of_reach_gets_everything_when_it_is_back,
    a_postgres_whose_disk_is_full_gets_everything_when_there_is_room,
];

/// Under load, something is done to Postgres until the loader notices, and undone.
async fn through(log: LogKind, hurt: impl AsyncFn(&Ground), heal: impl AsyncFn(&Ground)) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let (_intake, mut loader) = ground.running().await;
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

async fn a_postgres_that_is_killed_gets_everything_when_it_is_back(log: LogKind) {
    through(log, async |ground| ground.postgres().kill(), async |ground| ground.postgres().start()).await;
}

#[tokio::test]
async fn a_postgres_that_is_restarted_gets_everything_when_it_is_back() {
    through(
        LogKind::Kafka,
        async |ground| ground.postgres().stop(),
        async |ground| ground.postgres().start(),
    )
    .await;
}

async fn a_postgres_out_of_reach_gets_everything_when_it_is_back(log: LogKind) {
    let hurt = async |ground: &Ground| {
        ground.loader_to_postgres.set(Passage::Refused);
        ground.loader_to_postgres.cut();
    };
    through(log, hurt, async |ground| ground.loader_to_postgres.set(Passage::Open)).await;
}

#[tokio::test]
async fn a_postgres_that_is_read_only_gets_everything_when_it_writes_again() {
    through(
        LogKind::Kafka,
        async |ground| ground.read_only(true).await,
        async |ground| ground.read_only(false).await,
    )
    .await;
}

async fn a_postgres_whose_disk_is_full_gets_everything_when_there_is_room(log: LogKind) {
    if Ground::with(&[]).await.postgres().disk().is_none() {
        eprintln!("skipped: only root can mount a disk that may be filled");
        return;
    }
    let disk = |ground: &Ground, change: &dyn Fn(&SmallDisk)| {
        change(ground.postgres().disk().expect("it was asked for"));
    };
    let heal = async |ground: &Ground| {
        disk(ground, &SmallDisk::grow);
        ground.postgres().start();
    };
    through(log, async |ground| disk(ground, &SmallDisk::fill), heal).await;
}
