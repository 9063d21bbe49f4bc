//! From the log into each organization's schema, exactly once.
//!
//! One receive loop takes records and hands them to lanes, one per organization and partition; lanes write, each at its
//! own pace, over a few shared connections. The offset that is committed to the log is a low-water mark: it never passes
//! a record that is neither stored nor held. The watermark in each schema is what makes a record count once, however
//! often it is read.
//!
//! A row's way: `receive` takes its record, `partition` routes it, `lane` waits and decides, and `writer` is what goes over the wire: the
//! batch, the transaction, the ways of writing, and what a refusal means.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics::SharedString;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::config::loader::LoaderSettings;
use crate::log::{ConsumerSettings, Log};
use crate::ops::Heartbeat;
use crate::ops::metrics::{OTHER, organization_label};
use crate::store::{Backoff, Pool};
use crate::tenant::{Directory, OrganizationId, RolePrefix};

mod anchor;
mod ask;
mod condition;
mod continuity;
pub mod direct;
mod dispatcher;
mod generation;
mod holding;
mod lane;
#[cfg(test)]
mod model;
mod outcome;
mod overdue;
mod owner;
mod partition;
mod position;
mod receive;
pub mod replay;
mod schedule;
mod server;
#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
mod trail;
mod trips;
mod writer;

use ask::ask;
pub use condition::Condition;
use dispatcher::DispatcherLimits;
pub use holding::drain;
use lane::BatchLimits;
pub use lane::LONGEST_PROBE;
use receive::{Ended, ReceiveLoop, Remembered};
use server::{ServerIdentity, Use};
use writer::Refusal;

/// Both have to beat.
pub struct Heartbeats {
    /// The receive loop turns.
    pub turns: Heartbeat,
    /// Every partition that has records moves on. Silent for as long as the one that stands still longest.
    pub moves: Heartbeat,
}

impl Heartbeats {
    /// Waits for something that is somebody else's to bring: nobody is stuck meanwhile.
    async fn beating<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                done = &mut waiting => return done,
                _ = tick.tick() => {
                    self.turns.beat();
                    self.moves.beat();
                }
            }
        }
    }
}

/// What the loader stands on.
pub struct Parts {
    /// Limits.
    pub settings: LoaderSettings,
    /// Where records come from.
    pub log: Log,
    /// How they are taken.
    pub consumer: ConsumerSettings,
    /// Connections of the loader's login.
    pub pool: Pool,
    /// Organizations, followed by somebody else.
    pub directory: Arc<Directory>,
    /// How role names begin.
    pub roles: RolePrefix,
    /// How the loader is, for those who ask.
    pub condition: Arc<Condition>,
    /// Its proof of life.
    pub heartbeats: Heartbeats,
}

/// What the loader works with.
struct Shared {
    settings: LoaderSettings,
    pool: Pool,
    directory: Arc<Directory>,
    roles: RolePrefix,
    generation: i32,
    /// The server that the loader began with: what is remembered is what this one confirmed.
    identity: ServerIdentity,
    condition: Arc<Condition>,
    /// Held while records of earlier generations are being drained.
    draining_former: tokio::sync::Mutex<()>,
}

impl Shared {
    /// How metrics call an organization, also one that was removed.
    fn label(&self, id: OrganizationId) -> SharedString {
        self.directory.slug(id).map_or(OTHER.into(), |slug| organization_label(&slug))
    }

    fn dispatcher_limits(&self) -> DispatcherLimits {
        let settings = &self.settings;
        DispatcherLimits {
            batch: BatchLimits {
                rows: settings.transaction.batch_rows,
                bytes: settings.transaction.batch_bytes,
            },
            lane_bytes: settings.lane_memory_bytes,
            memory_bytes: settings.memory_bytes,
            writers: settings.connections.get() as usize,
            slow_writers: settings.slow_connections(),
        }
    }
}

/// Loads until `stop`, or until the log cannot be read any further. Then every lane writes what it has, and the anchors
/// are moved.
///
/// # Errors
/// `rollbook setup` was not run, the log failed for good, or a writer panicked. Nothing is lost by any of them: what was
/// not anchored is read again.
pub async fn run(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    outcome::start_counting();
    let mut remembered = Remembered::default();
    let mut begins = Begins::First;
    loop {
        let waiting = parts.heartbeats.beating(ready_to_start(&parts, begins));
        let Some(ready) = stop.run_until_cancelled(waiting).await else { return Ok(()) };
        let (generation, identity) = ready?;
        begins = Begins::Again;
        let consumer = parts.log.consumer(&parts.consumer).context("beginning to read the log")?;
        let shared = Arc::new(Shared {
            settings: parts.settings.clone(),
            pool: parts.pool.clone(),
            directory: Arc::clone(&parts.directory),
            roles: parts.roles.clone(),
            generation,
            identity,
            condition: Arc::clone(&parts.condition),
            draining_former: tokio::sync::Mutex::default(),
        });
        let (ended, kept) = ReceiveLoop::new(shared, consumer, &parts, remembered).run(&stop).await?;
        remembered = match ended {
            Ended::Stopped => return Ok(()),
            // Offsets of the former log say nothing about this one.
            Ended::NewGeneration => Remembered::default(),
            Ended::Rewound | Ended::OtherWay => kept,
        };
    }
}

/// Which beginning of the process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// Where the control schema is not there, a person forgot `rollbook setup`: the process ends, and says so.
    First,
    /// It was there: Postgres is being restored, and intake goes on meanwhile. The loader waits.
    Again,
}

/// Waits until Postgres answers, and gives the generation of the log and the server that says so.
async fn ready_to_start(parts: &Parts, begins: Begins) -> anyhow::Result<(i32, ServerIdentity)> {
    // Records before the first snapshot would belong to nobody that we know.
    snapshot_since(&parts.directory, None).await;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        let asked_at = Instant::now();
        match ask(&parts.pool, &parts.condition, Use::Reading, begun_with).await {
            Ok(begun_with) => {
                // A former server's organizations are not this one's: an organization that was removed there may live here.
                if begins == Begins::Again {
                    snapshot_since(&parts.directory, Some(asked_at)).await;
                }
                return Ok(begun_with);
            }
            Err(Refusal::Schema(reason)) if begins == Begins::First => {
                anyhow::bail!("the control schema cannot be read: {reason}")
            }
            // The condition has been told.
            Err(Refusal::Server(_) | Refusal::Again(_) | Refusal::Slow(_) | Refusal::Schema(_)) => {}
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Waits for a snapshot of organizations, no older than this.
async fn snapshot_since(directory: &Directory, at: Option<Instant>) {
    while directory.taken_at() < at || directory.taken_at().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn begun_with(client: &mut Client) -> Result<(i32, ServerIdentity), Refusal> {
    let none = || Refusal::Schema("no log is declared: run `rollbook setup`".to_owned());
    let generation = generation::current(client).await?.ok_or_else(none)?;
    Ok((generation, ServerIdentity::of(&*client).await?))
}
