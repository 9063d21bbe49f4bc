//! One thing that a player reports.

use std::fmt;

use super::catalogue::{Attempt, Item};

/// An event of a session before it has an id, a session and a wall clock.
#[derive(Debug)]
pub(super) struct Step {
    /// When, counted from the start of the session.
    pub(super) after_ms: u32,
    pub(super) position_ms: u32,
    pub(super) rate: Rate,
    pub(super) what: What,
}

/// The types of contract 1.2 with what each carries.
#[derive(Debug)]
pub(super) enum What {
    Ready {
        duration_ms: u32,
    },
    Played,
    Paused(Watch),
    Ended(Watch),
    Heartbeat(Watch),
    SessionEnded(Watch),
    /// A player need not report what was watched at a seek; the next report then has more than one interval.
    Seeked {
        from_ms: u32,
        to_ms: u32,
        watched: Option<Intervals>,
    },
    RateChanged {
        from: Rate,
        to: Rate,
    },
    QualityChanged {
        from: &'static str,
        to: &'static str,
    },
    FullscreenChanged {
        on: bool,
    },
    Buffered {
        stall_ms: u32,
    },
    Error {
        code: &'static str,
        message: &'static str,
    },
    ItemShown(Item),
    OptionSelected(Item, Attempt),
    Answered {
        item: Item,
        attempt: Attempt,
        number: u16,
        elapsed_ms: u32,
    },
    Revised {
        item: Item,
        elapsed_ms: u32,
    },
    Skipped {
        item: Item,
        elapsed_ms: u32,
    },
    Closed {
        item: Item,
        elapsed_ms: u32,
    },
}

/// Half-open media intervals `(start_ms, end_ms)`, none empty.
pub(super) type Intervals = Vec<(u32, u32)>;

/// What was watched since the last report.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) watched: Intervals,
    /// Wall time played so far in the session.
    pub(super) played_ms: u32,
}

/// A playback rate in quarters, so that positions are whole milliseconds without rounding by floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(u32);

impl Rate {
    pub(super) const NORMAL: Self = Self(4);
    /// What a player's menu offers.
    pub(super) const MENU: [Self; 4] = [Self(3), Self(5), Self(6), Self(8)];

    /// Media time that passes in `wall_ms`, rounded down.
    pub(super) fn media_ms(self, wall_ms: u32) -> u32 {
        wall_ms * self.0 / 4
    }

    /// Wall time in which `media_ms` pass, rounded up.
    pub(super) fn wall_ms(self, media_ms: u32) -> u32 {
        (media_ms * 4).div_ceil(self.0)
    }
}

/// As a JSON number.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = match self.0 % 4 {
            1 => ".25",
            2 => ".5",
            3 => ".75",
            _ => "",
        };
        write!(f, "{}{fraction}", self.0 / 4)
    }
}
