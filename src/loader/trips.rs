//! When many schemas are slow at once, it is the server.
//!
//! A lock or a statement that took too long is one organization's trouble, and its records are held. But a server whose
//! disk stands still does that to all of them, and holding everything would make it worse.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::tenant::OrganizationId;

/// Fewer organizations than this say nothing about the server.
const FEWEST: usize = 10;
/// What happened within this time happened at once: somewhat more than the longest statement takes.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Which organizations' lanes tried, and which of them tripped.
#[derive(Debug, Default)]
pub(super) struct Trips {
    lately: Mutex<HashMap<OrganizationId, Tried>>,
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    at: Instant,
    has_tripped: bool,
}

impl Trips {
    /// A flush of this organization went through.
    pub(super) fn passed(&self, organization: OrganizationId) {
        self.tried(organization, false, Instant::now());
    }

    /// A flush of this organization took too long. Says whether it is the server: most of at least ten did.
    pub(super) fn tripped(&self, organization: OrganizationId) -> bool {
        self.tried(organization, true, Instant::now())
    }

    fn tried(&self, organization: OrganizationId, has_tripped: bool, at: Instant) -> bool {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.insert(organization, Tried { at, has_tripped });
        if !has_tripped {
            return false;
        }
        lately.retain(|_, tried| at.duration_since(tried.at) < AT_ONCE);
        let tripped = lately.values().filter(|tried| tried.has_tripped).count();
        tripped >= FEWEST && tripped * 2 > lately.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn organization(n: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(n))
    }

    #[test]
    fn nine_slow_schemas_are_nine_slow_schemas() {
        let trips = Trips::default();
        for _ in 0..5 {
            assert!((0..9).all(|n| !trips.tripped(organization(n))));
        }
        assert!(trips.tripped(organization(9)));
    }

    #[test]
    fn ten_among_many_that_pass_are_ten_slow_schemas() {
        let trips = Trips::default();
        (0..20).for_each(|n| trips.passed(organization(n)));
        assert!((0..10).all(|n| !trips.tripped(organization(n))));
        assert!(trips.tripped(organization(10)), "eleven of twenty are most of them");
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let trips = Trips::default();
        let now = Instant::now();
        assert!((0..9).all(|n| !trips.tried(organization(n), true, now)));
        assert!(!trips.tried(organization(9), true, now + AT_ONCE));
    }
}
