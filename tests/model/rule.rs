//! The rules that make the protocol hold, each of which can be switched off.

/// One rule of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A flush writes only if the watermark is where the lane left it.
    CompareWatermark,
    /// A lane passes over what the watermark covers, so that it never moves back.
    SkipCovered,
    /// A lane opens by reading whether records are held, too.
    OpenByReadingHeld,
    /// Watermark and held records are read in one snapshot.
    OneSnapshot,
    /// A record counts as safe, and the log's offset may pass it, only once the hold was confirmed.
    HoldBeforeOffset,
    /// Holding leaves the watermark alone.
    HoldLeavesWatermark,
    /// While records are held, newer ones are held behind them.
    QueueBehindHeld,
    /// A drain begins with the first held record.
    DrainInOrder,
    /// A drain deletes what lies below the watermark unwritten.
    DrainSkipsCovered,
    /// A drain deletes in the transaction that stores.
    DrainDeletesWithRows,
    /// One drain at a time.
    DrainLock,
    /// After a commit whose answer was lost, the watermark is read again.
    LostAnswerIsRead,
    /// Holding asks, in its own statement, whether the organization was removed.
    HoldAsksForRemoval,
    /// A lane that has begun to spill leaves the live state after the flush, whatever that came to.
    SpillLeavesLive,
    /// A spill holds what is in the flush and what waits behind it before what comes.
    SpillFromTheFront,
    /// The last probe before a lane opens again has nothing beside it.
    LastProbeAlone,
    /// A live lane opens again when records are found that are held beside it.
    LookBesideLive,
}

/// Which rules are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    off: u32,
}

impl Rules {
    /// The design.
    pub(super) const ALL: Self = Self { off: 0 };

    /// The design but for one rule.
    pub(super) fn without(rule: Rule) -> Self {
        Self { off: bit(rule) }
    }

    /// Whether this rule is kept.
    pub(super) fn keep(self, rule: Rule) -> bool {
        self.off & bit(rule) == 0
    }
}

fn bit(rule: Rule) -> u32 {
    1 << rule as u16
}
