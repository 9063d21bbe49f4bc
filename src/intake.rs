//! The door: a request comes in, verdicts go out.
//!
//! One file a step: `accept` a connection → `route` a request → `body` read and `unpack`ed → `decode`d into its
//! envelope → `resolve`d to a tenant → `check`ed event by event → `publish`ed → `reply`; NDJSON that is not packed takes
//! these steps while it arrives, in `lines`. `problem` is the one table of what can keep a request from getting there;
//! `route` and `batch` are where their order is read.
//!
//! Invariants: nothing is acknowledged that the log did not acknowledge. Once the log was asked, nothing but its
//! answer decides, whether or not the client is still there. Memory is bounded by `budget` and by the number of
//! connections. A stranger, who has shown no live key, takes nothing from those who have: its `places` are theirs when they
//! need them, its `allowance` and its `budget` are its own, and at work its `turn` comes last. An organization takes nothing
//! from the others either: of `budget` and `places` it gets no more than leaves some to the next one, and turns go round.
//!
//! What an event may be is [`crate::event`]'s concern, whose it is is [`crate::tenant`]'s.

mod accept;
mod allowance;
mod batch;
mod body;
mod budget;
mod check;
mod connection;
mod content_type;
mod cors;
mod decode;
pub mod direct;
mod limit;
mod lines;
mod meter;
mod patience;
mod places;
mod problem;
mod publish;
mod read_away;
mod reply;
mod request_id;
mod resolve;
mod route;
mod span;
mod turn;
mod unpack;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::intake::IntakeSettings;
use crate::config::ops::DrainSettings;
use crate::log::Publisher;
use crate::ops::{Complaints, Health, Role};
use crate::tenant::Directory;
use budget::Budget;
use connection::Protocol;
use limit::Limiter;
use meter::Meter;
use patience::LAST_WORDS;
use places::Places;
use publish::COMPLAINT_PERIOD;
use turn::Turns;

/// The accept loop turns every second, whatever comes in.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
/// What dropped connections get to notice it.
const AFTER_KILL: Duration = Duration::from_millis(100);

/// What intake is made of; [`Server::run`] runs it.
#[derive(Debug)]
pub struct Server {
    /// Limits of what comes in.
    pub settings: IntakeSettings,
    /// How it ends.
    pub drain: DrainSettings,
    /// Who may write, kept current by whoever follows the control schema.
    pub directory: Arc<Directory>,
    /// Where accepted events go.
    pub publisher: Publisher,
    /// Where it says how it is.
    pub health: Health,
}

/// What every request sees.
struct Intake {
    settings: IntakeSettings,
    directory: Arc<Directory>,
    publisher: Publisher,
    health: Health,
    protocol: Protocol,
    places: Places,
    /// For requests that have shown a live key.
    budget: Budget,
    /// For all others.
    strangers: Budget,
    turns: Turns,
    limiter: Limiter,
    meter: Arc<Meter>,
    complaints: Arc<Complaints>,
    /// Connections, and what they started: the drain waits for all of them.
    tasks: TaskTracker,
    /// No more requests.
    closing: CancellationToken,
    /// No more of the bodies that are still on their way.
    last_call: CancellationToken,
    /// No more patience.
    killed: CancellationToken,
}

impl Server {
    /// Serves until `stop`, then drains: unready at once, a pause for load balancers to notice, no more connections,
    /// unfinished requests finished. Whoever calls flushes the publisher afterwards.
    ///
    /// # Errors
    /// None at present; a part of a process has this shape (see [`crate::ops::supervise()`]).
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let drain = self.drain;
        let heartbeat = self.health.watch("intake", LONGEST_SILENCE);
        let intake = Arc::new(self.open());
        let ending = async {
            stop.cancelled().await;
            intake.health.start_drain();
            sleep(drain.pause).await;
            intake.closing.cancel();
        };
        tokio::join!(accept::accept(&intake, listener, heartbeat), ending);
        intake.finish(drain.limit - drain.pause).await;
        Ok(())
    }

    fn open(self) -> Intake {
        let Self { settings, drain: _, directory, publisher, health } = self;
        let (asked, log) = (Arc::clone(&directory), publisher.clone());
        health.answer_for(Role::Intake, move || {
            let trouble =
                asked.starting().or_else(|| Some(format!("the log is unavailable: {}", log.trouble()?)));
            trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
        });
        let tasks = TaskTracker::new();
        Intake {
            protocol: connection::protocol(&settings, tasks.clone()),
            places: Places::new(settings.connections),
            budget: Budget::new(settings.in_flight_bytes),
            strangers: Budget::new(settings.strangers_in_flight_bytes),
            turns: Turns::new(Handle::current().metrics().num_workers()),
            limiter: Limiter::new(settings.default_rate_limit),
            meter: Arc::new(Meter::new()),
            complaints: Arc::new(Complaints::once_in(COMPLAINT_PERIOD)),
            tasks,
            closing: CancellationToken::new(),
            last_call: CancellationToken::new(),
            killed: CancellationToken::new(),
            settings,
            directory,
            publisher,
            health,
        }
    }
}

impl Intake {
    /// Waits for what is in flight, and no longer than `limit`. Whose body is still on its way shortly before is told so while
    /// there is time to hear it.
    async fn finish(&self, limit: Duration) {
        self.tasks.close();
        let last_words = LAST_WORDS.min(limit / 2);
        if timeout(limit - last_words, self.tasks.wait()).await.is_ok() {
            return;
        }
        self.last_call.cancel();
        if timeout(last_words, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                unfinished = self.tasks.len(),
                "the drain's time is up; what was unfinished is dropped"
            );
            self.killed.cancel();
            // What waits for the log is not dropped with its connection, but nobody waits for it any longer.
            let _ = timeout(AFTER_KILL, self.tasks.wait()).await;
        }
    }
}

#[cfg(test)]
mod tests;
