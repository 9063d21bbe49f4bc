//! What the demo shows, as data: kept from one look to the next, drawn by `screen`, written by `lines`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::observe::{Moment, Seen};

/// Rates of so many seconds are kept for the sparklines.
const SECONDS_KEPT: usize = 120;
/// Freshness is that of the events of so long.
const FRESHNESS_WINDOW: Duration = Duration::from_secs(6);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) names: Vec<String>,
    /// `kafka` or `embedded`.
    pub(super) log: &'static str,
    /// What the embedded log may take.
    pub(super) log_limit: u64,
    pub(super) lesson: &'static str,
    /// Since the classrooms began.
    pub(super) elapsed: Duration,
    /// From the demo's start to the first row in a schema.
    pub(super) first_row: Option<Duration>,
    pub(super) seen: Seen,
    /// Accepted events of each second, by school; the newest last.
    pub(super) rates: Vec<VecDeque<u64>>,
    pub(super) selected: usize,
    /// Whose schema is broken.
    pub(super) is_broken: Vec<bool>,
    pub(super) is_paused: bool,
    pub(super) is_flooding: bool,
    started: Instant,
    begun: Instant,
    second: Option<Moment>,
    window: VecDeque<Moment>,
}

impl Picture {
    pub(super) fn new(names: Vec<String>, log: &'static str, log_limit: u64, lesson: &'static str) -> Self {
        let schools = names.len();
        Self {
            names,
            log,
            log_limit,
            lesson,
            elapsed: Duration::ZERO,
            first_row: None,
            seen: Seen::default(),
            rates: vec![VecDeque::new(); schools],
            selected: 0,
            is_broken: vec![false; schools],
            is_paused: false,
            is_flooding: false,
            started: Instant::now(),
            begun: Instant::now(),
            second: None,
            window: VecDeque::new(),
        }
    }

    /// When the demo was started, and when its classrooms were.
    pub(super) fn started_at(mut self, started: Instant, begun: Instant) -> Self {
        (self.started, self.begun) = (started, begun);
        self
    }

    /// Takes in what was seen.
    pub(super) fn take(&mut self, moment: Moment) {
        self.elapsed = moment.at.saturating_duration_since(self.begun);
        let is_first = self.first_row.is_none() && moment.seen.schools.iter().any(|school| school.stored > 0);
        if is_first {
            self.first_row = Some(moment.at.saturating_duration_since(self.started));
        }
        self.note_rates(&moment);
        self.seen = moment.seen.clone();
        let at = moment.at;
        self.window.push_back(moment);
        while self.window.len() > 2
            && self.window.get(1).is_some_and(|second| at.duration_since(second.at) >= FRESHNESS_WINDOW)
        {
            self.window.pop_front();
        }
    }

    fn note_rates(&mut self, moment: &Moment) {
        let Some(before) = &self.second else {
            self.second = Some(moment.clone());
            return;
        };
        let took = moment.at.saturating_duration_since(before.at);
        if took < Duration::from_millis(950) {
            return;
        }
        for (at, rates) in self.rates.iter_mut().enumerate() {
            let accepted = |seen: &Seen| seen.schools.get(at).map_or(0, |school| school.accepted);
            let events = accepted(&moment.seen).saturating_sub(accepted(&before.seen));
            let millis = u64::try_from(took.as_millis()).unwrap_or(1).max(1);
            rates.push_back(events * 1_000 / millis);
            while rates.len() > SECONDS_KEPT {
                rates.pop_front();
            }
        }
        self.second = Some(moment.clone());
    }

    /// Accepted events a second, now.
    pub(super) fn rate(&self, school: usize) -> u64 {
        self.rates.get(school).and_then(VecDeque::back).copied().unwrap_or(0)
    }

    /// Within how many seconds this share of the last seconds' events was visible; `None`: there were none.
    pub(super) fn freshness(&self, share: f64) -> Option<f64> {
        let (first, last) = (self.window.front()?, self.window.back()?);
        let counted = |seen: &Seen, bound: f64| {
            seen.freshness.iter().find(|(other, _)| *other == bound).map_or(0, |(_, count)| *count)
        };
        let grown: Vec<(f64, u64)> = last
            .seen
            .freshness
            .iter()
            .map(|(bound, count)| (*bound, count.saturating_sub(counted(&first.seen, *bound))))
            .collect();
        quantile(&grown, share)
    }

    /// All schools together: accepted, stored, duplicate, rejected, held.
    pub(super) fn totals(&self) -> [u64; 5] {
        let sum = |of: fn(&super::observe::SchoolSeen) -> u64| self.seen.schools.iter().map(of).sum();
        [sum(|s| s.accepted), sum(|s| s.stored), sum(|s| s.duplicate), sum(|s| s.rejected), sum(|s| s.held)]
    }
}

/// A quantile of a cumulative histogram: on a straight line within the bucket that holds it. In the last bucket, which has no
/// upper bound, it is that bucket's lower one.
fn quantile(buckets: &[(f64, u64)], share: f64) -> Option<f64> {
    let all = buckets.last()?.1;
    if all == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
    let (mut below, wanted) = ((0.0, 0_u64), share * all as f64);
    for (bound, count) in buckets {
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let (count_here, before) = (*count as f64, below.1 as f64);
        if count_here >= wanted {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let part = if count_here > before { (wanted - before) / (count_here - before) } else { 1.0 };
            return Some(below.0 + part * (bound - below.0));
        }
        below = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::observe::SchoolSeen;
    use super::*;

    fn moment(at: Instant, accepted: u64, freshness: &[(f64, u64)]) -> Moment {
        let school = SchoolSeen { accepted, stored: accepted, ..SchoolSeen::default() };
        Moment { at, seen: Seen { schools: vec![school], freshness: freshness.to_vec(), ..Seen::default() } }
    }

    #[test]
    fn rates_are_those_of_whole_seconds() {
        let start = Instant::now();
        let mut picture =
            Picture::new(vec!["acme".to_owned()], "embedded", 0, "lesson").started_at(start, start);
        for (millis, accepted) in [(0, 0), (500, 100), (1_000, 250), (1_500, 300), (3_000, 750)] {
            picture.take(moment(start + Duration::from_millis(millis), accepted, &[]));
        }
        assert_eq!(picture.rates[0], [250, 250]);
        assert_eq!(picture.rate(0), 250);
        assert_eq!(picture.first_row, Some(Duration::from_millis(500)));
        assert_eq!(picture.totals(), [750, 750, 0, 0, 0]);
    }

    #[test]
    fn freshness_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut picture =
            Picture::new(vec!["acme".to_owned()], "embedded", 0, "lesson").started_at(start, start);
        assert_eq!(picture.freshness(0.5), None);
        let old = [(0.01, 0), (0.1, 1_000), (f64::INFINITY, 1_000)];
        picture.take(moment(start, 0, &old));
        let new = [(0.01, 50), (0.1, 1_100), (f64::INFINITY, 1_100)];
        picture.take(moment(start + Duration::from_secs(1), 0, &new));
        assert!((picture.freshness(0.25).expect("events") - 0.005).abs() < 1e-9);
        assert!((picture.freshness(0.75).expect("events") - 0.055).abs() < 1e-9);
    }

    #[test]
    fn what_lies_beyond_the_last_bound_is_at_least_that() {
        assert_eq!(quantile(&[(1.0, 1), (f64::INFINITY, 4)], 0.99), Some(1.0));
        assert_eq!(quantile(&[(1.0, 0), (f64::INFINITY, 0)], 0.5), None);
    }
}
