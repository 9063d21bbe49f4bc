//! A lane whose schema cannot take records: they are held in the control schema, and a probe drains them.

use std::time::{Duration, Instant};

use super::super::backoff::Backoff;
use super::super::held_record::{HoldOutcome, ToHold, drain_some, hold};
use super::super::owner::{Nobody, Owner, owner_of};
use super::super::refusal::Refusal;
use super::{Lane, Next};

/// What a probe came to.
enum Probe {
    /// Nothing is held any more.
    Drained,
    /// The schema still refuses.
    Refused(String),
    /// The organization was removed meanwhile.
    Nobody(Nobody),
}

impl Lane {
    pub(super) async fn held(&mut self, mut reason: String) -> Next {
        let _counted = self.outcomes.count_lane("held");
        tracing::error!(organization.id = %self.organization, partition = self.position.partition, reason,
            "records are held until the organization's schema takes them");
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut probe_at = Instant::now() + backoff.next();
        loop {
            match self.hold_pending(&reason).await {
                Ok(HoldOutcome::Held) => {}
                Ok(HoldOutcome::OrganizationRemoved) => return Next::Unattributed(Nobody::Removed),
                Err(Stopped) => return Next::End,
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Next::End,
                () = tokio::time::sleep_until(probe_at.into()) => {
                    match self.probe().await {
                        Ok(Probe::Drained) => {
                            tracing::info!(organization.id = %self.organization, partition = self.position.partition,
                                "held records are drained");
                            return Next::Reopen;
                        }
                        Ok(Probe::Nobody(nobody)) => return Next::Unattributed(nobody),
                        Ok(Probe::Refused(again)) => reason = again,
                        Err(refused) => self.shared.condition.server.lost(refused.reason()),
                    }
                    probe_at = Instant::now() + backoff.next();
                }
                arrived = self.incoming.recv() => {
                    let Some(arrived) = arrived else { return Next::End };
                    self.pending.push_back(arrived);
                    while self.pending.len() < 1000 && let Ok(more) = self.incoming.try_recv() {
                        self.pending.push_back(more);
                    }
                }
            }
        }
    }

    /// Holds everything pending, waiting for as long as the server is away.
    async fn hold_pending(&mut self, reason: &str) -> Result<HoldOutcome, Stopped> {
        let mut backoff = Backoff::for_server();
        while !self.pending.is_empty() {
            match self.hold_some(reason).await {
                Ok(HoldOutcome::Held) => {}
                Ok(HoldOutcome::OrganizationRemoved) => return Ok(HoldOutcome::OrganizationRemoved),
                // Our own table refuses: nothing is lost by asking again, and nobody else's fault it is.
                Err(Refusal::Server(reason) | Refusal::Again(reason) | Refusal::Schema(reason)) => {
                    self.shared.condition.server.lost(&reason);
                    if self.wait(backoff.next()).await.is_break() {
                        return Err(Stopped);
                    }
                }
            }
        }
        Ok(HoldOutcome::Held)
    }

    async fn hold_some(&mut self, reason: &str) -> Result<HoldOutcome, Refusal> {
        let (mut count, mut bytes, mut events) = (0, 0, 0);
        let mut records = Vec::new();
        for arrived in &self.pending {
            if bytes >= self.shared.settings.batch_bytes {
                break;
            }
            let to_hold = ToHold {
                offset: arrived.record.offset,
                bytes: &arrived.record.bytes,
                events: i32::try_from(arrived.events).unwrap_or(i32::MAX),
            };
            records.push(to_hold);
            count += 1;
            bytes += arrived.record.bytes.len();
            events += arrived.events;
        }
        let client = self.shared.pool.get().await?;
        let outcome = hold(&client, self.organization, self.position, &records, reason).await?;
        drop(client);
        if outcome == HoldOutcome::Held {
            self.outcomes.held(events);
            self.finish_first(count);
        }
        Ok(outcome)
    }

    /// Asks whether the schema takes records again, by giving it those that are held.
    async fn probe(&self) -> Result<Probe, Refusal> {
        let statements = match owner_of(&self.shared, self.organization).await? {
            Owner::Nobody(nobody) => return Ok(Probe::Nobody(nobody)),
            Owner::Unusable(reason) => return Ok(Probe::Refused(reason)),
            Owner::Schema(statements) => statements,
        };
        let most_bytes = i64::try_from(self.shared.settings.batch_bytes).unwrap_or(i64::MAX);
        loop {
            let mut client = self.shared.pool.get().await?;
            let started = Instant::now();
            match drain_some(&mut client, &statements, self.organization, self.position, most_bytes).await {
                Ok(None) => return Ok(Probe::Drained),
                Ok(Some(drained)) => {
                    let fates = drained.fates;
                    (0..drained.unreadable).for_each(|_| self.outcomes.unreadable());
                    let rows = fates.stored + fates.duplicate + fates.dead;
                    self.outcomes.flushed(
                        &fates,
                        usize::try_from(rows).unwrap_or(usize::MAX),
                        started.elapsed(),
                    );
                }
                Err(error) => match Refusal::from(error) {
                    Refusal::Server(reason) => return Err(Refusal::Server(reason)),
                    Refusal::Again(reason) | Refusal::Schema(reason) => return Ok(Probe::Refused(reason)),
                },
            }
            if self.stop.is_cancelled() {
                return Ok(Probe::Refused("stopping".to_owned()));
            }
        }
    }
}

/// The lane was asked to stop.
struct Stopped;
