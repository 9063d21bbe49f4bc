//! All events of one request, judged one by one.

use std::collections::HashSet;

use uuid::Uuid;

use super::check::Checker;
use super::{Clock, Defaults, Envelope, Event, RawEvent, Refusal};

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
pub fn check_batch<'e>(envelope: &'e Envelope<'_>, clock: Clock) -> Vec<Verdict<'e>> {
    BatchCheck::new(clock).check(&envelope.defaults, envelope.events.iter()).collect()
}

/// Judges the events of one request, all at once or as they come: of earlier ones it remembers their ids only.
#[derive(Debug)]
pub struct BatchCheck {
    clock: Clock,
    /// Seeded anew for each request; and were all of its ids to collide, they are 500 at most.
    accepted: HashSet<Uuid, foldhash::fast::RandomState>,
}

impl BatchCheck {
    /// The judge of a request that has no events yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, accepted: HashSet::default() }
    }

    /// One verdict per event, in the order given.
    pub fn check<'a>(
        &mut self,
        defaults: &Defaults<'a>,
        events: impl IntoIterator<Item = RawEvent<'a>>,
    ) -> impl Iterator<Item = Verdict<'a>> {
        let events = events.into_iter();
        let mut checker = Checker::new(defaults, self.clock);
        self.accepted.reserve(events.size_hint().0);
        events.map(move |event| match checker.check(event) {
            Ok(event) if self.accepted.insert(event.id) => Verdict::Accepted(event),
            Ok(event) => Verdict::Duplicate(event.id),
            Err(refusal) => Verdict::Rejected(refusal),
        })
    }
}
