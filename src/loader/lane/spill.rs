//! A lane that has more than its share of the memory while a flush is in flight: what comes behind is held, so that its
//! neighbours do not wait.
//!
//! Two rules make that safe. Whoever has begun to hold here leaves the live state after the flush, and a lane with held
//! records does not go live. And what is in the flush, or waits behind it, is held before anything that comes: the flush
//! may come to nothing and its loader too, and whoever drains then must not find the later records without the earlier.
//!
//! It is not free: what is held is written twice. So a lane that is only catching up, with a schema that takes its
//! records as fast as the database can, lets the log wait instead.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::super::arrived::Arrived;
use super::super::held_record::HoldOutcome;
use super::home::Home;
use super::take_what_came;
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
    /// Takes in what comes while the lane has more than its share, and holds it behind what is `in_front`: in the flush,
    /// or waiting for the next. Never ends by itself.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: see [`Spill`].
    pub(super) async fn run(
        &mut self,
        home: &Home,
        in_front: &VecDeque<Arrived>,
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
            // Stopping, or an organization that was removed: the lane finds out when it opens again.
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            if is_first && !matches!(home.hold_copies(in_front, reason).await, Ok(HoldOutcome::Held)) {
                return std::future::pending().await;
            }
            take_what_came(incoming, &mut self.records);
            if !matches!(home.hold(&mut self.records, reason).await, Ok(HoldOutcome::Held)) {
                return std::future::pending().await;
            }
        }
    }
}
