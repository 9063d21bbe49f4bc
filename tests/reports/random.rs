//! Random events, random order, and everybody at once.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rollbook::report::{ReportError, Reports};
use tokio_postgres::Client;

use super::{Row, a_site, catch_up, differences, insert, small};
use crate::harness::Site;

const KINDS: [&str; 12] = [
    "video.ready",
    "video.played",
    "video.paused",
    "video.heartbeat",
    "video.heartbeat",
    "session.ended",
    "item.shown",
    "item.answered",
    "item.answered",
    "item.skipped",
    "item.revised",
    "item.closed",
];
const ANSWERS: [&str; 7] = [
    r#"{"choice": "1"}"#,
    r#"{"choice": "2"}"#,
    r#"{"choices": ["1", "3"]}"#,
    r#"{"choices": []}"#,
    r#"{"text": "x"}"#,
    r#"{"number": 12.50}"#,
    r#"{"bool": true}"#,
];
/// Where rounding to seconds, and days, change over.
const EDGES: [i32; 9] = [0, 1, 499, 500, 501, 999, 1499, 1500, 1501];
const TIMES: [&str; 5] = [
    "2026-11-20 00:00:00+00",
    "2026-11-20 23:59:59.999+00",
    "2026-11-21 00:00:00+00",
    "2026-11-21 12:00:00+00",
    "2026-11-21 23:30:00-01",
];

fn one_of<T: Copy>(random: &mut StdRng, all: &[T]) -> T {
    *all.choose(random).expect("not empty")
}

fn maybe<T>(random: &mut StdRng, value: T) -> Option<T> {
    random.random_bool(0.7).then_some(value)
}

fn place(random: &mut StdRng) -> i32 {
    if random.random_bool(0.5) { one_of(random, &EDGES) } else { random.random_range(0..6_000) }
}

fn intervals(random: &mut StdRng) -> Vec<(i32, i32)> {
    let count = random.random_range(0..4);
    (0..count)
        .map(|_| place(random))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|from| (from, from + place(random)))
        .collect()
}

fn event(random: &mut StdRng) -> Row {
    let kind = one_of(random, &KINDS);
    let mut row = Row { id: random.random(), ..Row::new(kind) };
    row.session = one_of(random, &["p", "q", "r"]).to_owned();
    row.viewer = one_of(random, &["ann", "ben", "cid", "dot"]).to_owned();
    row.content = one_of(random, &["x", "y", "z"]).to_owned();
    row.at = one_of(random, &TIMES).to_owned();
    let seq = random.random_range(0..3);
    row.seq = maybe(random, seq);
    match kind {
        "video.ready" => {
            let duration = one_of(random, &[0, 3_000, 5_000]);
            row.details = maybe(random, Row::ready(duration).details).flatten();
        }
        "video.paused" | "video.heartbeat" | "session.ended" => {
            let watched = Row::watched(&intervals(random)).watched;
            row.watched = maybe(random, watched).flatten();
        }
        "item.answered" => {
            row.item = Some(one_of(random, &["i", "j"]).to_owned());
            row.answer = Some(one_of(random, &ANSWERS).to_owned());
            row.correct = one_of(random, &[None, Some(true), Some(false)]);
            row.score = one_of(random, &[None, Some(0.25), Some(1.0)]);
            let elapsed = random.random_range(0..6);
            row.elapsed_ms = maybe(random, elapsed);
        }
        _ => {}
    }
    row
}

fn events(random: &mut StdRng, most: usize) -> Vec<Row> {
    let count = random.random_range(1..=most);
    (0..count).map(|_| event(random)).collect()
}

