//! A new release goes out under load: its processes take the places of the old ones in turn, loaders first, and then the
//! schemas are migrated. No client and no probe notices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::{Clients, Ground};
use crate::harness::{Http, Rollbook, Service, played};

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
