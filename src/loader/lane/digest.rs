//! What the model takes for the same lane: all but times, and what only saves work.

use std::hash::{Hash, Hasher};

use super::{Expected, Lane, State, Task, Watermark};

impl Lane {
    pub(in crate::loader) fn digest(&self, hasher: &mut impl Hasher) {
        let place = |watermark: Option<Watermark>| watermark.map_or(-1, |watermark| watermark.next_offset);
        match &self.state {
            State::Closed => 0.hash(hasher),
            State::Live(watermark) => (1, place(*watermark)).hash(hasher),
            State::Held(_) => 2.hash(hasher),
            State::Nowhere(_) => 3.hash(hasher),
            State::WentBack => 4.hash(hasher),
        }
        let task = self.under_way.as_ref().map(|task| {
            let expected = match task {
                Task::Flush { expected: Expected::AtLeast(watermark), .. } => 100 + place(*watermark),
                Task::Flush { expected: Expected::Watermark(watermark), .. } => 200 + place(*watermark),
                Task::Open => 0,
                Task::Hold { .. } => 1,
                Task::Drain { .. } => 2,
                Task::WriteDown { .. } => 3,
            };
            (expected, task.records())
        });
        (task, self.look, place(self.confirmed), place(self.before)).hash(hasher);
        self.queue.digest(hasher);
    }
}
