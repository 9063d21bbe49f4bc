//! Waiting longer after each failure, and never in step with others.

use std::time::Duration;

/// Doubles from `first` to `most`; each wait is drawn from the upper half, so that those that failed together do not
/// come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// While the server is away: soon at first, then every few seconds.
    pub(crate) fn for_server() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// Something went well: begin anew.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for round in 0..2 {
            for full_ms in [100, 200, 350, 350] {
                let (wait, full) = (backoff.next(), Duration::from_millis(full_ms));
                assert!((full / 2..=full).contains(&wait), "round {round}: {wait:?} of {full:?}");
            }
            backoff.reset();
        }
    }
}
