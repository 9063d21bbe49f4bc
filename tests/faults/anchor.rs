//! Where a loader begins: at its own anchor, whatever others commit, whatever Postgres forgets.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rollbook::config::log::{KafkaSettings, LogKind};

use super::{Clients, Ground, Passage};
use crate::harness::{eventually, played};

/// What a call to Kafka may take.
const PATIENCE: Duration = Duration::from_secs(30);

on_each_log![
    a_postgres_that_goes_back_in_time_gets_what_it_forgot_from_the_log_again,
    a_loader_waits_for_a_postgres_that_is_being_restored,
    a_postgres_that_was_restored_while_no_loader_ran_gets_what_it_forgot_from_the_log_again,
];

/// Commits the end of every partition under the loaders' name, as a guest with auto-commit does.
async fn commit_as_a_guest(ground: &Ground) {
    let (log, group) = (ground.log(), ground.database.clone());
    let committing = tokio::task::spawn_blocking(move || commit_ends(&log, &group));
    committing.await.expect("no panic");
}

fn commit_ends(log: &KafkaSettings, group: &str) {
    let guest: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut ends = TopicPartitionList::new();
    for partition in 0..3 {
        let (_, end) = guest.fetch_watermarks(&log.topic, partition, PATIENCE).expect("Kafka answers");
        ends.add_partition_offset(&log.topic, partition, Offset::Offset(end)).expect("an offset");
    }
    guest.commit(&ends, CommitMode::Sync).expect("Kafka takes it: no member is there");
}

#[tokio::test]
async fn what_others_commit_under_the_groups_name_changes_nothing() {
    let ground = Ground::with(&["acme", "birch"]).await;
    let _intake = ground.intake().await;
    for organization in &ground.organizations {
        ground.client(organization).insist(&played(20)).await;
    }
    commit_as_a_guest(&ground).await;
    let _loader = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!(all.stored, 42, "{all:?}");
}

/// A record that is withdrawn leaves two offsets that are no records: its own, and the mark that says so.
async fn withdraw_a_record(ground: &Ground) {
    let log = ground.log();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &log.brokers)
        .set("transactional.id", &log.topic)
        .create()
        .expect("a producer");
    let begun = producer.clone();
    tokio::task::spawn_blocking(move || {
        begun.init_transactions(PATIENCE).expect("Kafka answers");
        begun.begin_transaction().expect("there is none");
    })
    .await
    .expect("no panic");
    for partition in 0..3 {
        let record = FutureRecord::<(), _>::to(&log.topic).partition(partition).payload("withdrawn");
        producer.send(record, PATIENCE).await.expect("Kafka takes it");
    }
    tokio::task::spawn_blocking(move || producer.abort_transaction(PATIENCE).expect("Kafka answers"))
        .await
        .expect("no panic");
}

#[tokio::test]
async fn what_a_transaction_leaves_in_the_log_is_neither_lag_nor_loss() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, loader) = (ground.intake().await, ground.loader().await);
    ground.first().insist(&played(5)).await;
    withdraw_a_record(&ground).await;
    for partition in 0..3 {
        let lag = format!("rollbook_loader_lag_records{{partition=\"{partition}\"}}");
        eventually(&lag, async || loader.metric(&lag).await == 0.0).await;
    }
    eventually("an anchor behind the marks", async || ground.anchored().await >= 2).await;
    assert_eq!(ground.run("status acme --json").await.done().items()[0]["lag_records"], 0);
    // Its lane goes on behind them, and a loader that begins there, too.
    ground.first().insist(&played(5)).await;
    loader.stop().await;
    let _next = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!(all.stored, 11, "{all:?}");
}

async fn a_postgres_that_goes_back_in_time_gets_what_it_forgot_from_the_log_again(log: LogKind) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let (_intake, loader) = ground.running().await;
    let clients = ground.load();
    ground.gains(100).await;
    ground.postgres().set_a_copy_aside();
    ground.gains(200).await;
    ground.postgres().go_back_to_the_copy();
    eventually("it is counted", async || loader.metric("rollbook_loader_rewinds_total").await > 0.0).await;
    let said = loader.said();
    assert!(["Postgres went back", "has forgotten rows"].iter().any(|words| said.contains(words)), "{said}");
    ground.gains(100).await;
    loader.becomes_ready().await;
    eventually("status says so", async || {
        ground.run("status").await.stdout.contains("Postgres was found to have gone back in time")
    })
    .await;
    let all = ground.reckon(clients).await;
    assert_eq!(all.dead, 0, "{all:?}");
}

async fn a_postgres_that_was_restored_while_no_loader_ran_gets_what_it_forgot_from_the_log_again(
    log: LogKind,
) {
    let ground = Ground::on(log, &["acme"]).await;
    let (_intake, loader) = ground.running().await;
    ground.first().insist(&played(300)).await;
    ground.gains(0).await;
    ground.postgres().set_a_copy_aside();
    ground.first().insist(&played(300)).await;
    eventually("all is loaded", async || ground.rows("acme").await == 600).await;
    loader.stop().await;
    ground.postgres().go_back_to_the_copy();
    let _next = ground.loader().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (601, 0), "{all:?}");
}

/// It is another server, and what is restored comes piece by piece: the control schema is not there yet, and then without the
/// log that it speaks of.
async fn a_loader_waits_for_a_postgres_that_is_being_restored(log: LogKind) {
    let ground = Ground::on(log, &["acme"]).await;
    let (intake, mut loader) = ground.running().await;
    ground.first().insist(&played(10)).await;
    eventually("all is loaded", async || ground.rows("acme").await == 10).await;
    ground.loader_to_postgres.set(Passage::Refused);
    ground.postgres().stop();
    ground.postgres().start();
    ground.execute("ALTER TABLE rollbook.log RENAME TO log_to_come").await;
    ground.loader_to_postgres.set(Passage::Open);
    ground.first().insist(&played(10)).await;
    let unready = async |because: &str| {
        let reply = loader.admin.get("/readyz").await;
        reply.json.to_string().contains(because)
    };
    eventually("the loader waits", async || unready("42P01").await).await;
    ground.execute("CREATE TABLE rollbook.log (LIKE rollbook.log_to_come)").await;
    ground.execute(&format!("GRANT SELECT ON rollbook.log TO {}", ground.role("loader"))).await;
    eventually("the loader waits on", async || unready("no log is declared").await).await;
    assert_eq!(loader.admin.get("/healthz").await.status, 200);
    ground.first().insist(&played(10)).await;
    assert!(!loader.has_ended(), "{}", loader.said());
    ground.execute("DROP TABLE rollbook.log; ALTER TABLE rollbook.log_to_come RENAME TO log").await;
    loader.becomes_ready().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (31, 0), "{all:?}");
    drop(intake);
}
