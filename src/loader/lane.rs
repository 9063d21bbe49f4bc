//! One organization's records of one partition: what is known of its schema, what waits, and what a writer does for it.
//!
//! A lane is a value without IO or clock. The [`Dispatcher`](super::dispatcher::Dispatcher) tells it what arrived and what
//! a writer found; it answers what it wants next. Production, the exhaustive model and the simulator drive this very code.
//!
//! What keeps it right, under every interleaving:
//!
//! - Records stay in `pending` until a writer's receipt says that they are stored, held or written down. So whatever
//!   happens in between, opening the schema again and going on with what is pending is right: what the watermark covers by
//!   then is passed over.
//! - At most one task is under way.
//! - A lane whose schema was not looked at opens it, and while records are held it does not go live: newer records are
//!   held behind them. Once they are, drains that are due go first, a few at a time: what is pending comes after all that they
//!   touch. A drain that the schema refuses has had its turn: what is pending is held before the next one.
//! - A lane without room leaves a record in the log and every later one behind it, and takes them again from there, in
//!   order ([`Lane::catch_up`]). Leaving is always safe, so memory is bounded whatever the log brings.
//! - [`Lane::low_water`] is the lowest offset that is not safe, in memory or left in the log.

use std::time::{Duration, Instant};

use super::position::Watermark;
use crate::event::UnixMillis;

mod answer;
#[cfg(test)]
mod digest;
mod queue;
mod rule;
mod size;
mod task;
#[cfg(test)]
mod tests;

use queue::Queue;
pub(super) use queue::{Arrival, BatchLimits, Room, Waiting};
#[cfg(test)]
pub(super) use rule::SWITCHED_OFF;
pub(super) use rule::{Rule, keeps};
pub(super) use size::Size;
pub(super) use task::{Expected, Kept, Nobody, Receipt, Refused, Task, Told, Turn, Wants};

/// The longest pause between two drains that are tried.
pub const LONGEST_PROBE: Duration = Duration::from_secs(30);
/// After so many flushes without a duplicate a COPY goes without looking for them first.
const FLUSHES_WITHOUT_DUPLICATES: u32 = 8;

/// What is known of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: the next flush opens it.
    Closed,
    /// Its watermark; and nothing is held.
    Live(Option<Watermark>),
    /// It cannot take records, for this reason: they are held.
    Held(Held),
    /// There is none.
    Nowhere(Nobody),
    /// It has a lower watermark than the database once confirmed: all is to be read again from the anchor.
    WentBack,
}

/// How a lane whose records are held goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    reason: String,
    /// When the next drain is tried.
    probe_at: Instant,
    pause: Duration,
    /// So many drains may go before what is pending is held: until then the partition's low-water mark stands still.
    drains_first: u32,
}

/// Drains that may go before what is pending, from when something was held until something is held again.
const DRAINS_IN_A_ROW: u32 = 8;

/// What a lane does first that has both records pending and records held before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The drain, if its time has come by this moment: it touches only what comes before everything pending. A schema that
    /// is well again is found out however much goes on coming; what comes has its turn now and then.
    DueDrain(Instant),
    /// What is pending is held: the partition is to be given up, and what is held already is the next owner's as well.
    Pending,
}

