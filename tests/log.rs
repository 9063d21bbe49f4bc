//! The log's own room, through its own door: what it says of a topic, and what it does when Kafka refuses.

use std::time::Duration;

use rollbook::config::log::{ConsumeArgs, GroupArg, GroupProtocol, LogSettings};
use rollbook::log::{Consumer, ConsumerSettings, Delivery, Log, Start};
use serde_json::{Value, json};

use crate::harness::{Form, Service, Site, eventually, played};

fn consumer_of(site: &Site) -> Consumer {
    let settings = ConsumerSettings {
        consume: ConsumeArgs {
            group: GroupArg { kafka_group: site.database.clone() },
            kafka_group_protocol: GroupProtocol::Consumer,
            kafka_instance_id: None,
            kafka_session_timeout_ms: 45_000,
        },
        budget_bytes: 1 << 20,
    };
    let log = Log::open(&LogSettings::Kafka(site.log()), &site.database).expect("nothing is opened yet");
    log.consumer(&settings).expect("settings that librdkafka takes")
}

#[tokio::test]
async fn a_partition_is_read_from_where_its_owner_says_and_not_before() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let intake = Service::ready(site.serve("--role intake")).await;
    for _ in 0..3 {
        intake.post(&acme, Form::Json, &played(1)).await.accepts(1);
    }
    let mut consumer = consumer_of(&site);
    let Some(Delivery::Assigned(assignment)) = consumer.next().await else { panic!("first an assignment") };
    assert_eq!(assignment.partitions.len(), 3);
    // Nothing comes of it before the answer, however long that takes.
    let early = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await;
    assert!(early.is_err(), "{early:?}");
    let starts: Vec<Start> = assignment
        .partitions
        .iter()
        .map(|partition| Start { partition: *partition, next_offset: Some(1) })
        .collect();
    let partition = i32::try_from(rollbook::log::partition_of("acme", 3)).expect("few");
    let starts: Vec<Start> = starts.into_iter().filter(|start| start.partition == partition).collect();
    consumer.start_at(&assignment, &starts);
    // Again, and too late: it changes nothing.
    consumer.start_at(&assignment, &[]);
    let mut offsets = Vec::new();
    while offsets.len() < 2 {
        if let Some(Delivery::Record(record)) = consumer.next().await {
            offsets.push((record.partition, record.offset));
        }
    }
    assert_eq!(offsets, [(partition, 1), (partition, 2)]);
    consumer.ended().await.expect("it was closed");
}

#[tokio::test]
async fn a_consumer_that_is_closed_before_it_was_told_where_to_begin_leaves_in_order() {
    let site = Site::set_up().await;
    let mut consumer = consumer_of(&site);
    let Some(Delivery::Assigned(assignment)) = consumer.next().await else { panic!("first an assignment") };
    consumer.close();
    let Some(Delivery::Revoked(revoked)) = consumer.next().await else { panic!("then a revocation") };
    let mut partitions = revoked.partitions.clone();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
    revoked.release(Vec::new());
    assert!(consumer.next().await.is_none());
    consumer.start_at(&assignment, &[]);
    consumer.ended().await.expect("it was closed");
}

#[tokio::test]
async fn a_commit_that_kafka_did_not_take_is_asked_for_again_with_the_next_round() {
    let site = Site::set_up().await;
    let mut consumer = consumer_of(&site);
    let Some(Delivery::Assigned(assignment)) = consumer.next().await else { panic!("first an assignment") };
    consumer.start_at(&assignment, &[]);
    eventually("the consumer is a member", async || consumer.is_member()).await;
    // A partition that Kafka does not have: it refuses what is said of it.
    consumer.commit(&[(3, 7)]);
    eventually("the refusal was heard", async || consumer.has_commits_to_repeat()).await;
    site.widen_topic(4).await;
    eventually("the commit was repeated", async || {
        consumer.commit(&[]);
        site.committed(3).await == Some(7)
    })
    .await;
    consumer.close();
    while let Some(delivery) = consumer.next().await {
        drop(delivery);
    }
    consumer.ended().await.expect("it was closed");
}

#[tokio::test]
async fn setup_says_how_a_topic_that_was_there_differs_from_what_it_would_have_made() {
    let site = Site::set_up().await;
    assert_eq!(site.run("setup --json").await.done().json()["topic_differences"], json!([]));
    for (name, value) in [("max.message.bytes", "100000"), ("retention.bytes", "1000000")] {
        site.set_topic(name, value).await;
    }
    let run = || site.rollbook("setup --json").env("ROLLBOOK_LOG_PARTITIONS", "12");
    let differences = run().run().await.done().json()["topic_differences"].clone();
    let said: Vec<(&Value, &Value, &Value)> = differences
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (&one["setting"], &one["found"], &one["wanted"]))
        .collect();
    // Kafka's way of changing a setting forgets the others: retention is its default again, which is ours.
    let (partitions, bytes) = (("partitions", "3", "12"), ("retention.bytes", "1000000", "-1"));
    let expected = [partitions, bytes].map(|(a, b, c)| (json!(a), json!(b), json!(c)));
    for (setting, found, wanted) in &expected {
        assert!(said.contains(&(setting, found, wanted)), "{differences}");
    }
    site.set_topic("max.message.bytes", "100000").await;
    let text = run().env("ROLLBOOK_LOG_PARTITIONS", "3").run().await.done().json();
    assert!(text["topic_differences"].to_string().contains("503"), "{text}");
    let human = site.run("setup").await.done().stdout;
    assert!(human.contains("max.message.bytes is 100000, and not 1000000 or more"), "{human}");

    site.set_topic("cleanup.policy", "compact").await;
    let ran = site.run("setup --json").await.exits(1);
    assert_eq!(ran.error_code(), "log_unavailable");
    assert!(ran.stderr.contains("compaction would eat accepted events"), "{}", ran.stderr);
}

#[tokio::test]
async fn setup_tells_why_kafka_cannot_be_reached() {
    let site = Site::empty().await;
    let setup = || site.rollbook("setup --json");
    let tls = setup().env("ROLLBOOK_KAFKA_PROPERTIES", "security.protocol=ssl").run().await.exits(1);
    assert_eq!(tls.error_code(), "log_unavailable");
    assert!(tls.stderr.contains("perhaps it is a PLAINTEXT listener"), "{}", tls.stderr);
    let nobody = setup().env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1").run().await.exits(1);
    assert!(nobody.stderr.contains("Connection refused"), "{}", nobody.stderr);
}