/// One thread of events, with transactions that stay open across turns, savepoints and roll-backs.
#[tokio::test]
async fn after_every_turn_the_reports_are_what_their_definitions_give() {
    for seed in 1..=3 {
        let (site, reports) = a_site().await;
        let reports = reports.in_slices(small());
        let mut random = StdRng::seed_from_u64(seed);
        let superuser = site.superuser().await;
        let writers = [site.superuser().await, site.superuser().await, site.superuser().await];
        let reporters = [site.loader().await, site.loader().await];
        let mut open = [false; 3];
        for step in 0..60 {
            let which = random.random_range(0..writers.len());
            let writer = &writers[which];
            let sql = match (open[which], random.random_range(0..6)) {
                (false, 0..3) => format!("BEGIN; {}", insert(&events(&mut random, 12))),
                (true, 0..2) => {
                    format!("SAVEPOINT s; {}; ROLLBACK TO s; SAVEPOINT t", insert(&events(&mut random, 5)))
                }
                (true, 2) => "ROLLBACK".to_owned(),
                (true, _) => format!("{}; COMMIT", insert(&events(&mut random, 12))),
                (false, _) => insert(&events(&mut random, 20)),
            };
            writer
                .batch_execute(&sql)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error:?}"));
            open[which] = sql.starts_with("BEGIN") || sql.starts_with("SAVEPOINT");
            if random.random_bool(0.1) {
                let old = "UPDATE org_acme.report_build SET next_txid = NULL WHERE state = 'current'";
                superuser.batch_execute(old).await.expect("as a schema that `migrate` has just changed");
            }
            if random.random_bool(0.4) {
                catch_up(&reports, &reporters[step % 2]).await;
                let differences = differences(&superuser, "0.9").await;
                assert_eq!(differences, Vec::<String>::new(), "seed {seed}, step {step}");
            }
        }
    }
}

/// Stores events until its share is done, in transactions that it holds open for a while; some of them it gives up.
async fn store(client: Client, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..25 {
        let rows = events(&mut random, 40);
        client.batch_execute(&format!("BEGIN; {}", insert(&rows))).await.expect("an insert");
        for _ in 0..random.random_range(0..20) {
            tokio::task::yield_now().await;
            client.batch_execute("SELECT pg_sleep(0.003)").await.expect("a while");
        }
        let end = if random.random_bool(0.2) { "ROLLBACK" } else { "COMMIT" };
        client.batch_execute(end).await.expect("an end");
    }
}

/// Has turns until told to stop; its connection may be cut at any time.
async fn keep(site: &Site, reports: &Reports, stop: &tokio_util::sync::CancellationToken) {
    while !stop.is_cancelled() {
        let client = site.loader().await;
        while !stop.is_cancelled() {
            match reports.turn(&client).await {
                // Too long: on a machine that has other work.
                Ok(_) | Err(ReportError::Busy | ReportError::Superseded | ReportError::TooLong(_)) => {}
                Err(ReportError::Server(_)) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// Ends the session of somebody who keeps reports, now and then.
async fn cut(client: &Client, login: &str, stop: &tokio_util::sync::CancellationToken) {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
               WHERE usename = $1 AND state <> 'idle' ORDER BY random() LIMIT 1) AS one";
    while !stop.is_cancelled() {
        client.batch_execute("SELECT pg_sleep(0.07)").await.expect("a while");
        client.query(cut, &[&login]).await.expect("cut");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_taken_once_by_two_reporters_that_are_cut_off_beside_a_rebuild_and_four_who_store() {
    let (site, reports) = a_site().await;
    let reports = reports.in_slices(small());
    let stop = tokio_util::sync::CancellationToken::new();
    let (superuser, killer, rebuilder) =
        (site.superuser().await, site.superuser().await, site.superuser().await);
    let seed = rand::rng().next_u64();
    let stored = async {
        let writers = (0..4).map(async |n| store(site.superuser().await, seed.wrapping_add(n)).await);
        futures_util::future::join_all(writers).await;
        stop.cancel();
    };
    let rebuilt = async {
        // In a role of its own login, and so never cut off; another rebuild may begin before it ends.
        while !stop.is_cancelled() {
            let _ = rollbook::report::rebuild(&rebuilder, &reports, |_| {}).await;
            let _ = rebuilder.batch_execute("ROLLBACK; SELECT pg_sleep(0.2)").await;
        }
    };
    let loader = site.role("loader");
    tokio::join!(
        stored,
        rebuilt,
        keep(&site, &reports, &stop),
        keep(&site, &reports, &stop),
        cut(&killer, &loader, &stop)
    );
    catch_up(&reports, &site.loader().await).await;
    assert_eq!(differences(&superuser, "0.9").await, Vec::<String>::new(), "seed {seed}");
}
