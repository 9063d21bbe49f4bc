//! The rules that the database and the driver keep, beside those of the lane.

use std::cell::Cell;

use crate::loader::lane;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Rule {
    /// One that the lane itself keeps.
    OfLane(lane::Rule),
    /// A flush writes only behind the watermark that it expects.
    CompareWatermark,
    /// Holding leaves the watermark alone.
    HoldLeavesWatermark,
    /// A lane is told that records are held once the database has confirmed it.
    HoldBeforeOffset,
    /// Holding asks, in its own statement, whether the organization was removed.
    HoldAsksForRemoval,
    /// A drain begins with the first held record.
    DrainInOrder,
    /// A drain deletes what lies below the watermark unwritten.
    DrainSkipsCovered,
    /// A drain deletes in the transaction that stores.
    DrainDeletesWithRows,
    /// A loader begins at the anchor, whatever the group has committed.
    BeginAtAnchor,
    /// What was remembered goes with the connection, unless the server that answers next is the same.
    IdentityGoesWithConnection,
    /// What opens, holds or drains reads, in its transaction, which server it is: it compares no watermark that the lane
    /// knows.
    OpeningReadsIdentity,
    /// An anchor is written in a transaction that has read which server it is.
    AnchorReadsIdentity,
}

thread_local! {
    static SWITCHED_OFF: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Whether the rule is kept, in this thread.
pub(in crate::loader) fn keeps(rule: Rule) -> bool {
    SWITCHED_OFF.get() != Some(rule)
}

/// Does without the rule in this thread, until what it gives back is dropped.
pub(in crate::loader) fn without(rule: Option<Rule>) -> Without {
    switch_off(rule);
    Without(())
}

/// See [`without`].
#[must_use = "the rule is kept again once this is dropped"]
pub(in crate::loader) struct Without(());

impl Drop for Without {
    fn drop(&mut self) {
        switch_off(None);
    }
}

fn switch_off(rule: Option<Rule>) {
    SWITCHED_OFF.set(rule);
    lane::SWITCHED_OFF.set(match rule {
        Some(Rule::OfLane(rule)) => Some(rule),
        _ => None,
    });
}
