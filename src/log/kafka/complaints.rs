//! What librdkafka says, in our own log, at a bounded rate: while brokers are away each of its threads says so over and
//! over, of every client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long a complaint is not repeated.
const PERIOD: Duration = Duration::from_secs(30);
/// Kinds of complaints that are told apart; what comes beyond them is one kind together.
const MOST_KINDS: usize = 64;

/// All clients of this process: they say the same.
static COMPLAINTS: Mutex<Complaints> = Mutex::new(Complaints { kinds: None });

/// Sends a line of librdkafka's log to ours, unless one of its kind was said just now.
pub(super) fn trace_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if let RDKafkaLogLevel::Debug = level {
        // Only where an operator asks for it.
        tracing::debug!(facility, message, "librdkafka");
        return;
    }
    let Some(unwritten) = may_be_said(&format!("{facility} {message}")) else { return };
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, unwritten, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::info!(facility, message, unwritten, "librdkafka");
        }
    }
}

/// The same for an error that librdkafka tells of a client, or of a partition that it reads.
pub(super) fn trace_error(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return; // Asked for, and no error.
    }
    if let Some(unwritten) = may_be_said(&error.to_string()) {
        tracing::warn!(%error, reason, unwritten, "librdkafka");
    }
}

/// Whether something may be said now, and then how often it was not since it last was.
pub(super) fn may_be_said(what: &str) -> Option<u64> {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner).hear(&kind_of(what), Instant::now())
}

/// Complaints that differ in numbers only (ports, ids, milliseconds, counts) are of one kind.
fn kind_of(what: &str) -> String {
    what.chars().filter(|letter| !letter.is_ascii_digit()).take(200).collect()
}

/// When each kind of complaint was last said.
#[derive(Debug, Default)]
struct Complaints {
    /// `None` until there is one.
    kinds: Option<HashMap<String, Kind>>,
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    said_at: Instant,
    unwritten: u64,
}

impl Complaints {
    fn hear(&mut self, kind: &str, now: Instant) -> Option<u64> {
        let kinds = self.kinds.get_or_insert_default();
        if !kinds.contains_key(kind) && kinds.len() >= MOST_KINDS {
            kinds.retain(|_, kind| now < kind.said_at + PERIOD);
        }
        let is_one_too_many = !kinds.contains_key(kind) && kinds.len() >= MOST_KINDS;
        let kind = if is_one_too_many { "" } else { kind };
        match kinds.get_mut(kind) {
            Some(known) if now < known.said_at + PERIOD => {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_said_once_a_period_and_counted_in_between() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
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
    fn any_number_of_kinds_writes_a_bounded_number_of_lines() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let said = (0..10_000).filter(|n| complaints.hear(&format!("kind {n}"), now).is_some()).count();
        assert_eq!(said, MOST_KINDS + 1);
        assert!(complaints.kinds.is_some_and(|kinds| kinds.len() <= MOST_KINDS + 1));
    }
}
