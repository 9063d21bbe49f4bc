//! The operator's connections: few, and a newcomer always finds a place.
//!
//! Where there are more than that, the one that has asked for nothing for the longest time is closed. So it matters little
//! how long each of them may be silent, or takes for its headers: a probe that had to wait for them would take the process for
//! dead.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Scrapers and probes are few.
pub(super) const MOST_GUESTS: usize = 64;

/// All that are connected.
#[derive(Debug, Default)]
pub(super) struct Guests {
    connected: Arc<Mutex<Connected>>,
}

/// By the order in which they last asked for something.
#[derive(Debug, Default)]
struct Connected {
    by_last_request: BTreeMap<u64, CancellationToken>,
    requests: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Guest {
    connected: Arc<Mutex<Connected>>,
    /// Its number among the others. Written under their lock.
    last_request: AtomicU64,
    has_asked: AtomicBool,
    sent_away: CancellationToken,
}

impl Guests {
    /// Lets one in, in the place of another one if need be. `stop` sends it away, too.
    pub(super) fn enter(&self, stop: &CancellationToken) -> Guest {
        let sent_away = stop.child_token();
        let mut connected = lock(&self.connected);
        if connected.by_last_request.len() == MOST_GUESTS
            && let Some((_, longest)) = connected.by_last_request.pop_first()
        {
            longest.cancel();
        }
        let last_request = AtomicU64::new(connected.push(sent_away.clone()));
        let connected = Arc::clone(&self.connected);
        Guest { connected, last_request, has_asked: AtomicBool::new(false), sent_away }
    }
}

impl Guest {
    /// A request begins: of all of them this one now waits for the shortest time.
    pub(super) fn asks(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        let mut connected = lock(&self.connected);
        if let Some(guest) = connected.by_last_request.remove(&self.last_request.load(Ordering::Relaxed)) {
            self.last_request.store(connected.push(guest), Ordering::Relaxed);
        }
    }

    /// Ends when it has asked for nothing for so long from now on, and never when it has.
    pub(super) async fn asks_nothing_for(&self, time: Duration) {
        sleep(time).await;
        if self.has_asked.load(Ordering::Relaxed) {
            pending().await
        }
    }

    /// Ends when its place was given to another one.
    pub(super) async fn sent_away(&self) {
        self.sent_away.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.connected).by_last_request.remove(&self.last_request.load(Ordering::Relaxed));
    }
}

impl Connected {
    /// Puts one behind all others, and gives its number.
    fn push(&mut self, guest: CancellationToken) -> u64 {
        self.requests += 1;
        self.by_last_request.insert(self.requests, guest);
        self.requests
    }
}

fn lock(connected: &Mutex<Connected>) -> MutexGuard<'_, Connected> {
    connected.lock().unwrap_or_else(PoisonError::into_inner)
}
