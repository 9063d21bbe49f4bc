//! Partitions that are given up, because the loader ends or because another one comes, while Postgres says nothing.

use rollbook::config::log::LogKind;

use super::{Clients, Ground, Passage, Then, Trap};
use crate::harness::{Service, eventually, played};

on_each_log![
    a_loader_that_is_ended_while_postgres_is_frozen_ends_well,
    a_loader_that_is_ended_while_postgres_is_gone_ends_well,
];

/// What the loader says when anchors are moved.
const ANCHOR: &[&str] = &["UPDATE rollbook.partition_anchor"];

/// The loader is ended in the middle of this; what it did not write is the next one's. The waits are the loader's own: ten
/// seconds for an answer, twenty for transactions in flight.
async fn ended_during(log: LogKind, hurt: impl AsyncFn(&Ground), heal: impl AsyncFn(&Ground)) {
    let ground = Ground::on(log, &["acme"]).await;
    let (intake, loader) = ground.running().await;
    ground.first().insist(&played(10)).await;
    eventually("an anchor", async || ground.anchored().await > 0).await;
    hurt(&ground).await;
    // `0`, though not all that was to be done could be: the next loader begins a little further back.
    loader.stop().await;
    heal(&ground).await;
    let _next = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.dead, all.duplicate), (0, 0), "{all:?}");
    drop(intake);
}

/// Postgres says nothing any more while an anchor is on its way, and rows come after it. (Where the server is well, it ends
/// a transaction that idles after ten seconds.)
async fn freezes_at_an_anchor(ground: &Ground) {
    let trap = ground.loader_to_postgres.trap(Trap { said: ANCHOR, then: Then::Hold });
    ground.first().insist(&played(10)).await;
    trap.sprung().await;
    ground.loader_to_postgres.set(Passage::Stalled);
    for organization in &ground.organizations {
        ground.client(organization).insist(&played(10)).await;
    }
}

async fn a_loader_that_is_ended_while_postgres_is_frozen_ends_well(log: LogKind) {
    ended_during(log, freezes_at_an_anchor, async |ground| {
        ground.loader_to_postgres.cut();
        ground.loader_to_postgres.set(Passage::Open);
    })
    .await;
}

async fn a_loader_that_is_ended_while_postgres_is_gone_ends_well(log: LogKind) {
    let hurt = async |ground: &Ground| {
        ground.loader_to_postgres.set(Passage::Refused);
        ground.loader_to_postgres.cut();
        ground.first().insist(&played(10)).await;
    };
    ended_during(log, hurt, async |ground| ground.loader_to_postgres.set(Passage::Open)).await;
}

async fn running(loader: &Service) -> f64 {
    loader.metric("rollbook_loader_partitions{state=\"running\"}").await
}

/// Another loader, which has a way of its own to Postgres, joins in the middle of this, and both go on.
async fn joined_during(hurt: impl AsyncFn(&Ground), heal: impl AsyncFn(&Ground)) {
    let ground = Ground::with(&["acme", "birch", "cedar"]).await;
    let (_intake, first) = (ground.intake().await, ground.loader().await);
    for organization in &ground.organizations {
        ground.client(organization).insist(&played(10)).await;
    }
    eventually("an anchor", async || ground.anchored().await > 0).await;
    hurt(&ground).await;
    let own_way = ground.url(&ground.role("loader"), "loader password");
    let second = ground.start(ground.loader_to_be().env("ROLLBOOK_LOADER_DATABASE_URL", &own_way)).await;
    eventually("the first gives some up", async || running(&first).await < 3.0).await;
    heal(&ground).await;
    eventually("the second has some", async || running(&second).await > 0.0).await;
    for loader in [&first, &second] {
        loader.becomes_ready().await;
    }
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.dead, all.duplicate), (0, 0), "{all:?}");
    for loader in [first, second] {
        assert_eq!(loader.admin.get("/healthz").await.status, 200);
        loader.stop().await;
    }
}

#[tokio::test]
async fn a_loader_that_gives_partitions_up_while_its_anchor_is_not_answered_goes_on() {
    let hurt = async |ground: &Ground| {
        let trap = ground.loader_to_postgres.trap(Trap { said: ANCHOR, then: Then::Hold });
        for organization in &ground.organizations {
            ground.client(organization).insist(&played(10)).await;
        }
        trap.sprung().await;
    };
    joined_during(hurt, async |_| ()).await;
}

#[tokio::test]
async fn a_loader_that_gives_partitions_up_while_postgres_is_frozen_goes_on() {
    joined_during(freezes_at_an_anchor, async |ground| {
        ground.loader_to_postgres.cut();
        ground.loader_to_postgres.set(Passage::Open);
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_gives_partitions_up_while_postgres_is_gone_goes_on() {
    let hurt = async |ground: &Ground| {
        ground.loader_to_postgres.set(Passage::Refused);
        ground.loader_to_postgres.cut();
        for organization in &ground.organizations {
            ground.client(organization).insist(&played(10)).await;
        }
    };
    joined_during(hurt, async |ground| ground.loader_to_postgres.set(Passage::Open)).await;
}
