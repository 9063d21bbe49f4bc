//! What a lane is: whose, where in the log, and what it works with.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::Shared;
use super::super::arrived::Arrived;
use super::super::backlog::Backlog;
use super::super::outcome::Outcomes;
use super::super::position::{Position, Watermark};
use super::super::progress::Progress;
use super::super::writer::Refusal;
use crate::tenant::OrganizationId;

/// See the module. Cheap to clone: all clones are the same lane's.
#[derive(Clone)]
pub(in crate::loader) struct Home {
    pub(in crate::loader) shared: Arc<Shared>,
    pub(in crate::loader) organization: OrganizationId,
    pub(in crate::loader) position: Position,
    pub(in crate::loader) progress: Arc<Mutex<Progress>>,
    /// Set when the partition is taken away or the process ends: one last flush, and out.
    pub(in crate::loader) stop: CancellationToken,
    pub(in crate::loader) outcomes: Outcomes,
    pub(in crate::loader) backlog: Arc<Backlog>,
    /// Somebody found records of this lane held: an earlier owner that came to it late holds them beside a live lane.
    pub(in crate::loader) found_held: Arc<Notify>,
}

impl Home {
    /// A record is safe: stored, held, or written down.
    pub(super) fn finish(&self, arrived: &Arrived) {
        self.lock_progress().finish(arrived.record.offset);
    }

    /// The schema has this watermark.
    pub(super) fn see(&self, watermark: Watermark) {
        self.lock_progress().see(watermark);
    }

    /// What a refusal means beside those of other organizations.
    pub(super) async fn judge(&self, refused: Refusal) -> Refusal {
        let Refusal::Slow(reason) = refused else { return refused };
        if !self.shared.trips.tripped(self.organization) {
            // Others may be about to say the same.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if self.shared.trips.tripped(self.organization) {
            Refusal::Server(reason)
        } else {
            Refusal::Slow(reason)
        }
    }

    /// Breaks when the lane is asked to stop in the meantime.
    pub(super) async fn wait(&self, pause: Duration) -> ControlFlow<()> {
        tokio::select! {
            () = self.stop.cancelled() => ControlFlow::Break(()),
            () = tokio::time::sleep(pause) => ControlFlow::Continue(()),
        }
    }

    fn lock_progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
