//! Getting a batch to intake, with as many tries as it takes, within reason.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::batch::Batch;
use super::client::{Exchange, IntakeClient, Trouble};
use super::reply::{Reply, Verdict};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// More than intake ever asks for; another peer is not obeyed for hours.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Brings batches to intake.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) client: Arc<IntakeClient>,
    /// One permit a request that may be under way.
    pub(super) slots: Arc<Semaphore>,
    /// How often the same events are sent before they are given up.
    pub(super) tries: NonZeroU32,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) counts: Counts,
    pub(super) end: End,
}

/// Each event is counted once, by its last verdict; events that never got one are in `sent` alone.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: usize,
    pub(super) accepted: usize,
    pub(super) duplicate: usize,
    pub(super) rejected: usize,
    /// Given up while intake still said `retry`.
    pub(super) retry: usize,
    /// How many events were sent once more, each time counted.
    pub(super) sent_again: usize,
    /// Code and message of each rejected event.
    pub(super) rejections: Vec<(String, String)>,
}

/// How a delivery ended.
#[derive(Debug)]
pub(super) enum End {
    /// Every event has a final verdict, so long after it was due.
    Answered { latency: Duration },
    /// Some events have none, and nobody will send them again.
    GivenUp(Trouble),
}

impl Courier {
    /// Sends `batch` until every event has a final verdict or it is given up. `slot` is given back while waiting.
    pub(super) async fn deliver(self, batch: Batch, due: Instant, slot: OwnedSemaphorePermit) -> Delivery {
        let mut counts = Counts { sent: batch.len(), ..Counts::default() };
        let end = match self.try_often(batch, slot, &mut counts).await {
            Ok(()) => End::Answered { latency: due.elapsed() },
            Err(trouble) => End::GivenUp(trouble),
        };
        Delivery { counts, end }
    }

    async fn try_often(
        self,
        batch: Batch,
        mut slot: OwnedSemaphorePermit,
        counts: &mut Counts,
    ) -> Result<(), Trouble> {
        let mut left = batch;
        let mut wait = FIRST_WAIT;
        let mut tries_left = self.tries.get();
        loop {
            let (retry_after, trouble) = match self.client.send(&left).await {
                Exchange::Answered(reply) => {
                    counts.add(&reply);
                    left = left.only(&reply.to_retry());
                    if left.is_empty() {
                        return Ok(());
                    }
                    (None, trouble_of(&reply))
                }
                Exchange::NotNow { retry_after, trouble } => (retry_after, trouble),
                Exchange::Refused(trouble) => return Err(trouble),
            };
            tries_left -= 1;
            if tries_left == 0 {
                return Err(trouble);
            }
            drop(slot);
            sleep(pause(retry_after, wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            slot = Arc::clone(&self.slots).acquire_owned().await.expect("the slots are never closed");
            counts.sent_again += left.len();
        }
    }
}

impl Counts {
    fn add(&mut self, reply: &Reply) {
        self.accepted += reply.accepted;
        self.duplicate += reply.duplicate;
        self.rejected += reply.rejected;
        // Not added: a reply to what was sent again speaks of the events that an earlier one asked for.
        self.retry = reply.retry;
        self.rejections.extend(reply.with(Verdict::Rejected).map(|result| {
            (result.code.clone().unwrap_or_default(), result.message.clone().unwrap_or_default())
        }));
    }
}

/// Intake's own word, else a wait drawn from the upper half of `wait`, so that batches that failed together do not
/// come back together. (Intake's word has its jitter already.)
fn pause(retry_after: Option<Duration>, wait: Duration) -> Duration {
    match retry_after {
        Some(asked) => asked.min(LONGEST_RETRY_AFTER),
        None => wait.mul_f64(rand::random_range(0.5..=1.0)),
    }
}

fn trouble_of(reply: &Reply) -> Trouble {
    let first = reply.with(Verdict::Retry).next();
    Trouble {
        code: "verdict retry".to_owned(),
        message: first.and_then(|result| result.message.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
