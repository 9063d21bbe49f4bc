//! The same again: records, batches.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rollbook::config::log::{KafkaSettings, LogKind, LogSettings};
use rollbook::log::{Log, PartitionEnds, ScanError, Stretch};

use super::{Clients, Ground, Habit};
use crate::harness::played;

on_each_log![a_client_that_sends_everything_twice_has_it_stored_once];

/// The last records of each partition, so many at most, as an onlooker sees them.
fn last_records(settings: &KafkaSettings, most: usize) -> Result<Vec<(i32, Vec<u8>)>, ScanError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let log = Log::open(&LogSettings::Kafka(settings.clone()), "onlooker").expect("nothing is opened yet");
    let scanner = log.readable().scanner()?;
    let last = |(partition, ends): (i32, PartitionEnds)| Stretch {
        partition,
        from: ends.start.max(ends.end - most),
        to: ends.end,
    };
    let stretches: Vec<Stretch> = scanner.ends()?.into_iter().map(last).collect();
    let mut records = Vec::new();
    scanner.read(&stretches, |partition, _, bytes| records.push((partition, bytes.to_vec())))?;
    Ok(records)
}

/// Publishes once more, each in its partition, what came last into the log. Gives how many records that were.
pub(super) async fn publish_again(ground: &Ground, most: usize) -> anyhow::Result<usize> {
    let settings = ground.log();
    let records = tokio::task::spawn_blocking({
        let settings = settings.clone();
        move || last_records(&settings, most)
    });
    let records = records.await??;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &settings.brokers).create()?;
    for (partition, bytes) in &records {
        let record = FutureRecord::<(), _>::to(&settings.topic).partition(*partition).payload(bytes);
        producer.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
    }
    Ok(records.len())
}

#[tokio::test]
async fn a_record_that_is_in_the_log_twice_is_stored_once() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, _loader) = (ground.intake().await, ground.loader().await);
    // One that is written by INSERT, one by COPY.
    for events in [20, 400] {
        ground.first().insist(&played(events)).await;
    }
    assert_eq!(publish_again(&ground, 2).await.expect("Kafka takes it"), 2);
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (421, 420));
}

async fn a_client_that_sends_everything_twice_has_it_stored_once(log: LogKind) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let (_intake, _loader) = ground.running().await;
    let mut clients = Clients::new();
    for organization in &ground.organizations {
        for events in [20, 300] {
            let client = ground.client(organization);
            clients.add(client, Habit::RepeatsEverything, events, Duration::from_millis(20));
        }
    }
    ground.gains(2_000).await;
    let all = ground.reckon(clients).await;
    let promises = i64::try_from(all.promises).expect("few");
    let once = i64::try_from(all.stored).expect("few");
    assert_eq!((all.duplicate, all.failures), (promises - once, 0), "{all:?}");
    assert!(all.duplicate > 4_000, "{all:?}");
}
