//! The log is asked, and the answer written down.
//!
//! From here on a request cannot be cancelled: once the log was asked, a client that hangs up does not undo the
//! bookkeeping. The drain waits for it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Intake;
use super::budget::Reservation;
use super::check::{Judged, Outcome, mark_unavailable};
use super::meter::Meter;
use super::problem::Problem;
use crate::log::PublishError;
use crate::tenant::Tenant;

/// Publishes all records at once and waits for the log's word on each. What only some of them lack becomes
/// [`Outcome::Unavailable`]; a batch without records never touches the log.
///
/// # Cancel safety
/// Dropping the future stops neither the publishing nor the counting.
pub(super) async fn publish(
    intake: &Intake,
    tenant: Tenant,
    judged: Judged,
    reservation: Reservation,
) -> Result<(Vec<Outcome>, Reservation), Problem> {
    let Judged { outcomes, records } = judged;
    if records.is_empty() {
        intake.meter.count_events(&tenant, &outcomes);
        return Ok((outcomes, reservation));
    }
    let (client, settled) = oneshot::channel();
    let batch = Arc::new(Unsettled {
        tenant,
        answers: Mutex::new(Answers { outcomes, acknowledged: false }),
        reservation,
        meter: Arc::clone(&intake.meter),
        complaints: Arc::clone(&intake.complaints),
        client,
        drain: intake.tasks.token(),
    });
    for record in records {
        let (its_batch, events) = (Arc::clone(&batch), record.events.clone());
        intake.publisher.publish(&batch.tenant, record, move |published| {
            its_batch.hear(events, published);
            Unsettled::let_go(its_batch);
        });
    }
    Unsettled::let_go(batch);
    // Nothing settles it where the producer went down without a word.
    settled.await.unwrap_or(Err(Problem::LogUnavailable))
}

/// A batch that the log was asked to take. Each of its records holds it until the log has answered for that record, and the last
/// one settles it, on the producer's own thread. It keeps nothing alive that the producer belongs to.
struct Unsettled {
    tenant: Tenant,
    answers: Mutex<Answers>,
    /// Kept until the log has answered, whether or not the client still waits.
    reservation: Reservation,
    meter: Arc<Meter>,
    complaints: Arc<Complaints>,
    /// Whoever waits for the reply.
    client: oneshot::Sender<Result<(Vec<Outcome>, Reservation), Problem>>,
    drain: TaskTrackerToken,
}

struct Answers {
    outcomes: Vec<Outcome>,
    /// Of any record.
    acknowledged: bool,
}

impl Unsettled {
    /// The log's word on the record that holds these of the accepted events.
    fn hear(&self, events: Range<usize>, published: Result<(), PublishError>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match published {
            Ok(()) => answers.acknowledged = true,
            Err(error) => {
                self.complaints.write(&self.tenant, events.len(), &error);
                mark_unavailable(&mut answers.outcomes, events);
            }
        }
    }

    /// Settles the batch if nobody else has a hold of it.
    fn let_go(batch: Arc<Self>) {
        let Some(Self { tenant, answers, reservation, meter, client, drain: _until_then, .. }) =
            Arc::into_inner(batch)
        else {
            return;
        };
        let Answers { outcomes, acknowledged } = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let settled = if acknowledged {
            meter.count_events(&tenant, &outcomes);
            Ok((outcomes, reservation))
        } else {
            Err(Problem::LogUnavailable)
        };
        // A client that hung up is told nothing; everything is counted all the same.
        let _gone = client.send(settled);
    }
}

/// One line a second at most: while the log is away every request fails in the same way.
#[derive(Debug)]
pub(super) struct Complaints {
    since: Instant,
    last_second: AtomicU64,
    unwritten: AtomicU64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        let (last_second, unwritten) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self { since: Instant::now(), last_second, unwritten }
    }

    fn write(&self, tenant: &Tenant, events: usize, error: &PublishError) {
        let second = self.since.elapsed().as_secs();
        if self.last_second.swap(second, Ordering::Relaxed) == second {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unwritten = self.unwritten.swap(0, Ordering::Relaxed);
        let error: &dyn std::error::Error = error;
        tracing::warn!(
            tenant.slug = tenant.slug().as_str(),
            events,
            error,
            unwritten,
            "the log did not acknowledge a record"
        );
    }
}
