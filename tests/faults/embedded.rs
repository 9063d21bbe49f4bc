//! The embedded log, and the one process that is intake and loader: killed, asleep, its disk full.

use std::time::Duration;

use rollbook::config::log::LogKind;

use super::{Clients, DataFolder, Ground, Passage, Then, Trap, wire};
use crate::harness::{eventually, played};

#[tokio::test]
async fn a_process_killed_under_load_keeps_what_it_promised() {
    let ground = Ground::on(LogKind::Embedded, &["acme", "birch", "cedar"]).await;
    let mut process = ground.loader().await;
    let clients = ground.load();
    for pause_ms in [0, 3, 17, 60, 230, 600] {
        ground.promises(200).await;
        // Anywhere in the middle of something.
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        process.kill().await;
        process = ground.loader().await;
    }
    let all = ground.reckon(clients).await;
    assert_eq!(all.dead, 0, "{all:?}");
    assert!(all.failures > 0, "{all:?}");
}

#[tokio::test]
async fn a_process_stopped_in_order_under_load_loses_and_doubles_nothing() {
    let ground = Ground::on(LogKind::Embedded, &["acme", "birch"]).await;
    let mut process = ground.loader().await;
    let clients = ground.load();
    for _ in 0..2 {
        ground.gains(100).await;
        process.stop().await;
        process = ground.loader().await;
    }
    let all = ground.reckon(clients).await;
    assert_eq!((all.duplicate, all.dead), (0, 0), "{all:?}");
}

#[tokio::test]
async fn a_process_that_sleeps_under_load_goes_on_where_it_was() {
    let ground = Ground::on(LogKind::Embedded, &["acme", "birch"]).await;
    let process = ground.loader().await;
    let clients = ground.load();
    for pause_ms in [40, 3_000] {
        ground.gains(100).await;
        process.freeze().await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        process.thaw().await;
    }
    ground.gains(100).await;
    let all = ground.reckon(clients).await;
    assert_eq!((all.duplicate, all.dead, all.failures), (0, 0, 0), "{all:?}");
}

#[tokio::test]
async fn a_process_whose_transaction_was_ended_while_it_slept_begins_it_again() {
    let ground = Ground::on(LogKind::Embedded, &["acme"]).await;
    let process = ground.loader().await;
    let trap = ground.loader_to_postgres.trap(Trap { said: wire::COPY, then: Then::Hold });
    ground.first().insist(&played(300)).await;
    trap.sprung().await;
    process.freeze().await;
    let login = ground.role("loader");
    let ended =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{login}'");
    assert!(ground.number(&ended).await > 0);
    trap.release();
    process.thaw().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (301, 0), "{all:?}");
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_out_loud_and_has_room_again_when_the_loader_gets_on() {
    let ground = Ground::with_log(Some(DataFolder::on_small_disk()), &["acme", "birch"]).await;
    let Some(disk) = ground.data().and_then(DataFolder::disk) else {
        eprintln!("skipped: only root can mount a disk that may be filled");
        return;
    };
    let process = ground.loader().await;
    let clients = ground.load();
    ground.gains(100).await;
    // What is loaded makes room.
    disk.fill();
    ground.promises(5_000).await;

    ground.loader_to_postgres.set(Passage::Refused);
    ground.loader_to_postgres.cut();
    let before = ground.ledger.failures();
    eventually("clients are told to come back", async || ground.ledger.failures() > before).await;
    eventually("intake says so", async || {
        let reply = process.admin.get("/readyz").await;
        reply.status == 503 && reply.json["intake"]["reason"].as_str().is_some_and(|why| why.contains("log"))
    })
    .await;
    assert!(process.said().contains("the log cannot be written"), "{}", process.said());

    // The next one starts on a full disk, and gets on by itself.
    process.kill().await;
    let process = ground.start(ground.loader_to_be()).await;
    ground.loader_to_postgres.set(Passage::Open);
    ground.promises(1_000).await;
    process.becomes_ready().await;
    let all = ground.reckon(clients).await;
    assert_eq!(all.dead, 0, "{all:?}");
}
