//! When a batch is due.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// What decides when the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Open loop: so many events a second, whether or not earlier requests were answered. Latency counts from when a
    /// request was due, so that an intake that falls behind cannot hide it by slowing its clients down.
    EventsPerSecond(NonZeroU32),
    /// Closed loop: as soon as a connection is free. Latency counts from then.
    AsFastAsAnswered,
}

/// Counts what was handed out against the time it was due.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    started: Instant,
    events: u64,
}

impl Schedule {
    pub(super) fn new(pace: Pace, started: Instant) -> Self {
        Self { pace, started, events: 0 }
    }

    /// When the next batch, which has so many events, is due; `None` means when there is room for it. An open loop's
    /// batch is due when its last event happens: no player sends an event before.
    pub(super) fn next_due(&mut self, events: usize) -> Option<Instant> {
        self.events += events as u64;
        match self.pace {
            Pace::EventsPerSecond(rate) => Some(self.started + time_of(self.events, rate)),
            Pace::AsFastAsAnswered => None,
        }
    }
}

fn time_of(events: u64, rate: NonZeroU32) -> Duration {
    let rate = u64::from(rate.get());
    let nanos = (events % rate) * 1_000_000_000 / rate;
    Duration::from_secs(events / rate) + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_is_due_by_the_number_of_events_and_never_drifts() {
        let started = Instant::now();
        let rate = NonZeroU32::new(3).expect("not zero");
        let mut schedule = Schedule::new(Pace::EventsPerSecond(rate), started);
        let due: Vec<_> =
            (0..3).filter_map(|_| schedule.next_due(1)).map(|due| (due - started).as_millis()).collect();
        assert_eq!(due, [333, 666, 1_000]);
        assert_eq!(schedule.next_due(2_999_997), Some(started + Duration::from_secs(1_000_000)));
    }

    #[test]
    fn a_closed_loop_is_due_whenever_there_is_room() {
        assert_eq!(Schedule::new(Pace::AsFastAsAnswered, Instant::now()).next_due(50), None);
    }
}
