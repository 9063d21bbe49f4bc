//! The rules that make the protocol hold. Each can be switched off in tests, to see that the model and the simulator
//! catch it; in the program they are constants.

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Rule {
    /// A lane passes over what the watermark covers.
    PassOverCovered,
    /// A lane opens by reading whether records are held, too.
    OpenByReadingHeld,
    /// After a commit whose answer was lost, the watermark is read again.
    LostAnswerIsRead,
    /// A watermark below one that the database confirmed is never built upon.
    WatermarksNeverGoBack,
    /// A record that a lane left in the log is not safe.
    WhatIsLeftIsNotSafe,
    /// A lane takes again only from where it left, or before.
    CatchUpWithoutGap,
}

/// Whether the rule is kept.
#[cfg(not(test))]
pub(in crate::loader) const fn keeps(_: Rule) -> bool {
    true
}

/// Whether the rule is kept, in this thread.
#[cfg(test)]
pub(in crate::loader) fn keeps(rule: Rule) -> bool {
    SWITCHED_OFF.get() != Some(rule)
}

#[cfg(test)]
thread_local! {
    /// The rule that this thread does without.
    pub(in crate::loader) static SWITCHED_OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}
