//! Faults of every kind at random, several at once, for as long as `./dev faults` says; then the books.
//!
//! The schedule is drawn from the seed before anything starts, for each place of trouble on its own. What the machine
//! makes of it differs from run to run; what is done, and when at the earliest, does not.

mod plan;
mod scene;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rollbook::config::log::LogKind;
use tokio_util::sync::CancellationToken;

use super::{Clients, DataFolder, Ground, Habit};
use plan::{Place, Planned, schedule};
use scene::Scene;

/// Some share a partition of three, the others do not.
const ORGANIZATIONS: [&str; 5] = ["acme", "birch", "cedar", "dogwood", "elm"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as it is told: ./dev faults"]
async fn a_random_schedule_of_faults_loses_and_doubles_nothing() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let minutes = setting("TEST_FAULT_MINUTES").unwrap_or(1);
    let seed = setting("TEST_FAULT_SEED").unwrap_or_else(rand::random);
    let (log, data) = match std::env::var("TEST_FAULT_LOG").as_deref() {
        Ok("embedded") => (LogKind::Embedded, Some(DataFolder::on_small_disk())),
        _ => (LogKind::Kafka, None),
    };
    let name = if log == LogKind::Kafka { "kafka" } else { "embedded" };
    eprintln!(
        "{minutes} minutes of faults; the same again: ./dev faults --log {name} --minutes {minutes} --seed {seed}"
    );

    let ground = Ground::with_log(data, &ORGANIZATIONS).await;
    let clients = load(&ground);
    let mut scene = Scene::start(ground).await;
    let started = Instant::now();
    let span = Duration::from_secs(minutes * 60);
    let over = CancellationToken::new();
    let places = Place::of(log, scene.has_small_disk()).iter().map(|&place| {
        let plan = schedule(seed, place, span, scene.has_small_disk());
        strike_all(&scene, place, plan, started)
    });
    let striking = async {
        let struck = join_all(places).await;
        over.cancel();
        struck
    };
    let (struck, held) = tokio::join!(striking, watch(&scene, &over));
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    struck.into_iter().flatten().for_each(|kind| *kinds.entry(kind).or_default() += 1);
    let took = started.elapsed();

    eprintln!("{:7.1} s  all is well again; waiting until everything is loaded", took.as_secs_f64());
    let ended_by_themselves = scene.all_run().await;
    let all = scene.ground.reckon(clients).await;

    eprintln!(
        "\nseed {seed}, {:.1} minutes, {} faults:",
        took.as_secs_f64() / 60.0,
        kinds.values().sum::<u32>()
    );
    for (kind, times) in kinds {
        eprintln!("{times:6}  {kind}");
    }
    eprintln!(
        "{} events promised ({} promises, {} requests without one)\n\
         {} stored, of which {} without a promise that was heard; {} duplicates, {} dead, {held} held in between\n\
         {ended_by_themselves} processes ended by themselves and were started again\n\
         every id compared with the ledger, and by rollbook audit: no difference",
        all.accepted, all.promises, all.failures, all.stored, all.unheard_stored, all.duplicate, all.dead,
    );
}

fn load(ground: &Ground) -> Clients {
    let mut clients = Clients::new();
    for organization in &ground.organizations {
        clients.add(ground.client(organization), Habit::Retries, 200, Duration::from_millis(400));
        clients.add(ground.client(organization), Habit::GivesUp, 5, Duration::from_millis(100));
    }
    for organization in &ground.organizations[..2] {
        clients.add(ground.client(organization), Habit::RepeatsEverything, 30, Duration::from_millis(500));
    }
    clients
}

/// One fault after the other, each at its time or when the one before it is undone.
async fn strike_all(scene: &Scene, place: Place, plan: Vec<Planned>, started: Instant) -> Vec<&'static str> {
    let mut struck = Vec::new();
    for planned in plan {
        tokio::time::sleep_until((started + planned.at).into()).await;
        let (seconds, lasts) = (started.elapsed().as_secs_f64(), planned.lasts.as_secs_f64());
        eprintln!("{seconds:7.1} s  {place:?}: {:?} for {lasts:.1} s", planned.fault);
        if scene.strike(place, &planned).await {
            struck.push(planned.fault.kind());
        }
    }
    struck
}

/// Starts again what ended by itself, as an operator's supervisor does, and counts events that were ever held.
async fn watch(scene: &Scene, over: &CancellationToken) -> i64 {
    let mut held = HashMap::new();
    while over.run_until_cancelled(tokio::time::sleep(Duration::from_millis(500))).await.is_some() {
        scene.start_what_ended().await;
        held.extend(scene.held().await);
    }
    held.values().sum()
}
