//! The log is asked, and the answer written down.
//!
//! From here on a request cannot be cancelled: once the log was asked, a client that hangs up does not undo the
//! bookkeeping. The drain waits for it.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Intake;
use super::budget::Reservation;
use super::check::{Judged, Outcome, mark_unavailable};
use super::limit::Charge;
use super::meter::Meter;
use super::problem::Problem;
use crate::log::PublishError;
use crate::ops::Complaints;
use crate::tenant::Tenant;

/// While the log is away every request fails in the same way: so often that is said.
pub(super) const COMPLAINT_PERIOD: Duration = Duration::from_secs(1);

/// What the client is told, and what its reply may take.
type Settled = Result<(Vec<Outcome>, Reservation), Problem>;

/// Publishes all records at once and waits for the log's word on each. What only some of them lack becomes
/// [`Outcome::Unavailable`]; a batch without records never touches the log.
///
/// # Cancel safety
/// Dropping the future stops neither the publishing nor the counting.
pub(super) async fn publish(
    intake: &Intake,
    tenant: Tenant,
    judged: Judged,
    charge: Charge,
    reservation: Reservation,
) -> Settled {
    let Judged { outcomes, records } = judged;
    if records.is_empty() {
        charge.settle(outcomes.len());
        intake.meter.count_events(&tenant, &outcomes);
        return Ok((outcomes, reservation));
    }
    let (client, settled) = oneshot::channel();
    let batch = Arc::new(Unsettled {
        tenant,
        meter: Arc::clone(&intake.meter),
        complaints: Arc::clone(&intake.complaints),
        asked: Mutex::new(Some(Asked {
            unanswered: records.iter().map(|record| record.events.clone()).collect(),
            answers: Answers { outcomes, acknowledged: false, unavailable: 0, problem: Problem::LogTookNone },
            charge,
            reservation,
            client,
            drain: intake.tasks.token(),
        })),
    });
    for record in records {
        let (its_batch, events) = (Arc::clone(&batch), record.events.clone());
        intake.publisher.publish(&batch.tenant, record, move |published| its_batch.hear(&events, published));
    }
    let mut settled = settled;
    if let Ok(settled) = timeout(intake.publisher.longest_wait(), &mut settled).await {
        // Nothing settles it where the producer went down without a word.
        return settled.unwrap_or(Err(Problem::LogUnavailable));
    }
    batch.give_up();
    settled.await.unwrap_or(Err(Problem::LogUnavailable))
}

/// A batch that the log was asked to take. Each of its records holds it until the log has answered for that record; the last
/// answer settles it, on the producer's own thread. It keeps nothing alive that the producer belongs to.
struct Unsettled {
    tenant: Tenant,
    meter: Arc<Meter>,
    complaints: Arc<Complaints>,
    /// `None` once it is settled: that happens once.
    asked: Mutex<Option<Asked>>,
}

/// What is kept until the log has answered, whether or not the client still waits.
struct Asked {
    /// The accepted events of each record of which the log has said nothing yet.
    unanswered: Vec<Range<usize>>,
    answers: Answers,
    /// Given back with what is answered 503 or `retry`.
    charge: Charge,
    reservation: Reservation,
    /// Whoever waits for the reply.
    client: oneshot::Sender<Settled>,
    drain: TaskTrackerToken,
}

struct Answers {
    outcomes: Vec<Outcome>,
    /// Any record.
    acknowledged: bool,
    /// So many events are in records that are not.
    unavailable: usize,
    /// What the client is told if no record is.
    problem: Problem,
}

impl Unsettled {
    /// The log's word on the record that holds these of the accepted events.
    fn hear(&self, events: &Range<usize>, published: Result<(), PublishError>) {
        let mut asked = self.lock();
        // Given up after the log's longest wait: whatever kept its answer may let it come after all.
        let Some(batch) = &mut *asked else { return };
        batch.unanswered.retain(|unanswered| unanswered != events);
        match published {
            Ok(()) => batch.answers.acknowledged = true,
            Err(error) => self.count_out(&mut batch.answers, events.clone(), error),
        }
        let settled = asked.take_if(|batch| batch.unanswered.is_empty());
        drop(asked);
        if let Some(batch) = settled {
            self.settle(batch);
        }
    }

    /// Whoever waits has waited for long enough.
    fn give_up(&self) {
        let Some(mut batch) = self.lock().take() else { return };
        for events in std::mem::take(&mut batch.unanswered) {
            self.count_out(&mut batch.answers, events, PublishError::TimedOut);
        }
        self.settle(batch);
    }

    fn count_out(&self, answers: &mut Answers, events: Range<usize>, error: PublishError) {
        self.complain(events.len(), &error);
        answers.unavailable += events.len();
        match error {
            PublishError::Refused(refusal) => answers.problem = Problem::LogRefuses(refusal),
            PublishError::TimedOut | PublishError::Failed(_) => answers.problem.may_be_stored(),
            PublishError::QueueFull | PublishError::NotTaken(_) => {}
        }
        mark_unavailable(&mut answers.outcomes, events);
    }

    fn complain(&self, events: usize, error: &PublishError) {
        let Some(unwritten) = self.complaints.hear("not acknowledged", Instant::now()) else { return };
        let slug = self.tenant.slug().as_str();
        if let PublishError::Refused(reason) = error {
            tracing::error!(tenant.slug = slug, events, %reason, unwritten, "the log refused a record");
            return;
        }
        let error: &dyn std::error::Error = error;
        tracing::warn!(tenant.slug = slug, events, error, unwritten, "the log did not acknowledge a record");
    }

    fn settle(&self, batch: Asked) {
        let Asked { answers, charge, reservation, client, drain: _until_then, .. } = batch;
        let Answers { outcomes, acknowledged, unavailable, problem } = answers;
        let settled = if acknowledged {
            charge.settle(outcomes.len() - unavailable);
            self.meter.count_events(&self.tenant, &outcomes);
            Ok((outcomes, reservation))
        } else {
            // Before the client hears of it, and comes back.
            drop((charge, reservation));
            Err(problem)
        };
        // A client that hung up is told nothing; everything is counted all the same.
        let _gone = client.send(settled);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
