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
use std::time::Duration;

use anyhow::Context as _;
use metrics::SharedString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::loader::LoaderSettings;
use crate::config::log::GroupProtocol;
use crate::log::{ConsumeError, Consumer, ConsumerSettings};
use crate::ops::Heartbeat;
use crate::ops::metrics::{OTHER, organization_label};
use crate::store::{Backoff, Pool};
use crate::tenant::{Directory, OrganizationId, RecordOwner, RolePrefix};

mod arrived;
mod backlog;
mod condition;
mod continuity;
pub mod direct;
pub mod drain;
mod former;
mod generation;
mod held_record;
mod lane;
mod outcome;
mod overdue;
mod owner;
mod partition;
mod position;
mod progress;
mod receive;
pub mod replay;
mod server;
#[cfg(test)]
mod tests;
mod trips;
mod undecodable;
mod unreadable;
mod writer;

pub use condition::Condition;
use receive::{Ended, ReceiveLoop};
use trips::Trips;
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
    /// How records are taken.
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

/// What every lane has.
struct Shared {
    settings: LoaderSettings,
    pool: Pool,
    directory: Arc<Directory>,
    roles: RolePrefix,
    generation: i32,
    condition: Arc<Condition>,
    trips: Trips,
    /// A permit for each connection that drains: half of them, for a schema that is slow is slow to drain,
    /// too, and any number of those must leave connections to their neighbours.
    drains: Semaphore,
    /// Held while records of earlier generations are being drained.
    draining_former: tokio::sync::Mutex<()>,
}

impl Shared {
    /// How metrics call an organization.
    fn label(&self, id: OrganizationId) -> SharedString {
        match self.directory.of_record(id) {
            Some(RecordOwner::Tenant(tenant)) => organization_label(tenant.slug()),
            Some(RecordOwner::Removed | RecordOwner::Unknown) | None => OTHER.into(),
        }
    }
}

/// Loads until `stop`, or until the log cannot be read any further. Then every lane writes what it has, and the offsets
/// are committed.
///
/// # Errors
/// `rollbook setup` was not run, the log failed for good, or a lane panicked. Nothing is lost by any of them: what was
/// not committed is read again.
pub async fn run(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    outcome::start_counting();
    let mut settings = parts.consumer.clone();
    loop {
        let waiting = parts.heartbeats.beating(ready_to_start(&parts));
        let Some(generation) = stop.run_until_cancelled(waiting).await else { return Ok(()) };
        let generation = generation?;
        let consumer = Consumer::start(&settings, generation).context("joining the consumer group")?;
        let shared = Arc::new(Shared {
            settings: parts.settings.clone(),
            pool: parts.pool.clone(),
            directory: Arc::clone(&parts.directory),
            roles: parts.roles.clone(),
            generation,
            condition: Arc::clone(&parts.condition),
            trips: Trips::default(),
            drains: drains(&parts.settings),
            draining_former: tokio::sync::Mutex::default(),
        });
        match ReceiveLoop::new(shared, consumer, &parts).run(&stop).await? {
            Ended::Stopped => return Ok(()),
            Ended::NewGeneration => {}
            Ended::NoConsumerProtocol if settings.consume.kafka_group_protocol == GroupProtocol::Auto => {
                tracing::info!(
                    "the broker does not know the group protocol `consumer`; joining with `classic`"
                );
                settings.consume.kafka_group_protocol = GroupProtocol::Classic;
            }
            Ended::NoConsumerProtocol => return Err(ConsumeError::NoConsumerProtocol.into()),
        }
    }
}

/// See [`Shared`].
fn drains(settings: &LoaderSettings) -> Semaphore {
    Semaphore::new((settings.connections.get() as usize / 2).max(1))
}

/// Waits until Postgres answers, and gives the generation of the log.
async fn ready_to_start(parts: &Parts) -> anyhow::Result<i32> {
    // Records before the first snapshot would belong to nobody that we know.
    while parts.directory.taken_at().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match generation::current(&parts.pool).await {
            Ok(Some(generation)) => return Ok(generation),
            Ok(None) => anyhow::bail!("no log is declared: run `rollbook setup`"),
            Err(Refusal::Schema(reason) | Refusal::Slow(reason)) => {
                anyhow::bail!("the control schema cannot be read: {reason}")
            }
            Err(Refusal::Server(reason) | Refusal::Again(reason)) => parts.condition.server.lost(&reason),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
