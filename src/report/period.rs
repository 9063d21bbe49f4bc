//! How often an organization's reports move, as reporters say it to those who ask how the reports stand.

use std::cmp::Ordering;
use std::time::Duration;

/// What is the case is said again after its period, and not more often than this.
const AT_MOST: Duration = Duration::from_secs(60);
/// Who has not said it for so many times as long is not there any more.
const GONE: u32 = 3;

/// What was said last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) period: Duration,
    /// For how long it has been said.
    pub(super) age: Duration,
}

impl Said {
    /// Whether a reporter with this period says so now. Of several the one whose turns are farthest apart is believed: while it
    /// is there the others write nothing, and no turn undoes what another one says.
    pub(super) fn is_to_be(&self, period: Duration) -> bool {
        let again = self.period.max(AT_MOST);
        match period.cmp(&self.period) {
            Ordering::Greater => true,
            Ordering::Equal => self.age >= again,
            Ordering::Less => self.age >= again * GONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_period_is_said_now_and_then_and_another_one_once_nobody_says_it() {
        let after = |age, period| {
            let said = Said { period: Duration::from_secs(600), age: Duration::from_secs(age) };
            said.is_to_be(Duration::from_secs(period))
        };
        assert!(after(0, 601));
        assert!(!after(599, 600) && after(600, 600));
        assert!(!after(1_799, 10) && after(1_800, 10));
        let short = |age| {
            let said = Said { period: Duration::from_secs(1), age: Duration::from_secs(age) };
            said.is_to_be(said.period)
        };
        assert!(!short(59) && short(60));
    }
}
