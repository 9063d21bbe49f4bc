//! From the log into each organization's schema, exactly once.
//!
//! One receive loop takes records and hands them to lanes, one per organization and partition; lanes write, each at its
//! own pace, over a few shared connections. The offset that is committed to the log is a low-water mark: it never passes
//! a record that is neither stored nor held. The watermark in each schema is what makes a record count once, however
//! often it is read.
//!
//! A row's way: `partition` routes, `lane` waits and decides, `flush` is the transaction, `write` the rows in
//! it, `copy` and `insert` their two forms. What goes wrong is sorted by `scope`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics::{SharedString, gauge};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::loader::LoaderSettings;
use crate::log::{Consumer, ConsumerSettings, Delivery, LogRecord, Revocation, Start};
use crate::ops::Heartbeat;
use crate::ops::metrics::{OTHER, organization_label};
use crate::store::Pool;
use crate::tenant::{Directory, OrganizationId, RecordOwner, RolePrefix};

mod arrived;
mod backoff;
mod copy;
mod dead_letter;
pub mod direct;
pub mod drain;
mod flush;
mod generation;
mod held_record;
mod insert;
mod lane;
mod outcome;
mod owner;
mod partition;
mod position;
mod progress;
mod record_rows;
mod refusal;
pub mod replay;
mod row;
mod scope;
mod server;
mod statements;
#[cfg(test)]
mod tests;
mod unreadable;
mod write;

use backoff::Backoff;
use held_record::lanes_with_held;
use partition::Partition;
use refusal::Refusal;
use server::Server;

/// How often offsets are committed and lag is measured.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// How long giving partitions up waits for transactions in flight, each statement of which is bounded to ten seconds.
/// Less than the consumer waits for us.
const CLOSE_GRACE: Duration = Duration::from_secs(20);
/// How often records held by an earlier owner are looked for.
const HELD_PERIOD: Duration = Duration::from_secs(15);

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
    pub heartbeat: Heartbeat,
}

/// How the loader is: written by it, read by health checks.
#[derive(Debug, Default)]
pub struct Condition {
    server: Server,
    joined: AtomicBool,
}

impl Condition {
    /// Why partitions are not being consumed; `None`: they are. A member of the group that has no partitions is well.
    pub fn trouble(&self) -> Option<String> {
        if let Some(reason) = self.server.trouble() {
            return Some(format!("Postgres cannot be used: {reason}"));
        }
        let joined = self.joined.load(Ordering::Relaxed);
        (!joined).then(|| {
            "not a member of the consumer group: the log is away, or is assigning partitions".to_owned()
        })
    }
}

/// What every lane has.
struct Shared {
    settings: LoaderSettings,
    pool: Pool,
    directory: Arc<Directory>,
    roles: RolePrefix,
    generation: i32,
    condition: Arc<Condition>,
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
    let Some(generation) = current_generation(&parts, &stop).await? else { return Ok(()) };
    if stop.run_until_cancelled(first_snapshot(&parts.directory)).await.is_none() {
        return Ok(());
    }
    let consumer = Consumer::start(&parts.consumer).context("joining the consumer group")?;
    let shared = Arc::new(Shared {
        settings: parts.settings,
        pool: parts.pool,
        directory: parts.directory,
        roles: parts.roles,
        generation,
        condition: parts.condition,
    });
    Loader { shared, consumer, partitions: HashMap::new(), heartbeat: parts.heartbeat }.run(stop).await
}

