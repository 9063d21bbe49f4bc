//! What waits in one lane, in bytes, and when that is too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// One lane's share of the memory. Over it, the lane must not make others wait.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    budget_bytes: usize,
    grew_over: Notify,
}

/// Bytes in a lane until dropped.
#[derive(Debug)]
pub(super) struct BacklogCharge {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(budget_bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), budget_bytes, grew_over: Notify::new() })
    }

    /// A record is given to the lane.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> BacklogCharge {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_over() {
            self.grew_over.notify_one();
        }
        BacklogCharge { backlog: Arc::clone(self), bytes }
    }

    /// Waits until the lane has more than its share.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn over(&self) {
        while !self.is_over() {
            self.grew_over.notified().await;
        }
    }

    fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.budget_bytes
    }
}

impl Drop for BacklogCharge {
    fn drop(&mut self) {
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_lane_is_over_its_share_until_enough_of_it_is_gone() {
        let backlog = Backlog::new(10);
        let first = backlog.charge(10);
        assert_eq!(backlog.over().now_or_never(), None);
        let second = backlog.charge(1);
        assert_eq!(backlog.over().now_or_never(), Some(()));
        drop(first);
        assert_eq!(backlog.over().now_or_never(), None);
        drop(second);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let backlog = Backlog::new(10);
        let waiting = tokio::spawn({
            let backlog = Arc::clone(&backlog);
            async move { backlog.over().await }
        });
        tokio::task::yield_now().await;
        let _charge = backlog.charge(11);
        waiting.await.expect("it ends");
    }
}
