//! What the loader remembers of its anchors, and when and how they are moved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use super::super::Shared;
use super::super::anchor::{self, AnchorMove, Moved};
use super::super::ask::ask;
use super::super::dispatcher::Dispatcher;
use super::super::partition::LaneKey;
use super::super::position::Watermark;
use super::super::server::Use;
use super::looks::Found;
use super::{Ended, ReceiveLoop};
use crate::log::Revocation;
use crate::ops::metrics::catalogue::LOADER_REWINDS;
use crate::store::Backoff;

/// How often the last anchors of partitions that are given up are tried: then the next owner begins a little further back.
const LAST_TRIES: u32 = 3;
/// How long, all of them together. With what a revocation waits for transactions it is less than the consumer waits for us.
const LAST_PATIENCE: Duration = Duration::from_secs(8);

/// What the database confirmed, as far as the loader remembers when it begins again: to tell people what is gone.
#[derive(Debug, Default)]
pub(in crate::loader) struct Remembered {
    anchors: HashMap<i32, i64>,
    watermarks: HashMap<(i32, LaneKey), Watermark>,
    /// Partitions of which Postgres was found to have forgotten, until that is written down.
    rewound: HashSet<i32>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::loader) struct Anchoring {
    written: HashMap<i32, Option<Watermark>>,
    is_writing: bool,
    remembered: Remembered,
}

/// Anchors that were to be moved.
#[derive(Debug)]
pub(super) struct Anchored {
    /// Where to.
    pub(super) moves: Vec<AnchorMove>,
    /// What became of it; `None`: the database did not answer.
    pub(super) moved: Option<Moved>,
    /// Partitions that go back to the group now.
    pub(super) revocation: Option<Revocation>,
}

impl Anchored {
    /// Moves them in one transaction; more than once where it is the last time.
    pub(super) async fn write(
        shared: &Shared,
        moves: Vec<AnchorMove>,
        revocation: Option<Revocation>,
    ) -> Self {
        let moved = match (moves.is_empty(), &revocation) {
            (true, _) => Some(Moved::All),
            (false, None) => write(shared, &moves).await,
            (false, Some(_)) => {
                let tried = tokio::time::timeout(LAST_PATIENCE, write_at_last(shared, &moves));
                tried.await.unwrap_or_default()
            }
        };
        Self { moves, moved, revocation }
    }
}

async fn write_at_last(shared: &Shared, moves: &[AnchorMove]) -> Option<Moved> {
    let mut backoff = Backoff::for_server();
    for _ in 1..LAST_TRIES {
        if let Some(moved) = write(shared, moves).await {
            return Some(moved);
        }
        tokio::time::sleep(backoff.next()).await;
    }
    write(shared, moves).await
}

async fn write(shared: &Shared, moves: &[AnchorMove]) -> Option<Moved> {
    let writing =
        async |client: &mut Client| anchor::write(client, shared.generation, &shared.identity, moves).await;
    ask(&shared.pool, &shared.condition, Use::Writing, writing).await.ok()
}

impl Anchoring {
    pub(in crate::loader) fn new(remembered: Remembered) -> Self {
        Self { written: HashMap::new(), is_writing: false, remembered }
    }

    /// A partition is assigned, and this is its anchor.
    pub(in crate::loader) fn begin(&mut self, partition: i32, anchor: Option<Watermark>) {
        let found = anchor.map_or(0, |anchor| anchor.next_offset);
        if let Some(confirmed) = self.remembered.anchors.remove(&partition).filter(|before| *before > found) {
            tracing::error!(
                partition,
                confirmed,
                found,
                "Postgres went back: it has forgotten what it confirmed; the log brings it again"
            );
            self.rewound(partition);
        }
        self.written.insert(partition, anchor);
    }

    /// A partition, or a lane of it, found less than the database had confirmed.
    pub(in crate::loader) fn rewound(&mut self, partition: i32) {
        metrics::counter!(LOADER_REWINDS).increment(1);
        self.remembered.rewound.insert(partition);
    }

    /// Lanes of the partition learn what the database confirmed to those before them.
    pub(in crate::loader) fn remind(&mut self, dispatcher: &mut Dispatcher, partition: i32) {
        let watermarks = self.remembered.watermarks.extract_if(|(of, _), _| *of == partition);
        watermarks.for_each(|((_, key), watermark)| dispatcher.remind(partition, key, watermark));
    }

