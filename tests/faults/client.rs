//! Clients that go on sending whatever happens, and write down what they were promised.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use crate::harness::{Form, Http, Organization, Reply, played};

/// A player waits no longer than this. Intake gives up on Kafka sooner.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a client does about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Sends the same events again until they are promised.
    Retries,
    /// Never sends anything again.
    GivesUp,
    /// Sends every batch a second time, whatever it heard.
    RepeatsEverything,
}

/// Some clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// What one client needs.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) http: Http,
    pub(super) ledger: Arc<Ledger>,
    pub(super) organization: Organization,
}

impl Client {
    /// Posts a batch once.
    pub(super) async fn post(&self, events: &[Value]) -> bool {
        let Organization { slug, key, .. } = &self.organization;
        let (headers, body) = Form::Json.pack(slug, key, events);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer =
            tokio::time::timeout(PATIENCE, self.http.try_send("POST", "/v1/events", &headers, body)).await;
        let answer: Result<Reply, String> = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        self.ledger.note(slug, events, &answer)
    }

    /// Posts a batch until it is promised.
    pub(super) async fn insist(&self, events: &[Value]) {
        while !self.post(events).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn work(&self, habit: Habit, events: usize) {
        let events = played(events);
        match habit {
            Habit::Retries => self.insist(&events).await,
            Habit::GivesUp => {
                if !self.post(&events).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            Habit::RepeatsEverything => {
                self.post(&events).await;
                self.insist(&events).await;
            }
        }
    }
}

impl Clients {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// One more, with batches of so many events, and a pause after each.
    pub(super) fn add(&mut self, client: Client, habit: Habit, events: usize, pause: Duration) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            while !stop.is_cancelled() {
                client.work(habit, events).await;
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Lets each finish what it is at. Whoever insists is heard in the end.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}
