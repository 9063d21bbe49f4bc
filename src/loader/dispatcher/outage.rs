//! Whether the database answers: while it does not, one writer at a time asks, less and less often.

use std::time::{Duration, Instant};

/// The first pause, doubled after each try that fails.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage {
    away: Option<Away>,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    until: Instant,
    pause: Duration,
}

impl Outage {
    /// A writer could not get at the database.
    pub(super) fn lost(&mut self, now: Instant) {
        let pause = match self.away {
            None => FIRST,
            // Those that were under way when it went do not count once more.
            Some(away) if away.until > now => return,
            Some(away) => (away.pause * 2).min(LONGEST),
        };
        self.away = Some(Away { until: now + pause, pause });
    }

    /// A transaction was answered.
    pub(super) fn answered(&mut self) {
        self.away = None;
    }

    /// Whether one more writer may try, beside so many.
    pub(super) fn allows(&self, under_way: usize, now: Instant) -> bool {
        self.away.is_none_or(|away| away.until <= now && under_way == 0)
    }

    /// When the next may.
    pub(super) fn until(&self) -> Option<Instant> {
        self.away.map(|away| away.until)
    }
}
