//! Postgres: killed, restarted, out of reach, read-only, its disk full. Intake goes on without it.

use std::time::{Duration, Instant};

use rollbook::config::log::LogKind;

use super::{Ground, Passage, SmallDisk};
use crate::harness::{Rollbook, Service, eventually};

/// An outage is said once for each kind of failure, not for each attempt of each connection.
const MOST_LINES: usize = 25;

// To the loader a restart is a kill, and a read-only server one out of reach: these two on Kafka alone.
on_each_log![
    a_postgres_that_is_killed_gets_everything_when_it_is_back,
    a_postgres_out_of_reach_gets_everything_when_it_is_back,
    a_postgres_whose_disk_is_full_gets_everything_when_there_is_room,
];

/// Under load, something is done to Postgres until the loader notices, and undone.
async fn through(log: LogKind, hurt: impl AsyncFn(&Ground), heal: impl AsyncFn(&Ground)) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let (_intake, mut loader) = ground.running().await;
    let clients = ground.load();
    ground.gains(100).await;
    hurt(&ground).await;
    eventually("the loader notices", async || {
        ["Postgres cannot be used", "a database connection failed"]
            .iter()
            .any(|said| loader.said().contains(said))
    })
    .await;
    // Intake keeps its promises to itself until Postgres is back.
    ground.promises(500).await;
    heal(&ground).await;
    ground.gains(100).await;
    loader.becomes_ready().await;
    assert!(!loader.has_ended());
    let all = ground.reckon(clients).await;
    assert_eq!((all.dead, all.failures), (0, 0), "{all:?}");
}

async fn a_postgres_that_is_killed_gets_everything_when_it_is_back(log: LogKind) {
    through(log, async |ground| ground.postgres().kill(), async |ground| ground.postgres().start()).await;
}

#[tokio::test]
async fn a_postgres_that_is_restarted_gets_everything_when_it_is_back() {
    through(
        LogKind::Kafka,
        async |ground| ground.postgres().stop(),
        async |ground| ground.postgres().start(),
    )
    .await;
}

async fn a_postgres_out_of_reach_gets_everything_when_it_is_back(log: LogKind) {
    let hurt = async |ground: &Ground| {
        ground.loader_to_postgres.set(Passage::Refused);
        ground.loader_to_postgres.cut();
    };
    through(log, hurt, async |ground| ground.loader_to_postgres.set(Passage::Open)).await;
}

#[tokio::test]
async fn a_postgres_that_is_read_only_gets_everything_when_it_writes_again() {
    through(
        LogKind::Kafka,
        async |ground| ground.read_only(true).await,
        async |ground| ground.read_only(false).await,
    )
    .await;
}

#[tokio::test]
async fn an_outage_of_postgres_is_said_and_not_over_and_over() {
    let ground = Ground::with(&["acme", "birch", "cedar", "dogwood", "elm", "fir"]).await;
    let (_intake, loader) = (ground.intake().await, ground.start(with_reporter(&ground)).await);
    loader.becomes_ready().await;
    let clients = ground.load();
    ground.gains(100).await;
    let before = loader.said().lines().count();
    ground.loader_to_postgres.set(Passage::Refused);
    ground.loader_to_postgres.cut();
    let tries = 2 * MOST_LINES;
    eventually("it has tried often", async || ground.loader_to_postgres.refused() >= tries).await;
    let said = loader.said();
    let lines: Vec<&str> = said.lines().skip(before).collect();
    assert!(lines.iter().any(|line| line.contains("a database connection failed")), "{lines:#?}");
    assert!(lines.len() <= MOST_LINES, "{} lines: {lines:#?}", lines.len());
    ground.loader_to_postgres.set(Passage::Open);
    ground.gains(100).await;
    ground.reckon(clients).await;
}

/// A loader and reporter that gives a login up soon.
fn with_reporter(ground: &Ground) -> Rollbook {
    let url = ground.url(&ground.role("loader"), "loader password");
    let url = url.replace(&ground.postgres().address(), ground.loader_to_postgres.address());
    ground
        .rollbook("serve --role loader,reporter")
        .env("ROLLBOOK_KAFKA_BROKERS", ground.loader_to_kafka.address())
        .env("ROLLBOOK_LOADER_DATABASE_URL", &format!("{url}?connect_timeout=2"))
}

/// Both roles are unready and say that this is why.
async fn says(service: &Service, why: &str) {
    eventually(why, async || {
        let ready = service.admin.get("/readyz").await.json;
        ["loader", "reporter"].iter().all(|role| {
            let reason = ready[role]["reason"].as_str().unwrap_or_default();
            reason.contains(why) && reason.contains("has not answered within 2 s")
        })
    })
    .await;
    assert_eq!(service.admin.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_postgres_that_takes_connections_and_says_nothing_is_tried_again_until_it_speaks() {
    let ground = Ground::with(&["acme"]).await;
    let (_intake, running) = (ground.intake().await, ground.start(with_reporter(&ground)).await);
    running.becomes_ready().await;
    ground.loader_to_postgres.set(Passage::Silent);
    ground.loader_to_postgres.cut();
    says(&running, "Postgres").await;
    let started = Service::start(with_reporter(&ground)).await;
    says(&started, "starting: organizations have not been loaded yet").await;

    // The connections that hang stay as they are: only new ones are answered.
    ground.loader_to_postgres.set(Passage::Open);
    for service in [&running, &started] {
        service.becomes_ready().await;
    }
    let clients = ground.load();
    ground.gains(10).await;
    ground.reckon(clients).await;
}

#[tokio::test]
async fn an_outage_turns_no_healthz_however_soon_a_partition_counts_as_stuck() {
    let ground = Ground::with(&["acme"]).await;
    let _intake = ground.intake().await;
    let serve = ground.loader_to_be().env("ROLLBOOK_LOADER_STUCK_SECONDS", "5");
    let loader = ground.start(serve).await;
    loader.becomes_ready().await;
    let clients = ground.load();
    ground.gains(10).await;
    ground.loader_to_postgres.set(Passage::Stalled);
    let until = Instant::now() + Duration::from_secs(15);
    eventually("time passes", async || {
        let reply = loader.admin.get("/healthz").await;
        assert_eq!(reply.status, 200, "{}", reply.json);
        Instant::now() > until
    })
    .await;
    ground.loader_to_postgres.set(Passage::Open);
    ground.gains(10).await;
    ground.reckon(clients).await;
}

async fn a_postgres_whose_disk_is_full_gets_everything_when_there_is_room(log: LogKind) {
    if Ground::with(&[]).await.postgres().disk().is_none() {
        eprintln!("skipped: only root can mount a disk that may be filled");
        return;
    }
    let disk = |ground: &Ground, change: &dyn Fn(&SmallDisk)| {
        change(ground.postgres().disk().expect("it was asked for"));
    };
    let heal = async |ground: &Ground| {
        disk(ground, &SmallDisk::grow);
        ground.postgres().start();
    };
    through(log, async |ground| disk(ground, &SmallDisk::fill), heal).await;
}
