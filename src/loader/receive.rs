//! The receive loop: what the log hands over goes to its partition, and what is safe is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics::gauge;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::continuity::{Looked, Occasion, ToLookAt, look};
use super::former::drain_former_generations;
use super::held_record::lanes_with_held;
use super::partition::{Lag, Partition};
use super::refusal::Refusal;
use super::{Heartbeats, Parts, Shared, generation};
use crate::config::log::LogSettings;
use crate::log::{ConsumeError, Consumer, Delivery, LogRecord, Revocation, Start};
use crate::ops::metrics::catalogue::{
    DB_CONNECTIONS, LOADER_LAG_RECORDS, LOADER_LAG_SECONDS, LOADER_PARTITIONS,
};
use crate::tenant::OrganizationId;

/// How often offsets are committed and lag is measured.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// How long giving partitions up waits for transactions in flight, each statement of which is bounded to ten seconds.
/// Less than the consumer waits for us.
const CLOSE_GRACE: Duration = Duration::from_secs(20);
/// How often records held by an earlier owner are looked for.
const HELD_PERIOD: Duration = Duration::from_secs(15);

/// Why the loop ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// The broker does not know the group protocol that was tried first.
    NoConsumerProtocol,
    /// A person declared a new generation of the log: everything begins again there.
    NewGeneration,
}

/// What a look at the log or at Postgres found.
enum Found {
    Partitions(Vec<Looked>),
    NewGeneration(i32),
    /// Records that an earlier owner held have to be drained though nothing new comes for their organizations.
    Held(Vec<(i32, OrganizationId)>),
    Nothing,
}

/// See the module.
pub(super) struct ReceiveLoop<'a> {
    shared: Arc<Shared>,
    consumer: Consumer,
    log: LogSettings,
    group: String,
    heartbeats: &'a Heartbeats,
    partitions: HashMap<i32, Partition>,
    assignments: u64,
    looks: JoinSet<Found>,
}

