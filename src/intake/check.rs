//! What becomes of each event: judged, and the accepted ones sealed into records.
//!
//! One pass without waiting, so that of a batch only verdicts and records are left when the log is asked; the body
//! they were borrowed from is gone by then.

use std::ops::Range;

use uuid::Uuid;

use crate::event::{Clock, Envelope, Refusal, Verdict, check_batch};
use crate::log::{RecordBuilder, SealedRecord};
use crate::tenant::Tenant;

/// What the reply says of one event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Stands for "the log has it" only once the log was asked.
    Accepted(Uuid),
    /// An accepted event of the same batch has the same id.
    Duplicate(Uuid),
    /// Never send it again.
    Rejected(Refusal),
    /// The log did not acknowledge it: send it again.
    Unavailable(Uuid),
}

/// A batch before the log was asked.
#[derive(Debug)]
pub(super) struct Judged {
    /// One per event, in the order sent.
    pub(super) outcomes: Vec<Outcome>,
    /// All accepted events; none when there are none.
    pub(super) records: Vec<SealedRecord>,
}

/// Judges every event of a batch.
pub(super) fn judge(tenant: &Tenant, request_id: Uuid, envelope: &Envelope<'_>, clock: Clock) -> Judged {
    let mut builder = None;
    let outcomes = check_batch(envelope, clock)
        .into_iter()
        .map(|verdict| match verdict {
            Verdict::Accepted(event) => {
                builder
                    .get_or_insert_with(|| RecordBuilder::new(tenant.id(), request_id, clock.received_at))
                    .push(&event);
                Outcome::Accepted(event.id)
            }
            Verdict::Duplicate(id) => Outcome::Duplicate(id),
            Verdict::Rejected(refusal) => Outcome::Rejected(refusal),
        })
        .collect();
    Judged { outcomes, records: builder.map(RecordBuilder::finish).unwrap_or_default() }
}

/// Takes back what was said of the accepted events `range`, counted among the accepted ones.
pub(super) fn mark_unavailable(outcomes: &mut [Outcome], range: Range<usize>) {
    let accepted = outcomes
        .iter_mut()
        .filter(|outcome| !matches!(outcome, Outcome::Duplicate(_) | Outcome::Rejected(_)));
    for outcome in accepted.skip(range.start).take(range.len()) {
        if let Outcome::Accepted(id) = *outcome {
            *outcome = Outcome::Unavailable(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_accepted_events_only() {
        let id = Uuid::from_u128;
        let mut outcomes = vec![
            Outcome::Accepted(id(0)),
            Outcome::Duplicate(id(0)),
            Outcome::Accepted(id(1)),
            Outcome::Accepted(id(2)),
            Outcome::Duplicate(id(2)),
            Outcome::Accepted(id(3)),
        ];
        mark_unavailable(&mut outcomes, 0..1);
        mark_unavailable(&mut outcomes, 2..3);
        let said: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Accepted(_) => "accepted",
                Outcome::Duplicate(_) => "duplicate",
                Outcome::Rejected(_) => "rejected",
                Outcome::Unavailable(_) => "unavailable",
            })
            .collect();
        assert_eq!(said, ["unavailable", "duplicate", "accepted", "unavailable", "duplicate", "accepted"]);
    }
}
