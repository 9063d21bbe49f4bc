//! What a writer's answer does to a lane.

use std::time::{Duration, Instant};

use super::super::position::Watermark;
use super::{
    DRAINS_IN_A_ROW, Held, LONGEST_PROBE, Lane, Receipt, Refused, Rule, State, Task, Told, Turn, keeps,
};

/// A lost race is run again this often before it counts as the schema's trouble.
const MOST_RACES: u32 = 5;
/// How long a lane waits after a race that was lost, doubled each time.
const RACE_PAUSE: Duration = Duration::from_millis(10);
/// The snapshot of organizations is a second old at most; then a new organization is in it.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(100);
/// The pause before the first drain that is tried, doubled after each that is refused.
const FIRST_PROBE: Duration = Duration::from_millis(500);

impl Lane {
    /// What the writer's task came to, and what people should hear of it.
    pub(in crate::loader) fn told(&mut self, told: Told, now: Instant) -> Option<Turn> {
        let task = self.under_way.take()?;
        let was_held = matches!(self.state, State::Held(_));
        let went_back = self.went_back_since_before(&told);
        match told {
            Told::Flushed { receipt, met_duplicates } => self.flushed(receipt, met_duplicates),
            Told::Found(watermark) => self.found(watermark),
            Told::FoundHeld if keeps(Rule::OpenByReadingHeld) => {
                self.hold("records before these are held".to_owned(), now, Duration::ZERO, DRAINS_IN_A_ROW);
            }
            Told::FoundHeld => self.go_live(self.confirmed),
            Told::Held(_) | Told::WrittenDown(_) => {
                self.queue.remove_first(task.records());
                if let State::Held(held) = &mut self.state {
                    held.drains_first = DRAINS_IN_A_ROW;
                }
            }
            Told::Undecodable(_) => {
                self.queue.remove(0);
                // No watermark shows that it is written down: opening asks whether the server is still the same.
                self.unconfirmed(now);
            }
            Told::Drained { .. } => {
                self.size.passed();
                self.drain_again(now);
            }
            Told::Cleared => self.drain_again(now),
            Told::NoneHeld => self.close(),
            Told::Gone(nobody) => {
                self.look = false;
                self.state = State::Nowhere(nobody);
            }
            Told::Unconfirmed if keeps(Rule::LostAnswerIsRead) => self.unconfirmed(now),
            Told::Unconfirmed => self.queue.remove_first(task.records()),
            Told::PutBack => self.unconfirmed(now),
            Told::Refused(refused) => self.refused(&task, refused, now),
        }
        match &self.state {
            State::WentBack => Some(Turn::WentBack),
            _ if went_back => Some(Turn::WentBack),
            State::Held(held) if !was_held => Some(Turn::Held(held.reason.clone())),
            State::Closed if was_held => Some(Turn::Drained),
            State::Closed | State::Live(_) | State::Held(_) | State::Nowhere(_) => None,
        }
    }

    /// Whether the schema, looked at for the first time by this lane, has less than an earlier lane was confirmed.
    fn went_back_since_before(&mut self, told: &Told) -> bool {
        let found = match told {
            Told::Flushed { receipt, .. } => receipt.found(),
            Told::Found(watermark) => *watermark,
            _ => return false,
        };
        self.before.take().is_some_and(|before| Watermark::higher(found, Some(before)) != found)
    }

    fn flushed(&mut self, receipt: Receipt, met_duplicates: bool) {
        self.queue.remove_first(receipt.records());
        self.races = 0;
        self.size.passed();
        self.flushes_without_duplicates =
            if met_duplicates { 0 } else { self.flushes_without_duplicates.saturating_add(1) };
        self.go_live(Some(receipt.watermark()));
    }

    fn found(&mut self, watermark: Option<Watermark>) {
        let is_lower = Watermark::higher(watermark, self.confirmed) != watermark;
        match is_lower && keeps(Rule::WatermarksNeverGoBack) {
            true => self.state = State::WentBack,
            false => self.go_live(watermark),
        }
    }

    fn go_live(&mut self, watermark: Option<Watermark>) {
        self.look = false;
        self.confirmed = Watermark::higher(self.confirmed, watermark);
        self.state = State::Live(watermark);
        self.queue.remove_below(self.stored_below());
    }

    /// What the lane knows of its schema is out of date.
    fn close(&mut self) {
        self.look = false;
        self.state = State::Closed;
    }

    fn unconfirmed(&mut self, now: Instant) {
        match &mut self.state {
            // The next drain finds out.
            State::Held(held) => held.probe_at = now,
            State::Nowhere(_) | State::WentBack => {}
            State::Closed | State::Live(_) => self.state = State::Closed,
        }
    }

    fn refused(&mut self, task: &Task, refused: Refused, now: Instant) {
        match refused {
            // The dispatcher knows when to try again.
            Refused::Server => {}
            Refused::NotYet => self.not_before = Some(now + SNAPSHOT_PAUSE),
            Refused::Again(reason) => match task {
                // It says nothing of why they are held.
                Task::Drain { .. } => self.put_off(now),
                _ if self.races == MOST_RACES => self.hold(reason, now, FIRST_PROBE, 0),
                _ => {
                    self.not_before = Some(now + RACE_PAUSE * 2_u32.pow(self.races));
                    self.races += 1;
                }
            },
            Refused::Schema(reason) => self.still_held(reason, now),
            Refused::Slow(reason) => {
                self.was_too_much(task);
                self.still_held(reason, now);
            }
        }
    }

    fn was_too_much(&mut self, task: &Task) {
        let rows = match task {
            Task::Flush { records, .. } => self.queue.first(*records).map(|record| record.events).sum(),
            // So many were allowed; how many were tried nobody has said, and it may be far fewer.
            Task::Drain { rows } => *rows / 4,
            Task::Open | Task::Hold { .. } | Task::WriteDown { .. } => return,
        };
        self.size.was_too_much(rows);
    }

    fn hold(&mut self, reason: String, now: Instant, pause: Duration, drains_first: u32) {
        self.races = 0;
        self.look = false;
        self.flushes_without_duplicates = 0;
        let held = Held { reason, probe_at: now + pause, pause: FIRST_PROBE, drains_first };
        self.state = State::Held(held);
    }

    /// The schema refuses, for the first time or again.
    fn still_held(&mut self, reason: String, now: Instant) {
        match &mut self.state {
            State::Held(held) => {
                held.reason = reason;
                self.put_off(now);
            }
            State::Closed | State::Live(_) => self.hold(reason, now, FIRST_PROBE, 0),
            // The control schema's own table refuses: the same once more.
            State::Nowhere(_) | State::WentBack => self.not_before = Some(now + FIRST_PROBE),
        }
    }

    /// The next drain waits for longer than the last one did.
    fn put_off(&mut self, now: Instant) {
        if let State::Held(held) = &mut self.state {
            held.pause = (held.pause * 2).min(LONGEST_PROBE);
            held.probe_at = now + held.pause;
            held.drains_first = 0;
        }
    }

    /// The next drain may find more, or what this one was kept from.
    fn drain_again(&mut self, now: Instant) {
        if let State::Held(held) = &mut self.state {
            held.probe_at = now;
            held.pause = FIRST_PROBE;
            held.drains_first = held.drains_first.saturating_sub(1);
        }
    }
}
