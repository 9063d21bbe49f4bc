//! All events of one request, judged one by one.

use std::collections::HashSet;

use uuid::Uuid;

use super::check::Checker;
use super::{Clock, Defaults, Envelope, Event, RawEvent, Refusal};

/// What intake says of one event before the log was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<Event> {
    /// Every rule is kept.
    Accepted(Event),
    /// An accepted event of the same batch already has this id.
    Duplicate(Uuid),
    /// Never send it again.
    Rejected(Refusal),
}

/// One verdict per event, in the order sent.
pub fn check_batch<'e>(envelope: &'e Envelope<'_>, clock: Clock) -> Vec<Verdict<Event<'e>>> {
    let mut verdicts = Vec::with_capacity(envelope.events.len());
    BatchCheck::new(clock).check(&envelope.defaults, envelope.events.iter(), |verdict| {
        verdicts.push(match verdict {
            Verdict::Accepted(event) => Verdict::Accepted(event.clone()),
            Verdict::Duplicate(id) => Verdict::Duplicate(id),
            Verdict::Rejected(refusal) => Verdict::Rejected(refusal),
        });
    });
    verdicts
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

    /// Gives one verdict per event, in the order given. An accepted event is lent until the next one is judged: moving it on
    /// would copy each of its columns.
    pub fn check<'a>(
        &mut self,
        defaults: &Defaults<'a>,
        events: impl IntoIterator<Item = RawEvent<'a>>,
        mut give: impl FnMut(Verdict<&Event<'a>>),
    ) {
        let events = events.into_iter();
        let mut checker = Checker::new(defaults, self.clock);
        self.accepted.reserve(events.size_hint().0);
        for event in events {
            give(match checker.check(event) {
                Ok(event) if self.accepted.insert(event.id) => Verdict::Accepted(event),
                Ok(event) => Verdict::Duplicate(event.id),
                Err(refusal) => Verdict::Rejected(refusal),
            });
        }
    }
}
