//! Turns at the work that takes a processor: unpacking and judging.
//!
//! At most as many bodies are worked on as there are threads, and the others wait in line: else they would wait among
//! the runtime's tasks, and whoever is to be refused at once, or only asks for health, would wait with them. When the
//! line gets slow no more is let in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// Whoever waited for longer than this is the sign that more comes than can be done.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// One for each thread.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    is_late: AtomicBool,
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        Self { free: Semaphore::new(threads), is_late: AtomicBool::new(false) }
    }

    /// Whether the one whose turn came last had waited for too long. False as soon as somebody need not wait.
    pub(super) fn are_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed) && self.free.available_permits() == 0
    }

    /// Waits for a turn, first come, first served. It ends when what is given here is dropped; nothing else may be
    /// waited for until then.
    ///
    /// # Cancel safety
    /// Whoever goes away loses the place in line.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.free.try_acquire() {
            self.is_late.store(false, Ordering::Relaxed);
            return Some(turn);
        }
        let asked = Instant::now();
        // It is never closed; if it were, there would be no line to wait in.
        let turn = self.free.acquire().await.ok();
        // Between two turns the thread looks at its sockets, which it otherwise does only when it has nothing to do.
        yield_now().await;
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
