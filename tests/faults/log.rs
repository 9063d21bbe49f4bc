//! Kafka: killed, away, slow, without the topic, and forbidding what is asked of it.

use std::time::Duration;

use serde_json::Value;

use super::{Ground, Passage, WITH_RULES};
use crate::harness::{Form, Service, eventually, played};

/// An outage is said once for each kind of complaint, not for each attempt of each thread.
const MOST_LINES: usize = 40;

/// Posts one event until it is refused for the log's sake, and gives what the client is told.
async fn refusal_of_the_log(ground: &Ground, intake: &Service) -> String {
    let mut detail = String::new();
    eventually("the log refuses for good", async || {
        let reply = intake.post(&ground.organizations[0], Form::Json, &played(1)).await;
        detail = reply.json["detail"].to_string();
        reply.json["code"] == "log_unavailable" && detail.contains("until an operator")
            || detail.contains("has not been set up")
    })
    .await;
    detail
}

/// Kills the broker under load, and starts it after clients were refused and so much time passed.
async fn a_broker_is_killed(pause: Duration) {
    let ground = Ground::with(&["acme", "birch"]).await;
    let (mut intake, mut loader) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    ground.gains(100).await;
    ground.kafka().kill();
    let before = ground.ledger.failures();
    eventually("clients are told to come back", async || ground.ledger.failures() > before).await;
    tokio::time::sleep(pause).await;
    ground.kafka().start();
    ground.gains(100).await;
    assert!(!intake.has_ended() && !loader.has_ended(), "{}", loader.said());
    ground.reckon(clients).await;
}

#[tokio::test]
async fn a_broker_killed_under_load_keeps_what_it_acknowledged() {
    a_broker_is_killed(Duration::ZERO).await;
}

#[tokio::test]
async fn an_outage_of_the_broker_is_said_and_not_over_and_over() {
    let ground = Ground::with(&["acme"]).await;
    let (intake, loader) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    ground.gains(20).await;
    ground.kafka().kill();
    let before = ground.ledger.failures();
    eventually("clients are told to come back", async || ground.ledger.failures() > before + 4).await;
    for service in [&intake, &loader] {
        let said = service.said();
        let lines = said.lines().filter(|line| line.contains("\"target\":\"rollbook::log"));
        let (lines, complains) = (lines.count(), said.contains("\"message\":\"librdkafka\""));
        assert!(complains && lines <= MOST_LINES, "{lines} lines: {said}");
    }
    ground.kafka().start();
    ground.gains(20).await;
    ground.reckon(clients).await;
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_not_made_by_who_writes_to_it() {
    let ground = Ground::with(&["acme"]).await;
    ground.kafka().restart_with("auto.create.topics.enable=true\n");
    ground.delete_topic().await;
    let intake = ground.intake().await;
    let detail = refusal_of_the_log(&ground, &intake).await;
    assert!(detail.contains("has not been set up"), "{detail}");
    assert!(intake.said().contains("`rollbook setup` makes it"), "{}", intake.said());
    eventually("it is unready for that reason", async || {
        let ready = intake.admin.get("/readyz").await.json;
        ready["intake"]["reason"].to_string().contains("the topic does not exist")
    })
    .await;
    assert!(ground.log_ends().is_empty(), "it was made");

    assert_eq!(ground.run("setup --json").await.done().json()["partitions"], 3);
    eventually("the batch is taken", async || {
        intake.post(&ground.organizations[0], Form::Json, &played(1)).await.status == 200
    })
    .await;
    drop(intake);
    ground.kafka().restart_with("");
}

#[tokio::test]
async fn a_topic_that_is_there_needs_no_right_to_make_one_and_a_forbidden_write_is_told_as_one() {
    let ground = Ground::with(&["acme"]).await;
    ground.kafka().restart_with(WITH_RULES);
    ground.kafka().forbid("Create", &["--cluster", "--topic", "*"]);
    let again = ground.run("setup --json").await.done().json();
    assert_eq!((&again["topic_unread"], again["partitions"].as_u64()), (&Value::Null, Some(3)), "{again}");
    let other = ground.rollbook("setup --json").env("ROLLBOOK_KAFKA_TOPIC", "another").run().await.exits(1);
    assert!(other.stderr.contains("does not make the topic `another`"), "{}", other.stderr);

    ground.kafka().forbid("Write", &["--topic", "*"]);
    let intake = ground.intake().await;
    let detail = refusal_of_the_log(&ground, &intake).await;
    assert!(detail.contains("until an operator authorizes it"), "{detail}");
    drop(intake);
    ground.kafka().restart_with("");
}

#[tokio::test]
#[ignore = "takes a minute and a half: ./dev faults runs it"]
async fn a_broker_that_is_down_for_a_minute_costs_nothing_but_time() {
    a_broker_is_killed(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_slow_broker_slows_down_and_loses_nothing() {
    let ground = Ground::with(&["acme", "birch"]).await;
    let (_intake, _loader) = (ground.intake().await, ground.loader().await);
    let clients = ground.load();
    ground.gains(100).await;
    for proxy in [&ground.intake_to_kafka, &ground.loader_to_kafka] {
        proxy.set(Passage::Slow(Duration::from_millis(150)));
    }
    ground.gains(300).await;
    for proxy in [&ground.intake_to_kafka, &ground.loader_to_kafka] {
        proxy.set(Passage::Open);
    }
    ground.reckon(clients).await;
}
