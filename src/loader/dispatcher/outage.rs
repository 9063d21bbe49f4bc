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
    /// The work that asks whether it is back.
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

    /// Whether one more writer may try. What else is under way says nothing: it may be waiting for a slow schema.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.away.is_none_or(|away| away.until <= now && away.asks.is_none())
    }

    /// This work begins.
    pub(super) fn begun(&mut self, work: u64) {
        if let Some(away) = &mut self.away {
            away.asks = Some(work);
        }
    }

    /// When the next may try.
    pub(super) fn until(&self) -> Option<Instant> {
        self.away.filter(|away| away.asks.is_none()).map(|away| away.until)
    }
}
