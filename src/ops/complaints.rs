//! What goes wrong over and over, said at a bounded rate: while something is away, every attempt fails like the one
//! before, and each would write its line.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kinds that are told apart; what is beyond them is one kind together.
const MOST_KINDS: usize = 64;
/// So much of a text is its kind.
const LONGEST_KIND: usize = 200;

/// When each kind of complaint was last said.
#[derive(Debug)]
pub struct Complaints {
    period: Duration,
    kinds: Mutex<BTreeMap<String, Kind>>,
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    said_at: Instant,
    unwritten: u64,
}

impl Complaints {
    /// As often as an outage is said, of whatever it is: each kind once in 30 s.
    pub const fn now_and_then() -> Self {
        Self::once_in(Duration::from_secs(30))
    }

    /// Each kind is said once in a period.
    pub const fn once_in(period: Duration) -> Self {
        Self { period, kinds: Mutex::new(BTreeMap::new()) }
    }

    /// Whether a complaint of this kind is to be written now, and then how many of its kind were not since the last.
    pub fn hear(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |kind: &Kind| now.saturating_duration_since(kind.said_at) < self.period;
        if !kinds.contains_key(kind) && kinds.len() >= MOST_KINDS {
            kinds.retain(|_, kind| is_recent(kind));
        }
        let is_one_too_many = !kinds.contains_key(kind) && kinds.len() >= MOST_KINDS;
        let kind = if is_one_too_many { "" } else { kind };
        match kinds.get_mut(kind) {
            Some(known) if is_recent(known) => {
                known.unwritten += 1;
                None
            }
            Some(known) => Some(std::mem::replace(known, Kind { said_at: now, unwritten: 0 }).unwritten),
            None => {
                kinds.insert(kind.to_owned(), Kind { said_at: now, unwritten: 0 });
                Some(0)
            }
        }
    }

    /// The same for complaints whose kind is their text: those that differ in numbers only (ports, ids, milliseconds, counts)
    /// are of one kind.
    pub fn hear_text(&self, text: &str, now: Instant) -> Option<u64> {
        self.hear(&kind_of(text), now)
    }
}

fn kind_of(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).take(LONGEST_KIND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    #[test]
    fn a_complaint_is_said_once_a_period_and_counted_in_between() {
        let (complaints, start) = (Complaints::once_in(PERIOD), Instant::now());
        assert_eq!(complaints.hear("a", start), Some(0));
        for _ in 0..41 {
            assert_eq!(complaints.hear("a", start + PERIOD / 2), None);
        }
        assert_eq!(complaints.hear("b", start + PERIOD / 2), Some(0), "another kind is not kept back");
        assert_eq!(complaints.hear("a", start + PERIOD), Some(41));
        assert_eq!(complaints.hear("a", start + PERIOD), None);
    }

    #[test]
    fn complaints_that_differ_in_numbers_are_one_kind() {
        let of = |port, tries| kind_of(&format!("FAIL 127.0.0.1:{port}/1: refused ({tries} suppressed)"));
        assert_eq!(of(9092, 3), of(19093, 777));
        assert_ne!(of(9092, 3), kind_of("FAIL 127.0.0.1:9092/1: authentication failed (3 suppressed)"));
    }

    #[test]
    fn trouble_that_goes_on_is_said_now_and_then() {
        let (complaints, begun) = (Complaints::once_in(PERIOD), Instant::now());
        let tries = (0..300).map(|n| begun + Duration::from_millis(200) * n);
        let said: Vec<u64> = tries.filter_map(|now| complaints.hear("a", now)).collect();
        assert_eq!(said, [0, 49, 49, 49, 49, 49], "in a minute");
    }

    #[test]
    fn any_number_of_kinds_writes_a_bounded_number_of_lines() {
        let (complaints, now) = (Complaints::once_in(PERIOD), Instant::now());
        let said = (0..10_000).filter(|n| complaints.hear(&format!("kind {n}"), now).is_some()).count();
        assert_eq!(said, MOST_KINDS + 1);
        assert!(complaints.kinds.lock().is_ok_and(|kinds| kinds.len() <= MOST_KINDS + 1));
    }
}
