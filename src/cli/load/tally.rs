//! Counting what became of everything that was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::delivery::{Delivery, End};

/// What takes longer counts as this.
const LONGEST_LATENCY_MICROS: u64 = 24 * 3_600 * 1_000_000;

/// Totals of a run. Each event is counted once, by its last verdict.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    pub(super) retry: u64,
    pub(super) sent_again: u64,
    pub(super) answered_requests: u64,
    pub(super) failed_requests: u64,
    pub(super) rejections: Reasons,
    pub(super) failures: Reasons,
    latency_micros: Histogram<u64>,
}

/// By code: how often, and the first message.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, (u64, String)>);

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent: 0,
            accepted: 0,
            duplicate: 0,
            rejected: 0,
            retry: 0,
            sent_again: 0,
            answered_requests: 0,
            failed_requests: 0,
            rejections: Reasons::default(),
            failures: Reasons::default(),
            latency_micros: Histogram::new_with_bounds(1, LONGEST_LATENCY_MICROS, 3)
                .expect("the bounds are in order, and 3 digits are within the crate's 0 to 5"),
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, delivery: Delivery) {
        let Delivery { counts, end } = delivery;
        self.sent += counts.sent as u64;
        self.accepted += counts.accepted as u64;
        self.duplicate += counts.duplicate as u64;
        self.rejected += counts.rejected as u64;
        self.retry += counts.retry as u64;
        self.sent_again += counts.sent_again as u64;
        for (code, message) in counts.rejections {
            self.rejections.add(code, message);
        }
        match end {
            End::Answered { latency } => {
                self.answered_requests += 1;
                let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.latency_micros.saturating_record(micros);
            }
            End::GivenUp(trouble) => {
                self.failed_requests += 1;
                self.failures.add(trouble.code, trouble.message);
            }
        }
    }

    /// The time within which this share (0..1) of the answered requests was answered; zero when none was.
    pub(super) fn latency(&self, share: f64) -> Duration {
        Duration::from_micros(self.latency_micros.value_at_quantile(share))
    }

    /// Whether the first thing learnt is that it does not work: then the address or the key is wrong, or nobody is
    /// there, and the rest would end alike.
    pub(super) fn is_hopeless(&self) -> bool {
        self.answered_requests == 0 && self.failed_requests > 0
    }
}

impl Reasons {
    fn add(&mut self, code: String, message: String) {
        self.0.entry(code).or_insert((0, message)).0 += 1;
    }

    /// Code, how often, and the first message.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.0.iter().map(|(code, (count, message))| (code.as_str(), *count, message.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Trouble;
    use super::super::delivery::Counts;
    use super::*;

    fn answered(counts: Counts) -> Delivery {
        Delivery { counts, end: End::Answered { latency: Duration::from_millis(5) } }
    }

    #[test]
    fn reasons_keep_the_first_message_of_each_code() {
        let mut tally = Tally::default();
        for message in ["first", "second"] {
            let rejections = vec![("too_old".to_owned(), message.to_owned())];
            tally.add(answered(Counts { rejected: 1, rejections, ..Counts::default() }));
        }
        assert_eq!(tally.rejections.iter().collect::<Vec<_>>(), [("too_old", 2, "first")]);
        assert_eq!((tally.rejected, tally.latency(0.5).as_millis()), (2, 5));
    }

    #[test]
    fn a_run_is_hopeless_only_before_anything_was_answered() {
        let trouble = Trouble { code: "no reply".to_owned(), message: String::new() };
        let mut tally = Tally::default();
        assert!(!tally.is_hopeless());
        tally.add(Delivery { counts: Counts::default(), end: End::GivenUp(trouble) });
        assert!(tally.is_hopeless());
        tally.add(answered(Counts::default()));
        assert!(!tally.is_hopeless());
    }
}
