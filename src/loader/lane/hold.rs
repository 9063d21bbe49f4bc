//! Puts a lane's records into the control schema, in order.

use std::collections::VecDeque;

use super::super::arrived::Arrived;
use super::super::held_record::{HoldOutcome, ToHold, hold};
use super::super::refusal::Refusal;
use super::home::Home;
use crate::store::Backoff;

/// The lane was asked to stop before all was held.
#[derive(Debug)]
pub(super) struct Stopped;

impl Home {
    /// Holds all these records, waiting for as long as the server is away. What is held leaves `records`.
    ///
    /// # Cancel safety
    /// What is still in `records` may be held or not; holding it again is right.
    pub(super) async fn hold(
        &self,
        records: &mut VecDeque<Arrived>,
        reason: &str,
    ) -> Result<HoldOutcome, Stopped> {
        let mut backoff = Backoff::for_server();
        while !records.is_empty() {
            match self.hold_first(records, reason).await {
                Ok(HoldOutcome::Held) => {}
                Ok(HoldOutcome::OrganizationRemoved) => return Ok(HoldOutcome::OrganizationRemoved),
                // Our own table refuses: nothing is lost by asking again, and nobody else's fault it is.
                Err(refused) => {
                    self.shared.condition.server.lost(refused.reason());
                    if self.wait(backoff.next()).await.is_break() {
                        return Err(Stopped);
                    }
                }
            }
        }
        Ok(HoldOutcome::Held)
    }

    /// As many as one statement should take.
    async fn hold_first(
        &self,
        records: &mut VecDeque<Arrived>,
        reason: &str,
    ) -> Result<HoldOutcome, Refusal> {
        let (mut bytes, mut events) = (0, 0);
        let mut to_hold = Vec::new();
        for arrived in &*records {
            if bytes >= self.shared.settings.hold_bytes() {
                break;
            }
            to_hold.push(ToHold {
                offset: arrived.record.offset,
                bytes: &arrived.record.bytes,
                events: i32::try_from(arrived.events).unwrap_or(i32::MAX),
            });
            bytes += arrived.record.bytes.len();
            events += arrived.events;
        }
        let count = to_hold.len();
        let client = self.shared.pool.get().await?;
        let outcome = hold(&client, self.organization, self.position, &to_hold, reason).await?;
        drop(client);
        if outcome == HoldOutcome::Held {
            self.outcomes.held(events);
            records.drain(..count).for_each(|arrived| self.finish(&arrived));
        }
        Ok(outcome)
    }
}
