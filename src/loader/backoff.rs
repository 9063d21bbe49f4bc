//! Waiting longer after each failure, and never in step with others.

use std::time::Duration;

/// Doubles from `first` to `most`; each wait is drawn from the upper half, so that lanes that failed together do not
/// come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// While the server is away: soon at first, then every few seconds.
    pub(super) fn for_server() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }

    /// How long to wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.most);
        wait
    }

    /// Something went well: begin anew.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}
