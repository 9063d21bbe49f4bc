//! One assigned partition: its lanes, and how far it is safe.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::arrived::Arrived;
use super::lane::Lane;
use super::outcome::{self, Outcomes};
use super::position::Position;
use super::progress::Progress;
use super::unreadable::{self, Unreadable};
use crate::event::UnixMillis;
use crate::log::record::RecordView;
use crate::log::{LogRecord, PartitionEnds, Start};
use crate::tenant::OrganizationId;

/// See the module.
pub(super) struct Partition {
    shared: Arc<Shared>,
    position: Position,
    progress: Arc<Mutex<Progress>>,
    lanes: HashMap<OrganizationId, LaneDoor>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    committed: Option<i64>,
}

/// The way into a lane.
struct LaneDoor {
    sender: UnboundedSender<Arrived>,
    /// Set once the lane has ended, however.
    ended: CancellationToken,
}

/// How far behind the log a partition is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lag {
    pub(super) records: u64,
    pub(super) seconds: f64,
}

impl Partition {
    pub(super) fn new(shared: &Arc<Shared>, start: Start) -> Self {
        Self {
            shared: Arc::clone(shared),
            position: Position { generation: shared.generation, partition: start.partition },
            progress: Arc::new(Mutex::new(Progress::starting_at(start.next_offset))),
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            committed: start.next_offset,
        }
    }

    /// Gives a record to the lane of its organization. Does not wait: what waits in lanes is bounded by the consumer.
    pub(super) fn route(&mut self, record: LogRecord) {
        let offset = record.offset;
        match RecordView::parse(&record.bytes) {
            Ok(view) => {
                let (organization, events, received_at) =
                    (view.organization_id, view.event_count, view.received_at);
                self.lock_progress().begin(offset, Some(received_at));
                let arrived = Arrived { record, events, received_at, at: Instant::now() };
                self.send(organization, arrived);
            }
            Err(bad) => {
                self.lock_progress().begin(offset, None);
                tracing::error!(partition = self.position.partition, offset, error = %bad, "a record cannot be decoded");
                self.write_down_undecodable(record);
            }
        }
    }

    /// Makes sure that the organization has a lane, though nothing new came for it.
    pub(super) fn open_lane(&mut self, organization: OrganizationId) {
        if self.lanes.get(&organization).is_none_or(|lane| lane.ended.is_cancelled()) {
            self.start_lane(organization);
        }
    }

    fn send(&mut self, organization: OrganizationId, arrived: Arrived) {
        let arrived = match self.lanes.get(&organization) {
            None => arrived,
            Some(lane) => match lane.sender.send(arrived) {
                Ok(()) => return,
                Err(ended) => ended.0,
            },
        };
        let lane = self.start_lane(organization);
        // The receiver is in the task that was just started; were it gone, the record would be read again.
        let _ = lane.sender.send(arrived);
    }

    fn start_lane(&mut self, organization: OrganizationId) -> &LaneDoor {
        let (sender, incoming) = unbounded_channel();
        let ended = CancellationToken::new();
        let lane = Lane {
            shared: Arc::clone(&self.shared),
            organization,
            position: self.position,
            progress: Arc::clone(&self.progress),
            incoming,
            stop: self.stop.clone(),
            outcomes: Outcomes::new(self.shared.label(organization)),
            pending: VecDeque::new(),
        };
        let door = LaneDoor { sender, ended: ended.clone() };
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
        let (shared, position, progress) =
            (Arc::clone(&self.shared), self.position, Arc::clone(&self.progress));
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let unreadable = Unreadable {
                position,
                offset: record.offset,
                organization: None,
                events: None,
                reason: "it cannot be decoded",
                record: Some(&record.bytes),
            };
            if unreadable::write_until_done(&shared, &unreadable, &stop).await.is_continue() {
                outcome::unreadable();
                progress.lock().unwrap_or_else(PoisonError::into_inner).finish(record.offset);
            }
        });
    }

    /// Reports a lane that ended badly.
    ///
    /// # Errors
    /// A lane panicked: a bug, and what it had pending is unknown. The process should end and read again.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended.context("a lane of the loader failed")?;
        }
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

    /// The next offset to read after a restart; `None`: the very beginning.
    fn next_offset(&self) -> Option<i64> {
        self.lock_progress().next_offset()
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
