//! A lane that has more than its share of the memory while a flush is in flight: what comes behind is held, so that its
//! neighbours do not wait.
//!
//! That is safe because whoever has begun to hold here opens the lane anew after the flush, and a lane with held records
//! does not go live. It is not free: what is held is written twice. So a lane that is only catching up, with a schema
//! that takes its records as fast as the database can, lets the log wait instead.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::super::arrived::Arrived;
use super::home::Home;
use crate::event::UnixMillis;

/// A flush that takes longer than this is a slow schema's.
const SLOW: Duration = Duration::from_secs(1);
/// Records younger than this come from now, and so do the neighbours' behind them.
const FRESH_MS: i64 = 5_000;

/// What came in while a flush was in flight.
#[derive(Debug, Default)]
pub(super) struct Spill {
    /// Not held, or not known to be.
    pub(super) records: VecDeque<Arrived>,
    /// Whether holding was begun: the lane cannot stay live.
    pub(super) has_begun: bool,
}

impl Spill {
    /// Takes in what comes while the lane has more than its share, and holds it. Never ends by itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: see [`Spill`].
    pub(super) async fn run(
        &mut self,
        home: &Home,
        incoming: &mut UnboundedReceiver<Arrived>,
        reason: &str,
    ) -> Infallible {
        let slow_at = Instant::now() + SLOW;
        loop {
            home.backlog.over().await;
            let may_wait = !self.has_begun && Instant::now() < slow_at;
            tokio::select! {
                biased;
                arrived = incoming.recv() => {
                    let Some(arrived) = arrived else { return std::future::pending().await };
                    let age_ms = UnixMillis::now().0.saturating_sub(arrived.received_at.0);
                    self.records.push_back(arrived);
                    if may_wait && age_ms >= FRESH_MS {
                        continue;
                    }
                }
                () = tokio::time::sleep_until(slow_at.into()), if !self.has_begun && !self.records.is_empty() => {}
            }
            self.has_begun = true;
            while self.records.len() < 1000
                && let Ok(more) = incoming.try_recv()
            {
                self.records.push_back(more);
            }
            // Stopping, or an organization that was removed: the lane finds out when it opens again.
            if home.hold(&mut self.records, reason).await.is_err() || !self.records.is_empty() {
                return std::future::pending().await;
            }
        }
    }
}