    /// What the database confirmed of a partition is not forgotten with it: everything may begin again.
    pub(in crate::loader) fn keep_in_mind(&mut self, dispatcher: &Dispatcher, partition: i32) {
        if let Some(Some(written)) = self.written.get(&partition) {
            self.remembered.anchors.insert(partition, written.next_offset);
        }
        let lanes = dispatcher.partition(partition).into_iter().flat_map(|partition| partition.lanes());
        let confirmed = lanes.filter_map(|(key, lane)| Some(((partition, key), lane.confirmed()?)));
        self.remembered.watermarks.extend(confirmed);
    }

    /// For the loop that begins again.
    pub(in crate::loader) fn remembered(self, dispatcher: &Dispatcher) -> Remembered {
        let mut all = self;
        let partitions: Vec<i32> = dispatcher.partitions().map(|(partition, _)| partition).collect();
        partitions.into_iter().for_each(|partition| all.keep_in_mind(dispatcher, partition));
        all.remembered
    }

    /// What the log has to have below the anchor.
    pub(in crate::loader) fn anchor(&self, partition: i32) -> Option<crate::log::Anchor> {
        self.written.get(&partition).copied().flatten().and_then(Watermark::anchor)
    }

    /// Where the anchor is.
    pub(in crate::loader) fn next_offset(&self, partition: i32) -> Option<i64> {
        self.written.get(&partition).copied().flatten().map(|anchor| anchor.next_offset)
    }

    /// The moves that are due, of these partitions or of all.
    pub(in crate::loader) fn moves(
        &self,
        dispatcher: &mut Dispatcher,
        of: Option<&[i32]>,
    ) -> Vec<AnchorMove> {
        let mut moves = Vec::new();
        for (partition, from) in &self.written {
            if of.is_some_and(|of| !of.contains(partition)) {
                continue;
            }
            let Some(state) = dispatcher.partition_mut(*partition) else { continue };
            let Some(to) = state.safe_place() else { continue };
            if from.is_none_or(|from| from.next_offset < to.next_offset) {
                let rewound = self.remembered.rewound.contains(partition);
                moves.push(AnchorMove { partition: *partition, from: *from, to, rewound });
            }
        }
        moves
    }

    /// Whether moves are under way: no others may be, for the same partitions.
    pub(in crate::loader) fn is_writing(&self) -> bool {
        self.is_writing
    }

    pub(in crate::loader) fn begin_to_write(&mut self) {
        self.is_writing = true;
    }

    /// What became of moves. Where the database did not answer they may be written all the same; the next ones find the
    /// anchor elsewhere then, and everything begins again there.
    pub(in crate::loader) fn written(&mut self, moves: &[AnchorMove], moved: Option<Moved>) {
        self.is_writing = false;
        if moved != Some(Moved::All) {
            return;
        }
        for one in moves {
            if let Some(written) = self.written.get_mut(&one.partition) {
                *written = Some(one.to);
                self.remembered.rewound.remove(&one.partition);
            }
        }
    }
}

impl ReceiveLoop<'_> {
    pub(super) fn anchor(&mut self) {
        // Partitions that are given up have their own anchors written, and must not wait for those of others.
        if self.anchoring.is_writing()
            || self.closing.deadline().is_some()
            || self.ending == Some(Ended::Rewound)
        {
            return;
        }
        let moves = self.anchoring.moves(&mut self.dispatcher, None);
        if !moves.is_empty() {
            self.write_anchors(moves, None);
        } else if self.dispatcher.partitions().all(|(_, partition)| partition.has_written_all()) {
            self.shared.condition.server.nothing_waits();
        }
    }

    pub(super) fn write_anchors(&mut self, moves: Vec<AnchorMove>, revocation: Option<Revocation>) {
        self.anchoring.begin_to_write();
        let shared = Arc::clone(&self.shared);
        self.looks.spawn(async move { Found::Anchored(Anchored::write(&shared, moves, revocation).await) });
    }

    pub(super) fn anchored(&mut self, anchored: Anchored) {
        let Anchored { moves, moved, revocation } = anchored;
        // No further than the anchor, though more may be safe: the log may forget what is committed, and whoever begins next
        // begins at the anchor.
        let next_offsets: Vec<(i32, i64)> = match moved {
            Some(Moved::All) => moves.iter().map(|one| (one.partition, one.to.next_offset)).collect(),
            Some(Moved::None) | None => Vec::new(),
        };
        self.anchoring.written(&moves, moved);
        match revocation {
            Some(revocation) => revocation.release(next_offsets),
            None => self.consumer.commit(&next_offsets),
        }
        if moved == Some(Moved::None) {
            self.end(Ended::Rewound);
        }
    }
}
