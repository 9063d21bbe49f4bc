//! One assigned partition: its lanes, and how far it is safe.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::arrived::Arrived;
use super::backlog::Backlog;
use super::continuity::ToLookAt;
use super::lane::{Home, Lane};
use super::outcome::Outcomes;
use super::position::{Position, Watermark};
use super::progress::Progress;
use super::undecodable::Undecodable;
use crate::event::UnixMillis;
use crate::log::record::RecordView;
use crate::log::{Discontinuity, LogRecord, PartitionEnds, Start};
use crate::tenant::OrganizationId;

/// See the module.
pub(super) struct Partition {
    shared: Arc<Shared>,
    position: Position,
    assignment: u64,
    admission: Admission,
    progress: Arc<Mutex<Progress>>,
    lanes: HashMap<OrganizationId, LaneDoor>,
    /// The way to where records are written down that cannot be decoded, once there was one.
    undecodable: Option<UnboundedSender<LogRecord>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    committed: Option<i64>,
    moved: Moved,
    /// Where it stood when it was last measured, if the log had offsets beyond and nothing of them had come.
    stood_at: Option<i64>,
}

/// When the low-water mark last moved, or had no reason to.
struct Moved {
    next_offset: Option<i64>,
    at: Instant,
}

/// Whether records go to lanes.
enum Admission {
    /// Not before it is known that this is the log that was loaded.
    Waiting(Vec<LogRecord>),
    /// They do.
    Open,
    /// It is not, or a part of it is missing: nothing is read any more.
    Stopped,
}

/// The way into a lane.
struct LaneDoor {
    sender: UnboundedSender<Arrived>,
    backlog: Arc<Backlog>,
    found_held: Arc<Notify>,
    /// Set once the lane has ended, however.
    ended: CancellationToken,
}

/// How far behind the log a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lag {
    pub(super) records: u64,
    pub(super) seconds: f64,
}

