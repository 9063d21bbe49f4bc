//! One organization's records of one partition, in order, one transaction in flight.
//!
//! A lane opens by reading its schema's watermark and whether records are held, and is then in one of three states:
//!
//! - [`live`]: records become batches, batches become transactions;
//! - [`held`]: its schema cannot take records; they are held in the control schema, and a probe drains them;
//! - [`unattributed`]: its organization was removed, or never was; positions and counts are written down.
//!
//! Records wait in `pending` until they are safe, and only then leave it. So whatever happens in between, opening again
//! and going on with what is pending is always right: what the watermark covers by then is passed over.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::arrived::Arrived;
use super::backoff::Backoff;
use super::held_record::{Opening, open};
use super::outcome::Outcomes;
use super::owner::{Nobody, Owner, owner_of};
use super::position::{Position, Watermark};
use super::progress::Progress;
use super::refusal::Refusal;
use super::statements::Statements;
use crate::tenant::OrganizationId;

mod held;
mod live;
mod unattributed;

/// See the module.
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) organization: OrganizationId,
    pub(super) position: Position,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) incoming: UnboundedReceiver<Arrived>,
    /// Set when the partition is taken away or the process ends: one last flush, and out.
    pub(super) stop: CancellationToken,
    pub(super) outcomes: Outcomes,
    pub(super) pending: VecDeque<Arrived>,
}

/// What a state comes to.
enum Next {
    /// What the lane knows of its schema is out of date.
    Reopen,
    /// The schema cannot take records, for this reason.
    Hold(String),
    /// There is no schema.
    Unattributed(Nobody),
    /// Stopped, idle, or nobody sends any more.
    End,
}

impl Lane {
    /// Lives until stopped, idle, or no longer sent to.
    pub(super) async fn run(mut self) {
        let mut next = Next::Reopen;
        loop {
            next = match next {
                Next::Reopen => self.in_schema().await,
                Next::Hold(reason) => self.held(reason).await,
                Next::Unattributed(nobody) => self.unattributed(nobody).await,
                Next::End => return,
            }
        }
    }

    /// Opens the schema, waiting for as long as the server is away, and works on it.
    async fn in_schema(&mut self) -> Next {
        let mut backoff = Backoff::for_server();
        loop {
            let refused = match owner_of(&self.shared, self.organization).await {
                Ok(Owner::Nobody(nobody)) => return Next::Unattributed(nobody),
                Ok(Owner::Unusable(reason)) => return Next::Hold(reason),
                Ok(Owner::Schema(statements)) => match self.open(&statements).await {
                    Ok(Opening { any_held: true, .. }) => {
                        return Next::Hold("records before these are held".to_owned());
                    }
                    Ok(Opening { any_held: false, watermark }) => {
                        watermark.into_iter().for_each(|watermark| self.see(watermark));
                        return self.live(&statements, watermark).await;
                    }
                    Err(refused) => refused,
                },
                Err(refused) => refused,
            };
            match refused {
                Refusal::Schema(reason) => return Next::Hold(reason),
                Refusal::Server(reason) => self.shared.condition.server.lost(&reason),
                Refusal::Again(_) => {}
            }
            if self.wait(backoff.next()).await.is_break() {
                return Next::End;
            }
        }
    }

    async fn open(&self, statements: &Statements) -> Result<Opening, Refusal> {
        let mut client = self.shared.pool.get().await?;
        let opening = open(&mut client, statements, self.organization, self.position).await?;
        self.shared.condition.server.answered();
        Ok(opening)
    }

    /// Tells the partition of the schema's watermark.
    fn see(&self, watermark: Watermark) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).see(watermark);
    }

    /// Passes over what the schema already has.
    fn pass_over_covered(&mut self, watermark: Option<Watermark>) {
        let progress = Arc::clone(&self.progress);
        self.pending.retain(|arrived| {
            let offset = arrived.record.offset;
            let covered = Watermark::covers(watermark.as_ref(), offset);
            if covered {
                finish(&progress, offset);
            }
            !covered
        });
    }

    /// The first pending records are safe.
    fn finish_first(&mut self, count: usize) {
        for arrived in self.pending.drain(..count) {
            finish(&self.progress, arrived.record.offset);
        }
    }

    /// Breaks when the lane is asked to stop in the meantime.
    async fn wait(&self, pause: Duration) -> ControlFlow<()> {
        tokio::select! {
            () = self.stop.cancelled() => ControlFlow::Break(()),
            () = tokio::time::sleep(pause) => ControlFlow::Continue(()),
        }
    }
}

fn finish(progress: &Mutex<Progress>, offset: i64) {
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish(offset);
}