impl<'a> ReceiveLoop<'a> {
    pub(super) fn new(shared: Arc<Shared>, consumer: Consumer, parts: &'a Parts) -> Self {
        Self {
            shared,
            consumer,
            log: parts.consumer.log.clone(),
            group: parts.consumer.consume.group.kafka_group.clone(),
            heartbeats: &parts.heartbeats,
            partitions: HashMap::new(),
            assignments: 0,
            looks: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, stop: &CancellationToken) -> anyhow::Result<Ended> {
        let mut commit = every(COMMIT_PERIOD);
        let mut look_for_held = every(HELD_PERIOD);
        let mut look_at_log = every(self.shared.settings.log_check);
        let mut closing = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if closing.is_none() => closing = Some(self.close(Ended::Stopped)),
                _ = commit.tick() => {
                    self.heartbeats.turns.beat();
                    self.commit_and_measure()?;
                }
                Some(found) = self.looks.join_next() => match found.context("comparing the log failed")? {
                    Found::Partitions(looked) => {
                        looked.into_iter().for_each(|one| self.looked_at(one));
                        look_for_held.reset_immediately();
                    }
                    Found::Held(lanes) => self.drain_lanes(&lanes),
                    Found::Nothing => {}
                    Found::NewGeneration(generation) => if closing.is_none() {
                        tracing::warn!(generation, "a new generation of the log was declared; beginning again there");
                        closing = Some(self.close(Ended::NewGeneration));
                    }
                },
                delivery = self.consumer.next() => match delivery {
                    Some(Delivery::Record(record)) => self.take(record),
                    Some(Delivery::Assigned(starts)) => self.assigned(&starts),
                    Some(Delivery::Revoked(revocation)) => self.revoked(revocation).await,
                    Some(Delivery::OutOfRange) => self.look_at_running(),
                    None => break,
                },
                _ = look_for_held.tick(), if closing.is_none() => {
                    self.look_for_held();
                    self.drain_former_generations();
                }
                _ = look_at_log.tick() => {
                    self.look_at_running();
                    self.look_at_generation();
                }
            }
        }
        match self.consumer.ended().await {
            Ok(()) => Ok(closing.unwrap_or(Ended::Stopped)),
            Err(ConsumeError::NoConsumerProtocol) => Ok(Ended::NoConsumerProtocol),
            Err(error @ ConsumeError::Kafka(_)) => Err(error).context("reading the log"),
        }
    }

    /// The consumer answers with a last revocation, which closes the partitions.
    fn close(&self, why: Ended) -> Ended {
        self.partitions.values().for_each(Partition::begin_close);
        self.consumer.close();
        why
    }

    fn take(&mut self, record: LogRecord) {
        // A record of a partition that was taken away is its new owner's.
        if let Some(partition) = self.partitions.get_mut(&record.partition) {
            partition.take(record);
        }
    }

    fn assigned(&mut self, starts: &[Start]) {
        self.assignments += 1;
        for start in starts {
            self.shared.condition.forget(start.partition);
            let partition = Partition::new(&self.shared, *start, self.assignments);
            self.partitions.insert(start.partition, partition);
        }
        tracing::info!(assigned = starts.len(), all = self.partitions.len(), "partitions were assigned");
        let new = self.partitions.values().filter(|partition| partition.assignment() == self.assignments);
        self.look_at(Occasion::Assigned, new.map(Partition::to_look_at).collect());
        self.tell_condition();
    }

    fn look_at_running(&mut self) {
        let open = self.partitions.values().filter(|partition| partition.is_open());
        self.look_at(Occasion::Running, open.map(Partition::to_look_at).collect());
    }

    fn look_at(&mut self, occasion: Occasion, partitions: Vec<ToLookAt>) {
        if partitions.is_empty() {
            return;
        }
        let (shared, log, group) = (Arc::clone(&self.shared), self.log.clone(), self.group.clone());
        self.looks
            .spawn(async move { Found::Partitions(look(&shared, &log, &group, occasion, partitions).await) });
    }

    fn look_at_generation(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            match generation::current(&shared.pool).await {
                Ok(Some(current)) if current != shared.generation => Found::NewGeneration(current),
                // Asked again in a while.
                Ok(_) | Err(_) => Found::Nothing,
            }
        });
    }

    fn looked_at(&mut self, looked: Looked) {
        let number = looked.at.partition;
        let partition = self.partitions.get_mut(&number);
        let partition = partition.filter(|one| one.assignment() == looked.at.assignment);
        let Some(partition) = partition else { return };
        match looked.discontinuity {
            None if partition.is_stopped() => {}
            None => partition.admit(looked.at.highest),
            Some(discontinuity) => {
                tracing::error!(partition = number, reason = %discontinuity, "a partition is stopped");
                partition.stop(discontinuity);
                self.consumer.stop_reading(number);
                self.shared.condition.stopped(number, discontinuity.to_string());
            }
        }
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
            self.shared.condition.forget(number);
            // It is the next owner's from now on, who would be contradicted by what was measured last.
            report_lag(number, Lag::default());
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
        self.shared.condition.set_joined(self.consumer.is_member());
        let stopped = self.partitions.values().filter(|partition| partition.is_stopped()).count();
        gauge!(LOADER_PARTITIONS, "state" => "running").set(count(self.partitions.len() - stopped));
        gauge!(LOADER_PARTITIONS, "state" => "stopped").set(count(stopped));
    }

    /// The low-water marks to the log, and how far behind it they are to the metrics.
    fn commit_and_measure(&mut self) -> anyhow::Result<()> {
        self.tell_condition();
        let ends = self.consumer.ends();
        // What waits for somebody else does not stand still.
        let is_waiting = self.shared.condition.is_waiting();
        let (mut next_offsets, mut moved_at) = (Vec::new(), Instant::now());
        for (number, partition) in &mut self.partitions {
            partition.reap()?;
            next_offsets.extend(partition.take_uncommitted().map(|next_offset| (*number, next_offset)));
            if let Some(ends) = ends.get(number) {
                let lag = partition.lag(*ends);
                report_lag(*number, lag);
                let is_idle = lag.records == 0 || is_waiting;
                moved_at = moved_at.min(partition.moved_at(is_idle));
            }
        }
        self.heartbeats.moves.beat_as_of(moved_at);
        self.consumer.commit(&next_offsets);
        let connections = self.shared.pool.state();
        gauge!(DB_CONNECTIONS, "state" => "idle").set(f64::from(connections.idle));
        gauge!(DB_CONNECTIONS, "state" => "busy").set(f64::from(connections.open - connections.idle));
        Ok(())
    }

    fn look_for_held(&mut self) {
        let open = self.partitions.values().filter(|partition| partition.is_open());
        let partitions: Vec<i32> = open.map(Partition::number).collect();
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            let found = async {
                let client = shared.pool.get().await?;
                let lanes = lanes_with_held(&client, shared.generation, &partitions).await?;
                client.give_back();
                Ok::<_, Refusal>(lanes)
            };
            found.await.map_or_else(
                |refused| {
                    shared.condition.server.lost(refused.reason());
                    Found::Nothing
                },
                Found::Held,
            )
        });
    }

    fn drain_former_generations(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move {
            if let Err(refused) = drain_former_generations(&shared).await {
                shared.condition.server.lost(refused.reason());
            }
            Found::Nothing
        });
    }

    fn drain_lanes(&mut self, lanes: &[(i32, OrganizationId)]) {
        for (partition, organization) in lanes {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.drain_lane(*organization);
            }
        }
    }
}

fn report_lag(partition: i32, lag: Lag) {
    let label = partition.to_string();
    gauge!(LOADER_LAG_RECORDS, "partition" => label.clone()).set(lag.records as f64);
    gauge!(LOADER_LAG_SECONDS, "partition" => label).set(lag.seconds);
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn count(items: usize) -> f64 {
    f64::from(u32::try_from(items).unwrap_or(u32::MAX))
}
