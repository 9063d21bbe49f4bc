//! Rollbook's own processes, ended as a crash ends them.

use std::time::Duration;

use rollbook::config::log::LogKind;

use super::{Clients, Ground, Then, Trap, wire};
use crate::harness::{eventually, played};

on_each_log![
    a_loader_killed_between_commit_and_offset_stores_nothing_twice,
    a_loader_killed_in_the_middle_of_a_copy_leaves_nothing_half_done,
];

async fn a_loader_killed_between_commit_and_offset_stores_nothing_twice(log: LogKind) {
    let ground = Ground::on(log, &["acme"]).await;
    let (_intake, loader) = ground.running().await;
    let client = ground.first();
    client.insist(&played(300)).await;
    eventually("the first batch", async || ground.anchored().await > 0).await;

    let trap = ground.loader_to_postgres.trap(Trap { said: wire::COMMIT_OF_FLUSH, then: Then::Hold });
    client.insist(&played(300)).await;
    trap.sprung().await;
    // The loader said so, and hears no answer any more.
    loader.freeze().await;
    trap.release();
    eventually("the watermark moved", async || ground.rows("acme").await == 600).await;
    loader.kill().await;

    let watermark = ground.number("SELECT max(next_offset) FROM org_acme.ingest_watermark").await;
    assert!(ground.anchored().await < watermark, "the next loader has to read the batch again");
    let _loader = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (601, 0), "the watermark says what was done, not the ids");
}

async fn a_loader_killed_in_the_middle_of_a_copy_leaves_nothing_half_done(log: LogKind) {
    let ground = Ground::on(log, &["acme"]).await;
    let (_intake, loader) = ground.running().await;
    let trap = ground.loader_to_postgres.trap(Trap { said: wire::COPY, then: Then::Hold });
    ground.first().insist(&played(500)).await;
    trap.sprung().await;
    loader.kill().await;
    assert_eq!(ground.rows("acme").await, 0);
    let _loader = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (501, 0));
}

#[tokio::test]
async fn an_intake_killed_under_load_keeps_what_it_promised() {
    let ground = Ground::with(&["acme", "birch"]).await;
    let mut intake = ground.intake().await;
    let _loader = ground.loader().await;
    let clients = ground.load();
    for life in [300, 1_100, 500] {
        ground.promises(life).await;
        intake.kill().await;
        intake = ground.intake().await;
    }
    let all = ground.reckon(clients).await;
    assert!(all.failures > 0, "{all:?}");
}

#[tokio::test]
async fn loaders_killed_under_load_lose_and_double_nothing() {
    let ground = Ground::with(&["acme", "birch", "cedar"]).await;
    let (_intake, mut loader) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    for pause_ms in [17, 230] {
        ground.gains(100).await;
        // Anywhere in the middle of something.
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        loader.kill().await;
        loader = ground.loader().await;
    }
    let all = ground.reckon(clients).await;
    assert_eq!(all.duplicate, 0, "nothing was sent twice that had been stored");
}
