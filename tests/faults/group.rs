//! Several loaders: more, fewer, and one that sleeps through its own replacement.

use super::{Clients, Ground, Passage, Then, Trap, wire};
use crate::harness::{Service, eventually, played};

async fn takes_part(loader: &Service) {
    eventually("the loader got partitions", async || loader.said().contains("partitions were assigned"))
        .await;
}

#[tokio::test]
async fn loaders_that_come_and_go_under_load_lose_and_double_nothing() {
    let ground = Ground::with(&["acme", "birch", "cedar", "dogwood"]).await;
    let (_intake, first) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    ground.gains(100).await;
    let second = ground.loader().await;
    takes_part(&second).await;
    let third = ground.loader().await;
    takes_part(&third).await;
    ground.gains(200).await;
    third.stop().await;
    ground.gains(100).await;
    // The first one goes in order too; the last one has everything.
    first.stop().await;
    ground.gains(100).await;
    let all = ground.reckon(clients).await;
    assert_eq!((all.failures, all.duplicate), (0, 0), "{all:?}");
    drop(second);
}

#[tokio::test]
async fn a_loader_that_slept_through_its_replacement_writes_nothing_that_is_written() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, sleeper) = (ground.intake().await, ground.loader().await);
    ground.first().insist(&played(1)).await;
    eventually("the lane is open", async || ground.rows("acme").await == 1).await;
    // A batch is cut, and its transaction is about to begin.
    let trap =
        ground.loader_to_postgres.trap(Trap { said: &["BEGIN; SET LOCAL search_path"], then: Then::Hold });
    ground.first().insist(&played(300)).await;
    trap.sprung().await;
    sleeper.freeze().await;
    let other = ground.loader().await;
    eventually("the other has loaded it", async || ground.rows("acme").await == 301).await;

    trap.release();
    sleeper.thaw().await;
    let refused = "the watermark was moved by another loader";
    eventually("the late transaction is refused", async || sleeper.said().contains(refused)).await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (302, 0));
    drop((sleeper, other));
}

#[tokio::test]
async fn a_loader_that_sleeps_in_the_middle_of_a_copy_lets_go_of_its_organization() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, sleeper) = (ground.intake().await, ground.loader().await);
    let trap = ground.loader_to_postgres.trap(Trap { said: wire::COPY, then: Then::Hold });
    ground.first().insist(&played(300)).await;
    trap.sprung().await;
    sleeper.freeze().await;
    let other = ground.loader().await;
    eventually("the other has loaded it", async || ground.rows("acme").await == 300).await;

    trap.release();
    sleeper.thaw().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (301, 0));
    drop((sleeper, other));
}

#[tokio::test]
async fn a_loader_that_sleeps_under_load_past_its_session_loses_and_doubles_nothing() {
    let ground = Ground::with(&["acme", "birch", "cedar"]).await;
    let (_intake, sleeper, other) = (ground.intake().await, ground.loader().await, ground.loader().await);
    takes_part(&other).await;
    let clients = ground.load();
    ground.gains(100).await;
    sleeper.freeze().await;
    let all = async || other.metric("rollbook_loader_partitions{state=\"running\"}").await == 3.0;
    eventually("its session is over, and the other loader has every partition", all).await;
    ground.gains(100).await;
    sleeper.thaw().await;
    ground.gains(100).await;
    ground.reckon(clients).await;
    drop((sleeper, other));
}

#[tokio::test]
async fn a_broker_that_knows_only_the_classic_protocol_is_joined_with_it() {
    let ground = Ground::with(&["acme", "birch"]).await;
    ground.kafka().restart_with("group.coordinator.rebalance.protocols=classic\n");
    let (_intake, first) = (ground.intake().await, ground.loader().await);
    assert!(first.said().contains("joining with `classic`"), "{}", first.said());
    let clients = ground.load();
    ground.gains(100).await;
    let second = ground.loader().await;
    takes_part(&second).await;
    ground.gains(200).await;
    first.stop().await;
    ground.gains(100).await;
    let all = ground.reckon(clients).await;
    assert_eq!(all.dead, 0, "{all:?}");
    drop(second);
    ground.kafka().restart_with("");
}

#[tokio::test]
async fn a_loader_without_partitions_is_ready_for_as_long_as_the_group_answers_it() {
    let ground = Ground::with(&["acme"]).await;
    ground.delete_topic().await;
    ground.rollbook("setup").env("ROLLBOOK_LOG_PARTITIONS", "1").run().await.done();
    let (busy, spare) = (ground.loader().await, ground.loader().await);
    ground.kafka().kill();
    for loader in [&busy, &spare] {
        let unready = async || loader.admin.get("/readyz").await.status == 503;
        eventually("the loader misses the group", unready).await;
    }
    ground.kafka().start();
    for loader in [&busy, &spare] {
        loader.becomes_ready().await;
    }
}

/// Nothing comes meanwhile, so that only what they ask by themselves tells them of the outage, and of its end.
#[tokio::test]
async fn a_loader_with_nothing_to_do_and_one_without_partitions_are_ready_again_after_an_outage_of_postgres()
{
    let ground = Ground::with(&["acme"]).await;
    ground.delete_topic().await;
    ground.rollbook("setup").env("ROLLBOOK_LOG_PARTITIONS", "1").run().await.done();
    let (idle, spare) = (ground.loader().await, ground.loader().await);
    ground.loader_to_postgres.set(Passage::Refused);
    ground.loader_to_postgres.cut();
    for loader in [&idle, &spare] {
        // They ask four times a minute.
        eventually("the loader notices", async || loader.said().contains("Postgres cannot be used")).await;
        assert_eq!(loader.admin.get("/readyz").await.status, 503);
        assert_eq!(loader.admin.get("/healthz").await.status, 200);
    }
    ground.loader_to_postgres.set(Passage::Open);
    for loader in [&idle, &spare] {
        loader.becomes_ready().await;
    }
}

#[tokio::test]
async fn a_loader_that_is_not_told_where_to_begin_asks_again_and_goes_on() {
    let ground = Ground::with(&["acme"]).await;
    let mut loader = ground.loader().await;
    let running = async |partitions: f64| {
        loader.metric("rollbook_loader_partitions{state=\"running\"}").await == partitions
    };
    eventually("it has them all", async || running(3.0).await).await;
    // It goes on being a member over the connections that it has, and cannot ask over others.
    ground.loader_to_kafka.set(Passage::Refused);
    ground.widen_topic(4).await;
    let asks = "the log could not be compared with what was loaded; asking again";
    eventually("it was assigned one more", async || loader.said().contains(asks)).await;
    ground.loader_to_kafka.set(Passage::Open);
    eventually("it reads all of them", async || running(4.0).await).await;
    assert!(!loader.has_ended());
    loader.stop().await;
}
