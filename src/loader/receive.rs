//! The receive loop: what the log hands over goes to the dispatcher, what the dispatcher wants goes to writers, and what is
//! safe is anchored and committed.
//!
//! It decides nothing about records: a branch here is one that neither the model nor the simulator explores.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ask::Unanswered;
use super::continuity::Beginnings;
use super::dispatcher::{Dispatcher, Overdue, TookLong};
use super::lane::Turn;
use super::partition::LaneKey;
use super::schedule::LaneId;
use super::server::Use;
use super::writer::{Connections, Finished};
use super::{Heartbeats, Parts, Shared};
use crate::log::{ConsumeError, Consumer, Delivery, LogRecord, Readable};
use anchors::Anchored;
use closing::Closing;
use looks::{Found, Looking};
use measure::Moving;
use rereading::{Reread, Rereader};

mod anchors;
mod closing;
mod looks;
mod measure;
mod partitions;
mod rereading;

pub(super) use anchors::{Anchoring, Remembered};
pub(super) use rereading::waiting;

/// How often anchors are written and lag is measured.
const COMMIT_PERIOD: Duration = Duration::from_secs(1);
/// How often records held by an earlier owner are looked for.
const HELD_PERIOD: Duration = Duration::from_secs(15);
/// So many deliveries are taken before writers are looked after again.
const DELIVERIES_AT_ONCE: usize = 256;

/// Why the loop ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// The log does not know the way of joining that was tried first.
    OtherWay,
    /// A person declared a new generation of the log: everything begins again there.
    NewGeneration,
    /// What the loader remembers is worth nothing: the database is another server, or has forgotten. Everything begins
    /// again at the anchors.
    Rewound,
}

/// When a partition was stopped, and whether the log is another one, of which nothing was loaded.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    since: Instant,
    is_another_log: bool,
}

/// See the module.
pub(super) struct ReceiveLoop<'a> {
    shared: Arc<Shared>,
    consumer: Consumer,
    log: Readable,
    heartbeats: &'a Heartbeats,
    dispatcher: Dispatcher,
    connections: Connections,
    anchoring: Anchoring,
    rereader: Rereader,
    /// Partitions that are ours and not read.
    stopped: HashMap<i32, Stopped>,
    /// Partitions that are damaged at this offset, and are stopped once all below it is safe.
    damaged: HashMap<i32, i64>,
    closing: Closing,
    moving: HashMap<i32, Moving>,
    looks: JoinSet<Found>,
    is_looking_at_log: bool,
    is_looking_for_gaps: bool,
    is_looking_at_generation: bool,
    looking_for_held: Looking,
    ending: Option<Ended>,
}

impl<'a> ReceiveLoop<'a> {
    pub(super) fn new(
        shared: Arc<Shared>,
        consumer: Consumer,
        parts: &'a Parts,
        remembered: Remembered,
    ) -> Self {
        let log = parts.log.readable();
        Self {
            consumer,
            heartbeats: &parts.heartbeats,
            dispatcher: Dispatcher::new(shared.dispatcher_limits()),
            connections: Connections::new(&shared),
            anchoring: Anchoring::new(remembered),
            rereader: Rereader::new(log.clone()),
            log,
            shared,
            stopped: HashMap::new(),
            damaged: HashMap::new(),
            closing: Closing::default(),
            moving: HashMap::new(),
            looks: JoinSet::new(),
            is_looking_at_log: false,
            is_looking_for_gaps: false,
            is_looking_at_generation: false,
            looking_for_held: Looking::default(),
            ending: None,
        }
    }

