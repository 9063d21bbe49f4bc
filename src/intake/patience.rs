//! How long a connection may be silent.
//!
//! Hyper has one timeout for a request's headers and for the wait before them. A client that is slow in its headers
//! is cut off in seconds; one that keeps its connection for the next request is welcome to do so for longer than any
//! load balancer would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What a connection gets to finish writing when patience is at its end.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);
/// No first byte of a next request yet.
const NOT_BEGUN: u64 = u64::MAX;

/// What one connection has done so far. Times are milliseconds since it was opened.
#[derive(Debug)]
pub(super) struct Patience {
    opened: Instant,
    header_timeout: Duration,
    idle_timeout: Duration,
    in_flight: AtomicU32,
    has_served: AtomicBool,
    is_http2: AtomicBool,
    /// Since when no request is in flight.
    idle_since_ms: AtomicU64,
    /// When the first byte of the next request arrived.
    head_since_ms: AtomicU64,
}

/// A request in flight, until the last of its parts ends: its reply is made, and what is left of its body is read away.
pub(super) struct Busy {
    patience: Arc<Patience>,
}

impl Patience {
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            opened: Instant::now(),
            header_timeout,
            idle_timeout,
            in_flight: AtomicU32::new(0),
            has_served: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(NOT_BEGUN),
        }
    }

    /// A request's headers are complete.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.has_served.store(true, Ordering::Relaxed);
        self.is_http2.store(is_http2, Ordering::Relaxed);
        Busy { patience: Arc::clone(self) }
    }

    /// Since when no request is in flight; `None` while one is.
    pub(super) fn resting_since(&self) -> Option<Instant> {
        let is_busy = self.in_flight.load(Ordering::Relaxed) > 0;
        let rested = || Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
        (!is_busy).then(|| self.opened + rested())
    }

    /// Whether a request ever came.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// Bytes arrived; between requests they are the next one's first.
    pub(super) fn bytes_arrived(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0
            && self.head_since_ms.load(Ordering::Relaxed) == NOT_BEGUN
        {
            self.head_since_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// When to look at the connection again; a time that has come means that patience is at its end.
    pub(super) fn look_again(&self, now: Instant) -> Instant {
        // Often enough to notice a request that begins while we wait for it.
        let soon = now + self.header_timeout / 4;
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return soon;
        }
        let head_since_ms = self.head_since_ms.load(Ordering::Relaxed);
        let end = if !self.has_served() {
            // A port scanner and half a preface look alike: the first request must come soon.
            self.opened + self.header_timeout
        } else if head_since_ms != NOT_BEGUN && !self.is_http2.load(Ordering::Relaxed) {
            // HTTP/2 sends pings and window updates between requests: bytes say nothing there.
            self.opened + Duration::from_millis(head_since_ms) + self.header_timeout
        } else {
            let idle_since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
            self.opened + idle_since + self.idle_timeout
        };
        end.min(soon)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        self.patience.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { patience: Arc::clone(&self.patience) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.patience.idle_since_ms.store(self.patience.now_ms(), Ordering::Relaxed);
        self.patience.head_since_ms.store(NOT_BEGUN, Ordering::Relaxed);
        self.patience.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Arc<Patience> {
        Arc::new(Patience::new(Duration::from_secs(10), Duration::from_secs(75)))
    }

    /// Follows the advice until it is to give up; whole seconds from now to then.
    async fn seconds_of(patience: &Patience) -> u64 {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            match patience.look_again(now) {
                later if later > now => tokio::time::sleep_until(later).await,
                _ => return (now - start).as_secs(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_asks_is_closed_soon() {
        let patience = patience();
        patience.bytes_arrived();
        assert_eq!(seconds_of(&patience).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_rest() {
        let patience = patience();
        drop(patience.begin(false));
        assert_eq!(seconds_of(&patience).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_next_request_that_never_ends_its_headers_is_cut_off() {
        let patience = patience();
        drop(patience.begin(false));
        tokio::time::sleep(Duration::from_secs(30)).await;
        patience.bytes_arrived();
        assert_eq!(seconds_of(&patience).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_refused_body_is_not_the_beginning_of_the_next_request() {
        let patience = patience();
        let busy = patience.begin(false);
        let reading_away = busy.clone();
        drop(busy);
        patience.bytes_arrived();
        assert_eq!(patience.resting_since(), None);
        drop(reading_away);
        assert_eq!(seconds_of(&patience).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_is_waited_for() {
        let patience = patience();
        let busy = patience.begin(true);
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        assert!(patience.look_again(Instant::now()) > Instant::now());
        drop(busy);
        patience.bytes_arrived();
        assert_eq!(seconds_of(&patience).await, 75);
    }
}
