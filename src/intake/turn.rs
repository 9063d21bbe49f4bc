//! Turns at the work that takes a processor: unpacking and judging.
//!
//! At most as many bodies are worked on as there are threads, and the others wait in line. What takes long is done beside
//! the runtime's threads: those go on reading requests, so that whoever is to be refused, or only asks for health, is
//! answered at once however much there is to do. When the line gets slow no more is let in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::block_in_place;

/// Whoever waited for longer than this is the sign that more comes than can be done. It is also what those wait at most
/// who are let in: the line is no longer than that.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// A body up to this size is worked on where it was read: handing the thread's other tasks over would cost more.
const SMALL_BYTES: usize = 16 * 1024;

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
        self.is_late.store(asked.elapsed() > LONGEST_WAIT, Ordering::Relaxed);
        turn
    }
}

/// Works on a body of this size, which may unpack to more.
pub(super) fn work<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_other_threads = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > SMALL_BYTES && has_other_threads { block_in_place(work) } else { work() }
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
