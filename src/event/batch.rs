//! All events of one request, judged one by one.

use uuid::Uuid;

use super::{Envelope, Event, Refusal, UnixMillis};

/// The clocks that decide when an event happened.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When intake received the batch.
    pub received_at: UnixMillis,
    /// When the client sent it, by its own clock.
    pub sent_at: Option<UnixMillis>,
}

/// What intake says of one event before the log was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// Every rule is kept.
    Accepted(Event<'a>),
    /// An accepted event of the same batch already has this id.
    Duplicate(Uuid),
    /// Never send it again.
    Rejected(Refusal),
}

/// One verdict per event, in the order sent.
pub fn check_batch<'a>(_envelope: &Envelope<'a>, _clock: Clock) -> Vec<Verdict<'a>> {
    todo!()
}
