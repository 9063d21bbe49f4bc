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
    /// When the next writer may ask.
    until: Instant,
    pause: Duration,
    /// The work that asked last.
    asks: Option<u64>,
}

impl Outage {
    /// This work could not get at the database.
    pub(super) fn lost(&mut self, work: u64, now: Instant) {
        let pause = match self.away {
            None => FIRST,
            Some(away) if away.asks == Some(work) => (away.pause * 2).min(LONGEST),
            // Those that were under way when it went do not count once more.
            Some(_) => return,
        };
        self.away = Some(Away { until: now + pause, pause, asks: None });
    }

    /// A transaction was answered.
    pub(super) fn answered(&mut self) {
        self.away = None;
    }

    /// Whether a writer may try.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.away.is_none_or(|away| away.until <= now)
    }

    /// This work tries. If it has no answer after the pause, the next may: this one may be waiting for a slow schema.
    pub(super) fn begun(&mut self, work: u64, now: Instant) {
        if let Some(away) = &mut self.away {
            away.until = now + away.pause;
            away.asks = Some(work);
        }
    }

    /// When the next may.
    pub(super) fn until(&self) -> Option<Instant> {
        self.away.map(|away| away.until)
    }
}
