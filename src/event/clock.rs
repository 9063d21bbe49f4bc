//! When an event happened, given two clocks that may disagree.

use super::RefusalCode::{InFuture, TooOld};
use super::UnixMillis;
use super::fault::Fault;

/// A client's clock is believed as long as it is not further off than this.
const TOLERATED_SKEW_MS: u64 = 60_000;
const OLDEST_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
const FURTHEST_AHEAD_MS: i64 = 24 * 60 * 60 * 1_000;

/// The clocks that decide when an event happened.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When intake received the batch.
    pub received_at: UnixMillis,
    /// When the client sent it, by its own clock.
    pub sent_at: Option<UnixMillis>,
}

impl Clock {
    /// The time of an event, given what the client's clock showed then. A client's clock that is off is put right by
    /// the difference at sending; network delay, which is in that difference too, is small against the tolerance.
    pub fn occurred_at(&self, client: UnixMillis) -> UnixMillis {
        let received = self.received_at.0;
        match self.sent_at {
            Some(UnixMillis(sent)) if received.abs_diff(sent) > TOLERATED_SKEW_MS => {
                UnixMillis(received.saturating_sub(sent.saturating_sub(client.0)))
            }
            _ => client,
        }
    }

    /// As [`Self::occurred_at`], if that is neither too old nor too far ahead.
    pub(super) fn judge(&self, client: UnixMillis) -> Result<UnixMillis, Fault> {
        let occurred = self.occurred_at(client);
        let age_ms = self.received_at.0.saturating_sub(occurred.0);
        if age_ms > OLDEST_MS {
            return Err(Fault::new(
                TooOld,
                format!("is {age_ms} ms ago, the limit is {OLDEST_MS} (30 days)"),
            ));
        }
        if age_ms < -FURTHEST_AHEAD_MS {
            let ahead_ms = age_ms.saturating_neg();
            return Err(Fault::new(
                InFuture,
                format!("is {ahead_ms} ms ahead, the limit is {FURTHEST_AHEAD_MS} (24 hours)"),
            ));
        }
        Ok(occurred)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_384_100_123;

    fn clock(sent: Option<i64>) -> Clock {
        Clock { received_at: UnixMillis(NOW), sent_at: sent.map(UnixMillis) }
    }

    fn occurred(sent: Option<i64>, client: i64) -> i64 {
        clock(sent).occurred_at(UnixMillis(client)).0
    }

    #[test]
    fn a_minute_of_skew_is_believed_and_more_is_put_right() {
        assert_eq!(occurred(None, NOW - 5), NOW - 5);
        assert_eq!(occurred(Some(NOW - 60_000), NOW - 65_000), NOW - 65_000);
        assert_eq!(occurred(Some(NOW - 60_001), NOW - 65_000), NOW - 4_999);
        assert_eq!(occurred(Some(NOW + 60_000), NOW + 59_000), NOW + 59_000);
        assert_eq!(occurred(Some(NOW + 60_001), NOW + 59_001), NOW - 1_000);
        // A clock that stands in 1970.
        assert_eq!(occurred(Some(10_000), 4_000), NOW - 6_000);
    }

    #[test]
    fn the_limits_themselves_are_taken() {
        let code = |client| clock(None).judge(UnixMillis(client)).map_err(|fault| fault.of_event(None).code);
        assert!(code(NOW - OLDEST_MS).is_ok());
        assert_eq!(code(NOW - OLDEST_MS - 1), Err(TooOld));
        assert!(code(NOW + FURTHEST_AHEAD_MS).is_ok());
        assert_eq!(code(NOW + FURTHEST_AHEAD_MS + 1), Err(InFuture));
    }

    proptest! {
        #[test]
        fn the_time_between_two_events_of_a_batch_stays(sent in -1_000_000_000..=1_000_000_000_i64, a in 0..1_000_000_i64, b in 0..1_000_000_i64) {
            let sent = NOW + sent;
            prop_assert_eq!(occurred(Some(sent), sent - a) - occurred(Some(sent), sent - b), b - a);
        }

        #[test]
        fn no_clock_overflows(received: i64, sent: Option<i64>, client: i64) {
            let clock = Clock { received_at: UnixMillis(received), sent_at: sent.map(UnixMillis) };
            let _any = clock.judge(UnixMillis(client));
        }
    }
}