/// Asks for the generation until Postgres answers; `None` when stopped before.
async fn current_generation(parts: &Parts, stop: &CancellationToken) -> anyhow::Result<Option<i32>> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match generation::current(&parts.pool).await {
            Ok(Some(generation)) => return Ok(Some(generation)),
            Ok(None) => anyhow::bail!("no log is declared: run `rollbook setup`"),
            Err(Refusal::Schema(reason)) => anyhow::bail!("the control schema cannot be read: {reason}"),
            Err(Refusal::Server(reason) | Refusal::Again(reason)) => parts.condition.server.lost(&reason),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// Records before the first snapshot would belong to nobody that we know.
async fn first_snapshot(directory: &Directory) {
    while directory.taken_at().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The receive loop's state.
struct Loader {
    shared: Arc<Shared>,
    consumer: Consumer,
    partitions: HashMap<i32, Partition>,
    heartbeat: Heartbeat,
}

impl Loader {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut commit = tokio::time::interval(COMMIT_PERIOD);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_for_held = tokio::time::interval(HELD_PERIOD);
        look_for_held.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !closing => {
                    // The consumer answers with a last revocation, which closes the partitions.
                    closing = true;
                    self.partitions.values().for_each(Partition::begin_close);
                    self.consumer.close();
                }
                _ = commit.tick() => {
                    self.heartbeat.beat();
                    self.commit_and_measure()?;
                }
                delivery = self.consumer.next() => match delivery {
                    Some(Delivery::Record(record)) => self.route(record),
                    Some(Delivery::Assigned(starts)) => {
                        self.assigned(&starts);
                        look_for_held.reset_immediately();
                    }
                    Some(Delivery::Revoked(revocation)) => self.revoked(revocation).await,
                    None => break,
                },
                _ = look_for_held.tick(), if !closing => self.open_lanes_with_held().await,
            }
        }
        self.consumer.ended().await.context("reading the log")
    }

    fn route(&mut self, record: LogRecord) {
        // A record of a partition that was taken away is its new owner's.
        if let Some(partition) = self.partitions.get_mut(&record.partition) {
            partition.route(record);
        }
    }

    fn assigned(&mut self, starts: &[Start]) {
        for start in starts {
            self.partitions.insert(start.partition, Partition::new(&self.shared, *start));
        }
        tracing::info!(assigned = starts.len(), all = self.partitions.len(), "partitions were assigned");
        self.tell_condition();
    }

    async fn revoked(&mut self, revocation: Revocation) {
        let closing: Vec<Partition> =
            revocation.partitions.iter().filter_map(|partition| self.partitions.remove(partition)).collect();
        closing.iter().for_each(Partition::begin_close);
        let deadline = Instant::now() + CLOSE_GRACE;
        let mut next_offsets = Vec::with_capacity(closing.len());
        for partition in closing {
            let number = partition.number();
            if let Some(next_offset) = partition.close(deadline).await {
                next_offsets.push((number, next_offset));
            }
        }
        tracing::info!(
            revoked = revocation.partitions.len(),
            kept = self.partitions.len(),
            "partitions were given up"
        );
        revocation.release(next_offsets);
        self.tell_condition();
    }

    fn tell_condition(&self) {
        self.shared.condition.joined.store(self.consumer.is_member(), Ordering::Relaxed);
        gauge!("rollbook_loader_partitions", "state" => "running").set(count(self.partitions.len()));
    }

    /// The low-water marks to the log, and how far behind it they are to the metrics.
    fn commit_and_measure(&mut self) -> anyhow::Result<()> {
        self.tell_condition();
        let ends = self.consumer.ends();
        let mut next_offsets = Vec::new();
        for (number, partition) in &mut self.partitions {
            partition.reap()?;
            next_offsets.extend(partition.take_uncommitted().map(|next_offset| (*number, next_offset)));
            if let Some(ends) = ends.get(number) {
                let lag = partition.lag(*ends);
                let label = number.to_string();
                gauge!("rollbook_loader_lag_records", "partition" => label.clone()).set(lag.records as f64);
                gauge!("rollbook_loader_lag_seconds", "partition" => label).set(lag.seconds);
            }
        }
        self.consumer.commit(&next_offsets);
        let connections = self.shared.pool.state();
        gauge!("rollbook_db_connections", "state" => "idle").set(f64::from(connections.idle));
        gauge!("rollbook_db_connections", "state" => "busy")
            .set(f64::from(connections.open - connections.idle));
        Ok(())
    }

    /// Records that an earlier owner held have to be drained though nothing new comes for their organizations.
    async fn open_lanes_with_held(&mut self) {
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        let found = async {
            let client = self.shared.pool.get().await?;
            Ok::<_, Refusal>(lanes_with_held(&client, self.shared.generation, &partitions).await?)
        };
        match found.await {
            Ok(lanes) => {
                for (partition, organization) in lanes {
                    if let Some(partition) = self.partitions.get_mut(&partition) {
                        partition.open_lane(organization);
                    }
                }
            }
            Err(refused) => self.shared.condition.server.lost(refused.reason()),
        }
    }
}

fn count(items: usize) -> f64 {
    f64::from(u32::try_from(items).unwrap_or(u32::MAX))
}
