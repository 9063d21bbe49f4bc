//! What becomes of each event: judged, and the accepted ones sealed into records.
//!
//! Events are borrowed from the body while they are judged, and nothing waits meanwhile: of a batch only verdicts and
//! records are left when the log is asked, and of one that still arrives when more of it is waited for.

use std::ops::Range;

use uuid::Uuid;

use super::batch::Receipt;
use super::reply;
use crate::event::{BatchCheck, Clock, Defaults, RawEvent, Refusal, Verdict};
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

impl Judged {
    /// Bytes that it takes until its reply is sent: first beside its records, then beside the reply itself.
    pub(super) fn most_bytes(&self) -> usize {
        let records: usize = self.records.iter().map(|record| record.bytes.capacity()).sum();
        let refusals: usize = self.outcomes.iter().map(Outcome::text_bytes).sum();
        bytes_of(&self.outcomes) + refusals + records.max(reply::most_bytes(&self.outcomes))
    }
}

/// A batch that is being judged, all at once or line by line.
#[derive(Debug)]
pub(super) struct Judging {
    check: BatchCheck,
    builder: RecordBuilder,
    outcomes: Vec<Outcome>,
    /// What the texts of the refusals take.
    refusals_bytes: usize,
}

impl Judging {
    pub(super) fn new(tenant: &Tenant, receipt: Receipt, clock: Clock) -> Self {
        let builder = RecordBuilder::new(tenant.id(), receipt.id, clock.received_at);
        Self {
            check: BatchCheck::new(clock),
            builder: builder.of_span(receipt.span),
            outcomes: Vec::new(),
            refusals_bytes: 0,
        }
    }

    /// Judges the next events.
    pub(super) fn take<'a>(
        &mut self,
        defaults: &Defaults<'a>,
        events: impl IntoIterator<Item = RawEvent<'a>>,
    ) {
        let events = events.into_iter();
        let expected = events.size_hint().0;
        self.builder.reserve(expected);
        self.outcomes.reserve(expected);
        self.check.check(defaults, events, |verdict| {
            let outcome = match verdict {
                Verdict::Accepted(event) => {
                    self.builder.push(event);
                    Outcome::Accepted(event.id)
                }
                Verdict::Duplicate(id) => Outcome::Duplicate(id),
                Verdict::Rejected(refusal) => Outcome::Rejected(refusal),
            };
            self.refusals_bytes += outcome.text_bytes();
            self.outcomes.push(outcome);
        });
    }

    /// Bytes that it takes so far: what was accepted, and what will be said.
    pub(super) fn kept_bytes(&self) -> usize {
        self.builder.held_bytes() + bytes_of(&self.outcomes) + self.refusals_bytes
    }

    pub(super) fn finish(self) -> Judged {
        Judged { outcomes: self.outcomes, records: self.builder.finish() }
    }
}

impl Outcome {
    /// What its texts take beside itself. They quote the client, so they can be long.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Rejected(refusal) => {
                refusal.field.as_ref().map_or(0, String::capacity) + refusal.message.capacity()
            }
            Self::Accepted(_) | Self::Duplicate(_) | Self::Unavailable(_) => 0,
        }
    }
}

fn bytes_of(outcomes: &Vec<Outcome>) -> usize {
    outcomes.capacity() * size_of::<Outcome>()
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
