//! Sends batches when they are due, and counts what became of them.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::batch::Batch;
use super::delivery::Courier;
use super::pace::Schedule;
use super::tally::Tally;

/// Batches that were begun and not finished, those that wait to be sent again included: it bounds the memory when one
/// organization is told to wait while others go on.
const MAX_UNFINISHED: usize = 1_024;

/// Batches in the order in which they become due.
pub(super) struct Queue {
    batches: Receiver<Batch>,
    schedule: Schedule,
    slots: Arc<Semaphore>,
    /// The batch whose turn is next, and when that is.
    waiting: Option<(Batch, Option<Instant>)>,
}

/// A batch that may be sent now.
struct Turn {
    batch: Batch,
    due: Instant,
    slot: OwnedSemaphorePermit,
}

impl Queue {
    pub(super) fn new(batches: Receiver<Batch>, schedule: Schedule, slots: Arc<Semaphore>) -> Self {
        Self { batches, schedule, slots, waiting: None }
    }

    /// The next batch once it is due and a request may be begun; `None` when there are no more.
    ///
    /// # Cancel safety
    /// Dropping the future loses no batch: it stays in `waiting` until its turn.
    async fn next(&mut self) -> Option<Turn> {
        if self.waiting.is_none() {
            let batch = self.batches.recv().await?;
            let due = self.schedule.next_due(batch.len());
            self.waiting = Some((batch, due));
        }
        if let Some((_, Some(due))) = &self.waiting {
            sleep_until(*due).await;
        }
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed");
        let (batch, due) = self.waiting.take()?;
        Some(Turn { batch, due: due.unwrap_or_else(Instant::now), slot })
    }
}

/// Sends everything in `queue`, and shows the tally whenever it grew. When `stop` is done, nothing new is sent and
/// what is under way is still brought to its end.
pub(super) async fn drive(
    mut queue: Queue,
    courier: Courier,
    connections: NonZeroUsize,
    stop: impl Future<Output = ()>,
    mut show: impl FnMut(&Tally),
) -> Tally {
    let mut tally = Tally::default();
    let mut unfinished = JoinSet::new();
    let mut is_open = true;
    tokio::pin!(stop);
    loop {
        // Until the first reply nobody knows whether anybody is there: no more are begun than may be under way.
        let most = if tally.answered_requests == 0 { connections.get() } else { MAX_UNFINISHED };
        tokio::select! {
            biased;
            Some(delivery) = unfinished.join_next() => {
                tally.add(delivery.expect("a delivery neither panics nor is aborted"));
                show(&tally);
                is_open &= !tally.is_hopeless();
            }
            () = &mut stop, if is_open => is_open = false,
            turn = queue.next(), if is_open && unfinished.len() < most => match turn {
                Some(Turn { batch, due, slot }) => {
                    unfinished.spawn(courier.clone().deliver(batch, due, slot));
                }
                None => is_open = false,
            },
            else => return tally,
        }
    }
}

#[cfg(test)]
mod tests;
