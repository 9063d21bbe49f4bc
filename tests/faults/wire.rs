//! Connections that break at a chosen word.

use std::time::Duration;

use rollbook::config::log::LogKind;

use super::{Clients, Ground, Passage, Then, Trap};
use crate::harness::{eventually, played};

on_each_log![
    a_connection_cut_in_the_middle_of_a_copy_stores_the_batch_once,
    a_commit_whose_answer_is_lost_is_settled_by_the_watermark,
    a_commit_that_never_arrives_is_made_again,
    a_copy_that_is_refused_at_its_start_throws_nothing_away,
    connections_cut_anywhere_under_load_lose_and_double_nothing,
];

/// What the loader says at the end of a flush, whether its watermark was `made` or `moved`.
pub(super) const COMMIT_OF_FLUSH: &[&str] = &["SELECT 1 / count(*) FROM m", "COMMIT"];
/// What it says when the rows of a large batch begin.
pub(super) const COPY: &[&str] = &["FROM STDIN (FORMAT binary)", "PGCOPY"];

/// A batch large enough for COPY is loaded though this happens to the loader's connection; gives what the loader said.
async fn one_batch_through(log: LogKind, trap: Trap) -> String {
    let ground = Ground::on(log, &["acme"]).await;
    let (_intake, loader) = ground.running().await;
    let set = ground.loader_to_postgres.trap(trap);
    ground.first().insist(&played(500)).await;
    set.sprung().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate, all.dead), (501, 0, 0));
    loader.said()
}

async fn a_connection_cut_in_the_middle_of_a_copy_stores_the_batch_once(log: LogKind) {
    let said = one_batch_through(log, Trap { said: COPY, then: Then::CutAfter(5_000) }).await;
    assert!(said.contains("Postgres cannot be used"), "{said}");
}

async fn a_commit_whose_answer_is_lost_is_settled_by_the_watermark(log: LogKind) {
    let said = one_batch_through(log, Trap { said: COMMIT_OF_FLUSH, then: Then::LoseAnswer }).await;
    assert!(said.contains("the answer to a commit was lost"), "{said}");
}

async fn a_commit_that_never_arrives_is_made_again(log: LogKind) {
    let said = one_batch_through(log, Trap { said: COMMIT_OF_FLUSH, then: Then::Cut }).await;
    assert!(said.contains("the answer to a commit was lost"), "{said}");
}

async fn a_copy_that_is_refused_at_its_start_throws_nothing_away(log: LogKind) {
    let ground = Ground::on(log, &["acme"]).await;
    let (_intake, _loader) = ground.running().await;
    // A long way to Postgres: questions are asked before the last answer is here.
    ground.loader_to_postgres.set(Passage::Slow(Duration::from_millis(20)));
    ground.execute("ALTER TABLE org_acme.event DROP COLUMN attempt CASCADE").await;
    for _ in 0..5 {
        ground.first().insist(&played(300)).await;
    }
    let (held, unreadable) = (
        "SELECT coalesce(sum(events), 0)::bigint FROM rollbook.held_record",
        "SELECT coalesce(sum(events), 0)::bigint FROM rollbook.unreadable_record",
    );
    eventually("everything is somewhere", async || {
        ground.number(held).await + ground.number(unreadable).await >= 1_500
    })
    .await;
    assert_eq!((ground.number(held).await, ground.number(unreadable).await), (1_500, 0));
    ground.loader_to_postgres.set(Passage::Open);
    ground.execute("ALTER TABLE org_acme.event ADD COLUMN attempt smallint").await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (1_501, 0));
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_makes_no_second_record() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, _loader) = (ground.intake().await, ground.loader().await);
    let client = ground.first();
    client.insist(&played(1)).await;
    // The key of the record, which nothing else that intake says to Kafka has in it.
    let set = ground.intake_to_kafka.trap(Trap { said: &["acme"], then: Then::LoseAnswer });
    assert!(client.post(&played(50)).await, "intake asks Kafka again, and Kafka knows the record");
    set.sprung().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.stored, all.duplicate), (52, 0));
}

async fn connections_cut_anywhere_under_load_lose_and_double_nothing(log: LogKind) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let (_intake, _loader) = ground.running().await;
    let clients = ground.load();
    let mut ways = vec![&ground.loader_to_postgres, &ground.door];
    if log == LogKind::Kafka {
        ways.extend([&ground.loader_to_kafka, &ground.intake_to_kafka]);
    }
    for bytes in [0, 3_000, 40_000] {
        let traps: Vec<_> =
            ways.iter().map(|proxy| proxy.trap(Trap { said: &[], then: Then::CutAfter(bytes) })).collect();
        for trap in traps {
            trap.sprung().await;
        }
        ground.gains(1).await;
    }
    ground.reckon(clients).await;
}
