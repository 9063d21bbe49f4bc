//! All events of one request, judged one by one.

use std::collections::HashSet;

use uuid::Uuid;

use super::check::Checker;
use super::{Clock, Envelope, Event, Refusal};

/// What intake says of one event before the log was asked.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every verdict is an accepted event; a box each would cost more"
)]
pub enum Verdict<'a> {
    /// Every rule is kept.
    Accepted(Event<'a>),
    /// An accepted event of the same batch already has this id.
    Duplicate(Uuid),
    /// Never send it again.
    Rejected(Refusal),
}

/// One verdict per event, in the order sent.
pub fn check_batch<'a>(envelope: &Envelope<'a>, clock: Clock) -> Vec<Verdict<'a>> {
    let mut checker = Checker::new(&envelope.defaults, clock);
    let mut accepted = HashSet::with_capacity(envelope.events.len());
    let judge = |event| match checker.check(event) {
        Ok(event) if accepted.insert(event.id) => Verdict::Accepted(event),
        Ok(event) => Verdict::Duplicate(event.id),
        Err(refusal) => Verdict::Rejected(refusal),
    };
    envelope.events.iter().copied().map(judge).collect()
}
