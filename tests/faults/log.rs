//! Kafka: killed, away, slow.

use std::time::Duration;

use super::{Ground, Passage};
use crate::harness::eventually;

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
