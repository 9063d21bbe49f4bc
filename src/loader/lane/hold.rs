//! Puts a lane's records into the control schema, in order.

use std::collections::VecDeque;

use super::super::arrived::Arrived;
use super::super::held_record::{HoldOutcome, ToHold, hold};
use super::super::writer::Refusal;
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
        while !records.is_empty() {
            let Some(count) = self.hold_first(records.iter(), reason).await? else {
                return Ok(HoldOutcome::OrganizationRemoved);
            };
            let held = records.drain(..count).inspect(|arrived| self.finish(arrived));
            self.outcomes.held(held.map(|arrived| arrived.events).sum());
        }
        Ok(HoldOutcome::Held)
    }

    /// Holds copies of all these records, which count as not safe yet: somebody is at work on them. Waits likewise.
    ///
    /// # Cancel safety
    /// Any of the copies may be held or not; holding them again is right.
    pub(super) async fn hold_copies(
        &self,
        records: &VecDeque<Arrived>,
        reason: &str,
    ) -> Result<HoldOutcome, Stopped> {
        let mut at = 0;
        while at < records.len() {
            let Some(count) = self.hold_first(records.range(at..), reason).await? else {
                return Ok(HoldOutcome::OrganizationRemoved);
            };
            at += count;
        }
        Ok(HoldOutcome::Held)
    }

    /// As many as one statement should take. `None`: the organization was removed.
    async fn hold_first(
        &self,
        records: impl Iterator<Item = &Arrived>,
        reason: &str,
    ) -> Result<Option<usize>, Stopped> {
        let mut bytes = 0;
        let mut to_hold = Vec::new();
        for arrived in records {
            if bytes >= self.shared.settings.hold_bytes() {
                break;
            }
            to_hold.push(ToHold {
                offset: arrived.record.offset,
                bytes: &arrived.record.bytes,
                events: i32::try_from(arrived.events).unwrap_or(i32::MAX),
            });
            bytes += arrived.record.bytes.len();
        }
        let mut backoff = Backoff::for_server();
        loop {
            match self.try_hold(&to_hold, reason).await {
                Ok(HoldOutcome::Held) => return Ok(Some(to_hold.len())),
                Ok(HoldOutcome::OrganizationRemoved) => return Ok(None),
                // Our own table refuses: nothing is lost by asking again, and nobody else's fault it is.
                Err(refused) => {
                    self.shared.condition.server.lost(refused.reason());
                    if self.wait(backoff.next()).await.is_break() {
                        return Err(Stopped);
                    }
                }
            }
        }
    }

    async fn try_hold(&self, to_hold: &[ToHold<'_>], reason: &str) -> Result<HoldOutcome, Refusal> {
        let client = self.shared.pool.get().await?;
        let outcome = hold(&client, self.organization, self.position, to_hold, reason).await?;
        client.give_back();
        Ok(outcome)
    }
}
