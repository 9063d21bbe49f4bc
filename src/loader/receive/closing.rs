//! Partitions that are to be given back: each revocation waits until what they have in memory is written, and no longer
//! than it may.

use std::time::Instant;

use crate::log::Revocation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Closing {
    revocations: Vec<(Revocation, Instant)>,
}

impl Closing {
    /// The partitions are wanted back by `deadline`.
    pub(super) fn add(&mut self, revocation: Revocation, deadline: Instant) {
        self.revocations.push((revocation, deadline));
    }

    /// The next revocation whose partitions are all closed, or whose time is up.
    pub(super) fn next_closed(
        &mut self,
        now: Instant,
        is_closed: impl Fn(&i32) -> bool,
    ) -> Option<Revocation> {
        let is_due = |(revocation, deadline): &(Revocation, Instant)| {
            *deadline <= now || revocation.partitions.iter().all(&is_closed)
        };
        let at = self.revocations.iter().position(is_due)?;
        let (revocation, deadline) = self.revocations.swap_remove(at);
        if deadline <= now {
            tracing::warn!(partitions = ?revocation.partitions,
                "transactions were still open when partitions had to be given up; their records are read again");
        }
        Some(revocation)
    }

    /// When the first of them may not be waited for any longer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.revocations.iter().map(|(_, deadline)| *deadline).min()
    }
}
