//! The log is asked, and the answer written down.
//!
//! From here on a request cannot be cancelled: once the log was asked, a client that hangs up does not undo the
//! bookkeeping. The drain waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::join_all;

use super::Intake;
use super::budget::Reservation;
use super::check::{Judged, Outcome, mark_unavailable};
use super::limit::Charge;
use super::problem::Problem;
use crate::log::PublishError;
use crate::tenant::Tenant;

/// Publishes all records at once and waits for the log's word on each. What only some of them lack becomes
/// [`Outcome::Unavailable`]; a batch without records never touches the log.
///
/// # Cancel safety
/// Dropping the future stops neither the publishing nor the counting.
pub(super) async fn publish(
    intake: &Arc<Intake>,
    tenant: Tenant,
    judged: Judged,
    charge: Charge,
    reservation: Reservation,
) -> Result<(Vec<Outcome>, Reservation), Problem> {
    if judged.records.is_empty() {
        charge.settle(judged.outcomes.len());
        intake.meter.count_events(&tenant, &judged.outcomes);
        return Ok((judged.outcomes, reservation));
    }
    let ours = Arc::clone(intake);
    let publishing = intake.tasks.spawn(async move {
        // Kept until the log has answered, whether or not the client still waits.
        settle(&ours, &tenant, judged, charge).await.map(|outcomes| (outcomes, reservation))
    });
    // A panic in there was reported by the runtime; nothing was acknowledged.
    publishing.await.unwrap_or(Err(Problem::LogUnavailable))
}

async fn settle(
    intake: &Intake,
    tenant: &Tenant,
    judged: Judged,
    charge: Charge,
) -> Result<Vec<Outcome>, Problem> {
    let Judged { mut outcomes, records } = judged;
    let publishing = records.into_iter().map(async |record| {
        let events = record.events.clone();
        (events, intake.publisher.publish(tenant, record).await)
    });
    let (mut acknowledged, mut unavailable, mut problem) = (false, 0, Problem::LogUnavailable);
    for (events, published) in join_all(publishing).await {
        match published {
            Ok(()) => acknowledged = true,
            Err(error) => {
                intake.complaints.write(tenant, events.len(), &error);
                unavailable += events.len();
                if let PublishError::Refused(refusal) = error {
                    problem = Problem::LogRefuses(refusal);
                }
                mark_unavailable(&mut outcomes, events);
            }
        }
    }
    if !acknowledged {
        return Err(problem);
    }
    charge.settle(outcomes.len() - unavailable);
    intake.meter.count_events(tenant, &outcomes);
    Ok(outcomes)
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
        let slug = tenant.slug().as_str();
        if let PublishError::Refused(reason) = error {
            tracing::error!(tenant.slug = slug, events, %reason, unwritten, "the log refused a record");
            return;
        }
        let error: &dyn std::error::Error = error;
        tracing::warn!(tenant.slug = slug, events, error, unwritten, "the log did not acknowledge a record");
    }
}
