//! Turns at the work that takes a processor: unpacking and judging.
//!
//! At most as many bodies are worked on as there are threads, and the others wait in line. What takes long is done beside
//! the runtime's threads: those go on reading requests, so that whoever is to be refused, or only asks for health, is
//! answered at once however much there is to do. When the line gets slow no more is let in.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::problem::Problem;

/// Whoever waited for longer than this is the sign that more comes than can be done. It is also what those wait at most
/// who are let in: the line is no longer than that.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// A body up to this size is worked on where it was read: handing it over would cost more.
const SMALL_BYTES: usize = 64 * 1024;

/// One for each thread.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    is_late: AtomicBool,
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(threads)), is_late: AtomicBool::new(false) }
    }

    /// Whether the one whose turn came last had waited for too long. False as soon as somebody need not wait.
    pub(super) fn are_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed) && self.free.available_permits() == 0
    }

    /// Waits for a turn, and works on so many bytes. No more threads than there are turns ever do that, so that what
    /// they keep of the memory they used is bounded too.
    ///
    /// # Cancel safety
    /// Whoever goes away loses the place in line; work that was begun is done to its end, and thrown away.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.take().await;
        if bytes <= SMALL_BYTES {
            return Ok(work());
        }
        // The turn ends when the thread is free again: else the next one would find it busy, and make another.
        match spawn_blocking(move || (work(), turn)).await {
            Ok((worked, _turn)) => Ok(worked),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Err(Problem::Draining),
            },
        }
    }

    /// First come, first served.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            self.is_late.store(false, Ordering::Relaxed);
            return Some(turn);
        }
        let asked = Instant::now();
        // It is never closed; if it were, there would be no line to wait in.
        let turn = Arc::clone(&self.free).acquire_owned().await.ok();
        self.is_late.store(asked.elapsed() > LONGEST_WAIT, Ordering::Relaxed);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_long_shows_that_there_is_too_much_until_somebody_need_not_wait() {
        let turns = Turns::new(1);
        let first = turns.take().await;
        let (second, ()) = tokio::join!(turns.take(), async {
            assert!(!turns.are_late(), "nobody has waited yet");
            std::thread::sleep(LONGEST_WAIT + Duration::from_millis(1));
            drop(first);
        });
        assert!(turns.are_late());
        drop(second);
        assert!(!turns.are_late());
        let third = turns.take().await;
        assert!(!turns.are_late());
        drop(third);
    }
}