    /// Runs until `stop`, or until everything has to begin again. Gives back what is remembered for then.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> anyhow::Result<(Ended, Remembered)> {
        let mut commit = every(COMMIT_PERIOD);
        let mut look_for_held = every(HELD_PERIOD);
        let mut look_at_log = every(self.shared.settings.log_check);
        loop {
            self.dispatch();
            self.release_what_is_closed();
            // While anchors are written nothing is released, whatever the time: what comes of them turns the loop.
            let deadline = self.closing.deadline().filter(|_| !self.anchoring.is_writing());
            let asks_again_at = self.dispatcher.asks_again_at().into_iter().chain(deadline).min();
            tokio::select! {
                biased;
                () = stop.cancelled(), if self.ending.is_none() => self.end(Ended::Stopped),
                finished = self.connections.next_finished() => self.finished(finished?),
                Some(found) = self.looks.join_next() => {
                    self.found(found.context("a look of the loader failed")?);
                }
                // A tick is over once it is taken, and must come between any number of records.
                _ = commit.tick() => {
                    self.heartbeats.turns.beat();
                    self.anchor();
                    self.stop_at_damage();
                    if self.consumer.has_commits_to_repeat() {
                        self.consumer.commit(&[]);
                    }
                    // A loader that has nothing to write would hear of the end of an outage much later.
                    if self.shared.condition.server.trouble().is_some() && self.ending.is_none() {
                        self.look_for_held();
                    }
                    self.measure();
                }
                _ = look_for_held.tick(), if self.ending.is_none() => {
                    self.look_for_held();
                    self.drain_former_generations();
                }
                _ = look_at_log.tick(), if self.ending.is_none() => {
                    self.look_at_log();
                    self.look_at_generation();
                }
                delivery = self.consumer.next() => match delivery {
                    Some(delivery) => self.deliveries(delivery),
                    None => break,
                },
                // Only wakes the loop, which does at each turn what it is for. So it comes after all work: a moment that has
                // passed and stays is ready at each turn, and would keep from it whatever stands behind.
                () = sleep_until(asks_again_at), if asks_again_at.is_some() => {}
            }
        }
        let remembered = self.anchoring.remembered(&self.dispatcher);
        match self.consumer.ended().await {
            Ok(()) => Ok((self.ending.unwrap_or(Ended::Stopped), remembered)),
            Err(ConsumeError::OtherWay) => Ok((Ended::OtherWay, remembered)),
            Err(error @ ConsumeError::Failed(_)) => Err(error).context("reading the log"),
        }
    }

    /// Gives writers what they can do now.
    fn dispatch(&mut self) {
        let now = Instant::now();
        let TookLong { overdue, is_servers } = self.dispatcher.overdue(now);
        if let Some(reason) = is_servers {
            self.shared.condition.server.lost(Use::Writing, &reason);
        }
        for overdue in overdue {
            match overdue {
                Overdue::Moved(work) => tracing::debug!(work, "a slow transaction goes on beside the others"),
                Overdue::GiveUp(work) => self.connections.give_up(work),
            }
        }
        while let Some(work) = self.dispatcher.next(now) {
            self.connections.begin(work);
        }
        if self.ending.is_none()
            && let Some(stretch) = self.dispatcher.next_stretch()
        {
            let rereader = self.rereader.clone();
            self.looks.spawn(async move { Found::Reread(rereader.read(stretch).await) });
        }
        for (lane, turn) in self.dispatcher.take_turns() {
            self.say(lane, turn);
        }
    }

    fn say(&mut self, lane: LaneId, turn: Turn) {
        let partition = lane.partition;
        let LaneKey::Organization(organization) = lane.key else { return };
        match turn {
            Turn::Held(reason) => tracing::error!(organization.id = %organization, partition, reason,
                "records are held until the organization's schema takes them"),
            Turn::Drained => {
                tracing::info!(organization.id = %organization, partition, "held records are drained");
            }
            Turn::WentBack => {
                tracing::error!(organization.id = %organization, partition,
                    "the organization's schema has forgotten rows that Postgres confirmed; the log brings again what lies above the \
                     anchor, and `rollbook audit` names what is missing below");
                self.anchoring.rewound(partition);
            }
        }
        if self.dispatcher.partition(partition).is_some_and(super::partition::Partition::went_back) {
            self.end(Ended::Rewound);
        }
    }

    fn finished(&mut self, finished: Finished) {
        self.dispatcher.told(finished.work, finished.told, Instant::now());
        if finished.other_server.is_some() {
            self.end(Ended::Rewound);
        }
    }

    /// The consumer answers with a last revocation, which closes the partitions.
    fn end(&mut self, why: Ended) {
        if self.ending.is_some() {
            return;
        }
        if why == Ended::Rewound {
            tracing::warn!(
                "Postgres is not the server that it was, or has forgotten: beginning again at the anchors"
            );
        }
        self.ending = Some(why);
        self.consumer.close();
    }

    fn deliveries(&mut self, first: Delivery) {
        self.delivery(first);
        for _ in 0..DELIVERIES_AT_ONCE {
            match self.consumer.try_next() {
                Some(delivery) => self.delivery(delivery),
                None => return,
            }
        }
    }

    fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Record(record) => self.take(record),
            Delivery::Assigned(assignment) => self.look_for_beginnings(assignment),
            Delivery::Revoked(revocation) => self.revoked(revocation),
            Delivery::OutOfRange => self.look_at_log(),
        }
    }

    /// A record of a partition that is not read goes nowhere: it is its owner's.
    fn take(&mut self, record: LogRecord) {
        let LogRecord { partition, offset, bytes, .. } = record;
        let (key, record) = waiting(offset, Bytes::from(bytes));
        if key == LaneKey::Undecodable {
            tracing::error!(partition, offset, "a record cannot be decoded");
        }
        self.dispatcher.arrive(LaneId { partition, key }, record, Instant::now());
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::Beginnings(assignment, Beginnings::Known(beginnings)) if self.ending.is_none() => {
                self.begin(&assignment, &beginnings);
            }
            Found::Beginnings(_, Beginnings::Known(_)) => {}
            Found::Beginnings(_, Beginnings::OtherServer) | Found::Drained(Err(Unanswered::OtherServer)) => {
                self.end(Ended::Rewound)
            }
            Found::Drained(Ok(()) | Err(Unanswered::Lost)) => {}
            Found::Discontinuities(found) => self.found_discontinuities(found),
            Found::Held(found) => self.found_held(found),
            Found::Generation(found) => self.found_generation(found),
            Found::Reached(next) => {
                self.is_looking_for_gaps = false;
                next.into_iter().for_each(|(partition, offset)| self.dispatcher.reach(partition, offset));
            }
            Found::Reread(Reread::Brought(brought)) => self.dispatcher.brought(brought, Instant::now()),
            Found::Reread(Reread::NotNow { partition }) => {
                self.dispatcher.brought_nothing(partition, Instant::now());
            }
            Found::Reread(Reread::Gone { partition }) => {
                // The look stops the partition, and says why.
                self.dispatcher.brought_nothing(partition, Instant::now());
                self.look_at_log();
            }
            Found::Anchored(anchored) => self.anchored(anchored),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