impl First {
    fn is_drain(self, held: &Held) -> bool {
        matches!(self, Self::DueDrain(now) if held.probe_at <= now && held.drains_first > 0)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    state: State,
    queue: Queue,
    under_way: Option<Task>,
    /// Held records may be there though nothing is pending: look.
    look: bool,
    not_before: Option<Instant>,
    races: u32,
    flushes_without_duplicates: u32,
    size: Size,
    /// The highest watermark that the database ever confirmed to this lane.
    confirmed: Option<Watermark>,
    /// The same of the lane that was here before all was read again from the anchor: only to tell people.
    before: Option<Watermark>,
}

impl Lane {
    /// A lane that knows nothing of its schema.
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            queue: Queue::default(),
            under_way: None,
            look: false,
            not_before: None,
            races: 0,
            flushes_without_duplicates: 0,
            size: Size::default(),
            confirmed: None,
            before: None,
        }
    }

    /// A lane in the place of one that was confirmed so much: if less is there now, people should hear of it.
    pub(super) fn after(before: Watermark) -> Self {
        Self { before: Some(before), ..Self::new() }
    }

    /// A lane without a schema: its records are written down.
    pub(super) fn nowhere(nobody: Nobody) -> Self {
        Self { state: State::Nowhere(nobody), ..Self::new() }
    }

    /// The log brings the lane's next record.
    pub(super) fn arrive(&mut self, record: Waiting, room: Room) -> Arrival {
        if self.queue.left_from().is_none() && record.offset < self.stored_below() {
            return Arrival::Stored;
        }
        self.queue.arrive(record, room)
    }

    /// The log is about to bring once more what the lane left there, up to `to`, where the partition is read at present.
    pub(super) fn begin_to_catch_up(&mut self, to: i64) {
        self.queue.begin_to_catch_up(to);
    }

    /// The log brings once more all records of the lane from `from` up to `to`, in order. The lane takes those that it
    /// left, as far as there is room.
    pub(super) fn catch_up(
        &mut self,
        from: i64,
        records: impl IntoIterator<Item = Waiting>,
        to: i64,
        room: impl FnMut(usize, &Waiting) -> Room,
    ) {
        self.queue.catch_up(self.stored_below(), from, records, to, room);
    }

    /// From where the lane has to be given records again.
    pub(super) fn left_from(&self) -> Option<i64> {
        self.queue.left_from()
    }

    /// What the first of those takes in memory, as far as the lane has seen it.
    pub(super) fn left_cost(&self) -> usize {
        self.queue.left_cost()
    }

    /// The log did not bring again what the lane left there: what is behind it is left, too.
    pub(super) fn stop_catching_up(&mut self) {
        self.queue.drop_ahead();
    }

    /// The lowest offset that is neither stored, held nor written down; `None`: all that the log brought is.
    pub(super) fn low_water(&self) -> Option<i64> {
        self.queue.low_water()
    }

    /// When intake received the oldest record that is not safe, in memory or left in the log.
    pub(super) fn oldest_received_at(&self) -> Option<UnixMillis> {
        self.queue.oldest_received_at()
    }

    /// What its records in memory take there, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Whether nothing would be lost with the lane but what it knows.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.queue.left_from().is_none() && self.under_way.is_none() && !self.look
    }

    /// Whether it goes on by itself only as far as what it has in memory: it is held, and has held all.
    pub(super) fn has_nothing_to_write(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_none()
    }

    /// How a lane counts in metrics; `None`: it knows nothing of its schema.
    pub(super) fn is_held(&self) -> Option<bool> {
        match self.state {
            State::Live(_) => Some(false),
            State::Held(_) => Some(true),
            State::Closed | State::Nowhere(_) | State::WentBack => None,
        }
    }

    /// The highest watermark that the database ever confirmed, to this lane or to the one before it.
    pub(super) fn confirmed(&self) -> Option<Watermark> {
        Watermark::higher(self.confirmed, self.before)
    }

    /// Whether the schema has a lower watermark than the database once confirmed.
    pub(super) fn went_back(&self) -> bool {
        self.state == State::WentBack
    }

    /// Whether there is no schema.
    pub(super) fn is_nowhere(&self) -> bool {
        matches!(self.state, State::Nowhere(_))
    }

    /// The first records that are pending, as many as the task takes.
    pub(super) fn first(&self, records: usize) -> impl Iterator<Item = &Waiting> {
        self.queue.first(records)
    }

    /// An onlooker found records of this lane held: an earlier owner may hold some beside a live lane.
    pub(super) fn found_held(&mut self) {
        if self.under_way.is_none() && matches!(self.state, State::Closed | State::Live(_)) {
            self.state = State::Closed;
            self.look = true;
        }
    }

    /// What the lane wants of a writer, at this moment.
    pub(super) fn wants(&self, now: Instant) -> Wants {
        if self.under_way.is_some() {
            return Wants::Nothing;
        }
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Wants::NotBefore(not_before);
        }
        match &self.state {
            State::Held(held) if self.queue.is_empty() => match held.probe_at > now {
                true => Wants::NotBefore(held.probe_at),
                false => Wants::Writer,
            },
            State::WentBack => Wants::Nothing,
            State::Closed if self.look => Wants::Writer,
            State::Closed | State::Live(_) | State::Held(_) | State::Nowhere(_) => {
                if self.queue.is_empty() {
                    Wants::Nothing
                } else {
                    Wants::Writer
                }
            }
        }
    }

    /// A writer is there: what it has to do. The caller asks [`Lane::wants`] before.
    pub(super) fn begin(&mut self, limits: BatchLimits, first: First) -> Task {
        let at_once = self.size.of(limits);
        let records = self.queue.batch(at_once);
        let task = match &self.state {
            State::Closed if records == 0 => Task::Open,
            State::Closed | State::WentBack => Task::Flush {
                records,
                expected: Expected::AtLeast(self.confirmed),
                look_for_duplicates: true,
            },
            State::Live(watermark) => Task::Flush {
                records,
                expected: Expected::Watermark(*watermark),
                look_for_duplicates: self.flushes_without_duplicates < FLUSHES_WITHOUT_DUPLICATES,
            },
            State::Held(held) if records == 0 || first.is_drain(held) => Task::Drain { rows: at_once.rows },
            State::Held(held) => {
                Task::Hold { records: self.queue.batch(limits.for_keeping()), reason: held.reason.clone() }
            }
            State::Nowhere(nobody) => {
                Task::WriteDown { records: self.queue.batch(limits.for_keeping()), nobody: *nobody }
            }
        };
        self.not_before = None;
        self.under_way = Some(task.clone());
        task
    }

    /// What the schema is known to have.
    fn stored_below(&self) -> i64 {
        match &self.state {
            State::Live(Some(watermark)) if keeps(Rule::PassOverCovered) => watermark.next_offset,
            State::Live(_) | State::Closed | State::Held(_) | State::Nowhere(_) | State::WentBack => 0,
        }
    }
}
