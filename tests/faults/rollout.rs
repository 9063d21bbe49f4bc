//! A new release goes out under load: its processes take the places of the old ones in turn, loaders first, and then the
//! schemas are migrated. No client and no probe notices. One intake of it came too early, and wrote a record of a newer
//! format: its organization's records wait for the new loaders.
//!
//! There is one release to test with. Loaders that know the newer format are therefore these, once the record that is held
//! is written as they know it; that it is the old ones which hold it is for real.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use rollbook::event::proto;
use rollbook::log::record::FORMAT;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::Client;
use super::{Clients, Ground};
use crate::harness::{Http, Rollbook, Service, eventually, played};

/// As `deploy/kubernetes/` has it: for so long a drained intake still takes requests, while the balancer learns that it is
/// not ready.
const DRAIN_PAUSE_MS: &str = "5000";

/// Two processes of one role, as a load balancer or a rollout sees them: by what `/readyz` says.
#[derive(Debug)]
struct Pair {
    name: &'static str,
    doors: Mutex<Vec<Http>>,
}

impl Pair {
    fn of(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, doors: Mutex::default() })
    }

    /// Starts one more.
    async fn join(&self, ground: &Ground, serve: Rollbook) -> Service {
        let service = ground.start(serve).await;
        service.becomes_ready().await;
        self.lock().push(door_of(&service).clone());
        service
    }

    /// One after the other ends in order, and another takes its place.
    async fn replace(
        &self,
        ground: &Ground,
        old: [Service; 2],
        serve: impl Fn() -> Rollbook,
    ) -> [Service; 2] {
        let mut new = Vec::new();
        for service in old {
            let gone = door_of(&service).address().to_owned();
            service.stop().await;
            self.lock().retain(|door| door.address() != gone);
            new.push(self.join(ground, serve()).await);
        }
        new.try_into().expect("as many as before")
    }

    /// One that is ready, asked this moment; or what they say.
    async fn ready(&self) -> Result<Http, String> {
        let (doors, mut said) = (self.lock().clone(), String::new());
        for door in doors {
            match door.try_send("GET", "/readyz", &[], "").await {
                Ok(reply) if reply.status == 200 => return Ok(door),
                Ok(reply) => said += &format!("{}\n", reply.json),
                Err(reason) => said += &format!("{reason}\n"),
            }
        }
        Err(said)
    }

    /// Asks again and again whether one is ready. One may become ready behind this one's back and the next one go only
    /// then: it takes two rounds to know that there was none.
    async fn is_always_there(&self, stop: &CancellationToken) {
        let mut rounds = 0;
        while !stop.is_cancelled() {
            if let (Err(_), Err(said)) = (self.ready().await, self.ready().await) {
                panic!("no {} is ready: {said}", self.name);
            }
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(rounds > 10, "it was looked at {rounds} times");
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Http>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it is asked whether it is ready: where its clients are, if it has any.
fn door_of(service: &Service) -> &Http {
    service.intake.as_ref().unwrap_or(&service.admin)
}

/// Posts through the balancer until it is told to stop. A request goes to one intake, and is never sent again.
async fn post_on(intakes: &Pair, mut client: Client, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let Ok(intake) = intakes.ready().await else { continue };
        client.http = intake;
        client.post(&played(20)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A record that the old loaders cannot read.
struct Newer {
    record: proto::Record,
}

impl Newer {
    /// Waits until it is held, and with it what comes behind it.
    async fn came_too_early(ground: &Ground, slug: &str) -> Self {
        let record = proto::Record { format: FORMAT + 1, ..ground.record_of(slug).await };
        let id = Uuid::from_slice(&record.events[0].event_id).expect("sixteen bytes");
        ground.ledger.promise(slug, id.to_string());
        ground.write_record(slug, &record).await;
        let held = "SELECT count(*) FROM rollbook.held_record";
        eventually("some are held", async || ground.number(held).await > 2).await;
        let listed = ground.run(&format!("held list {slug} --json")).await.done().items();
        let reason = listed[0]["reason"].as_str().expect("a reason");
        assert!(reason.ends_with("use the newer release; loaders first"), "{reason}");
        Self { record }
    }

    /// From now on it is a record like any other.
    async fn becomes_readable(self, ground: &Ground) {
        let known = proto::Record { format: FORMAT, ..self.record.clone() };
        let sql = "UPDATE rollbook.held_record SET record = $1 WHERE record = $2";
        let written: [Vec<u8>; 2] = [known, self.record].map(|record| record.encode_to_vec());
        let changed = ground.superuser().await.execute(sql, &[&written[0], &written[1]]).await;
        assert_eq!(changed.expect("an update"), 1);
    }
}

#[tokio::test]
async fn a_release_goes_out_under_load_and_every_request_is_answered() {
    let ground = Ground::with(&["acme", "birch", "cedar"]).await;
    for organization in &ground.organizations {
        // As the release before has them.
        ground.take_back(&organization.slug).await;
    }
    let (intakes, loaders) = (Pair::of("intake"), Pair::of("loader"));
    let intake = || ground.intake_to_be().env("ROLLBOOK_DRAIN_PAUSE_MS", DRAIN_PAUSE_MS);
    let loader = || ground.loader_to_be();
    let old_loaders = [loaders.join(&ground, loader()).await, loaders.join(&ground, loader()).await];
    let old_intakes = [intakes.join(&ground, intake()).await, intakes.join(&ground, intake()).await];

    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    for pair in [&intakes, &loaders] {
        let (pair, stop) = (Arc::clone(pair), stop.clone());
        tasks.spawn(async move { pair.is_always_there(&stop).await });
    }
    for organization in &ground.organizations {
        let (intakes, stop, client) = (Arc::clone(&intakes), stop.clone(), ground.client(organization));
        tasks.spawn(async move { post_on(&intakes, client, &stop).await });
    }
    ground.gains(100).await;

    let newer = Newer::came_too_early(&ground, "cedar").await;
    ground.gains_of("acme", 100).await;
    newer.becomes_readable(&ground).await;
    let new_loaders = loaders.replace(&ground, old_loaders, loader).await;
    ground.gains(100).await;
    let new_intakes = intakes.replace(&ground, old_intakes, intake).await;
    ground.gains(100).await;
    let migrated = ground.run("migrate --json").await.done().items();
    assert!(migrated.iter().all(|schema| schema["outcome"] == "migrated"), "{migrated:?}");
    ground.gains(100).await;

    stop.cancel();
    tasks.join_all().await;
    let all = ground.reckon(Clients::new()).await;
    assert_eq!((all.failures, all.duplicate, all.dead), (0, 0, 0), "{all:?}");
    for service in new_intakes.into_iter().chain(new_loaders) {
        service.stop().await;
    }
}