impl Partition {
    /// A partition whose records wait until it is admitted. `assignment` tells this time that it was assigned from
    /// every other.
    pub(super) fn new(shared: &Arc<Shared>, start: Start, assignment: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            position: Position { generation: shared.generation, partition: start.partition },
            assignment,
            admission: Admission::Waiting(Vec::new()),
            progress: Arc::new(Mutex::new(Progress::starting_at(start.next_offset))),
            lanes: HashMap::new(),
            undecodable: None,
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            committed: start.next_offset,
            moved: Moved { next_offset: start.next_offset, at: Instant::now() },
            stood_at: None,
        }
    }

    /// Takes a record. Does not wait: what waits is bounded by the consumer.
    pub(super) fn take(&mut self, record: LogRecord) {
        match &mut self.admission {
            Admission::Waiting(records) => records.push(record),
            Admission::Open => self.route(record),
            Admission::Stopped => {}
        }
    }

    /// This is the log that was loaded: records go to lanes from now on.
    pub(super) fn admit(&mut self, highest: Option<Watermark>) {
        if let Some(highest) = highest {
            self.lock_progress().see(highest);
        }
        if let Admission::Waiting(records) = std::mem::replace(&mut self.admission, Admission::Open) {
            records.into_iter().for_each(|record| self.route(record));
        }
    }

    /// Reads no further. What was taken from a log that is another one by now goes nowhere.
    pub(super) fn stop(&mut self, discontinuity: Discontinuity) {
        self.admission = Admission::Stopped;
        match discontinuity {
            Discontinuity::RecordsGone { .. } => {}
            Discontinuity::EndsBelow { .. } | Discontinuity::AnotherRecord { .. } => self.tasks.abort_all(),
        }
    }

    /// Which time it was assigned.
    pub(super) fn assignment(&self) -> u64 {
        self.assignment
    }

    /// Whether it was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.admission, Admission::Stopped)
    }

    /// Whether its records go to lanes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.admission, Admission::Open)
    }

    /// What is known of it, to be compared with the log.
    pub(super) fn to_look_at(&self) -> ToLookAt {
        let progress = self.lock_progress();
        ToLookAt {
            partition: self.position.partition,
            assignment: self.assignment,
            next_offset: progress.taken_up_to(),
            highest: progress.highest(),
        }
    }

    /// Gives a record to the lane of its organization.
    fn route(&mut self, record: LogRecord) {
        let offset = record.offset;
        match RecordView::parse(&record.bytes) {
            Ok(view) => {
                let (organization, events, received_at) =
                    (view.organization_id, view.event_count, view.received_at);
                self.lock_progress().begin(offset, Some(received_at));
                self.send(organization, record, events, received_at);
            }
            Err(bad) => {
                self.lock_progress().begin(offset, None);
                tracing::error!(partition = self.position.partition, offset, error = %bad, "a record cannot be decoded");
                self.write_down_undecodable(record);
            }
        }
    }

    /// Sees to records of an organization that are held, though nothing new comes for it.
    pub(super) fn drain_lane(&mut self, organization: OrganizationId) {
        if !self.is_open() {
            return;
        }
        match self.lanes.get(&organization) {
            Some(lane) if !lane.sender.is_closed() => lane.found_held.notify_one(),
            _ => {
                self.start_lane(organization);
            }
        }
    }

    fn send(
        &mut self,
        organization: OrganizationId,
        record: LogRecord,
        events: usize,
        received_at: UnixMillis,
    ) {
        let lane = match self.lanes.get(&organization) {
            Some(lane) if !lane.sender.is_closed() => lane,
            _ => self.start_lane(organization),
        };
        let charge = lane.backlog.charge(record.bytes.len());
        let arrived = Arrived { record, events, received_at, at: Instant::now(), charge };
        if let Err(closed_just_now) = lane.sender.send(arrived) {
            // The receiver is in the task that is just started; were it gone, the record would be read again.
            let _ = self.start_lane(organization).sender.send(closed_just_now.0);
        }
    }

    fn start_lane(&mut self, organization: OrganizationId) -> &LaneDoor {
        let (sender, incoming) = unbounded_channel();
        let found_held = Arc::new(Notify::new());
        let (ended, backlog) =
            (CancellationToken::new(), Backlog::new(self.shared.settings.lane_memory_bytes));
        let home = Home {
            shared: Arc::clone(&self.shared),
            organization,
            position: self.position,
            progress: Arc::clone(&self.progress),
            stop: self.stop.clone(),
            outcomes: Outcomes::new(self.shared.label(organization)),
            backlog: Arc::clone(&backlog),
            found_held: Arc::clone(&found_held),
        };
        let lane = Lane { home, incoming, pending: VecDeque::new() };
        let door = LaneDoor { sender, backlog, found_held, ended: ended.clone() };
        let before = self.lanes.insert(organization, door);
        self.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            // Two lanes of one organization at once could each move the watermark past what the other has pending.
            if let Some(before) = before {
                before.ended.cancelled().await;
            }
            lane.run().await;
        });
        &self.lanes[&organization]
    }

    fn write_down_undecodable(&mut self, record: LogRecord) {
        if self.undecodable.is_none() {
            self.undecodable = Some(self.start_writing_down());
        }
        // Its receiver ends with the partition: what is not written down then is read again.
        let _ = self.undecodable.as_ref().map(|sender| sender.send(record));
    }

    fn start_writing_down(&mut self) -> UnboundedSender<LogRecord> {
        let (sender, incoming) = unbounded_channel();
        let undecodable = Undecodable {
            shared: Arc::clone(&self.shared),
            position: self.position,
            progress: Arc::clone(&self.progress),
            stop: self.stop.clone(),
            incoming,
        };
        self.tasks.spawn(undecodable.run());
        sender
    }

    /// Forgets lanes that have ended, and reports one that ended badly.
    ///
    /// # Errors
    /// A lane panicked: a bug, and what it had pending is unknown. The process should end and read again.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Err(error) if error.is_panic() => return Err(error).context("a lane of the loader failed"),
                // The others were stopped with their partition.
                Ok(()) | Err(_) => {}
            }
        }
        self.lanes.retain(|_, lane| !lane.ended.is_cancelled());
        Ok(())
    }

    /// Which partition.
    pub(super) fn number(&self) -> i32 {
        self.position.partition
    }

    /// The next offset to read after a restart, if it moved since this was last asked.
    pub(super) fn take_uncommitted(&mut self) -> Option<i64> {
        let next_offset = self.next_offset().filter(|next_offset| Some(*next_offset) != self.committed)?;
        self.committed = Some(next_offset);
        Some(next_offset)
    }

    /// The next offset to read after a restart; `None`: the very beginning, or a person has to say.
    fn next_offset(&self) -> Option<i64> {
        if self.is_stopped() {
            return None;
        }
        self.lock_progress().next_offset()
    }

    /// When it last moved on; now, while it has nothing to do or cannot.
    pub(super) fn moved_at(&mut self, is_idle: bool) -> Instant {
        let next_offset = self.next_offset();
        if is_idle || self.is_stopped() || next_offset != self.moved.next_offset {
            self.moved = Moved { next_offset, at: Instant::now() };
        }
        self.moved.at
    }

    /// How far behind the log's end the partition is.
    pub(super) fn lag(&self, ends: PartitionEnds) -> Lag {
        let progress = self.lock_progress();
        let records = ends.end - progress.next_offset().unwrap_or(ends.start);
        let age_ms =
            progress.oldest_received_at().map_or(0, |oldest| UnixMillis::now().0.saturating_sub(oldest.0));
        Lag {
            records: records.max(0).unsigned_abs(),
            seconds: Duration::from_millis(age_ms.max(0).unsigned_abs()).as_secs_f64(),
        }
    }

    /// Where it stands, if it stood there when this was last asked, too, though the log has offsets beyond: they may be
    /// no records.
    pub(super) fn stands_at(&mut self, ends: PartitionEnds) -> Option<i64> {
        let at = {
            let progress = self.lock_progress();
            let at = progress.taken_up_to().unwrap_or(ends.start);
            (self.is_open() && progress.is_idle() && at < ends.end).then_some(at)
        };
        let before = std::mem::replace(&mut self.stood_at, at);
        at.filter(|_| at == before)
    }

    /// From `from` on there is no record before `to`.
    pub(super) fn skip(&self, from: i64, to: i64) {
        self.lock_progress().skip(from, to);
    }

    /// Asks the lanes for one last flush each.
    pub(super) fn begin_close(&self) {
        self.stop.cancel();
    }

    /// Waits for the lanes to end, until `deadline` at most, and gives the last offset that may be committed.
    pub(super) async fn close(mut self, deadline: Instant) -> Option<i64> {
        self.begin_close();
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline.into(), all_ended).await.is_err() {
            tracing::warn!(
                partition = self.position.partition,
                "transactions were still open when the partition had to be given up; their records are read again"
            );
            self.tasks.shutdown().await;
        }
        self.next_offset()
    }

    fn lock_progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
