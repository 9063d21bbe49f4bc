//! A lane whose schema cannot take records: they are held in the control schema, and a probe drains them.

use std::pin::Pin;
use std::time::{Duration, Instant};

use super::super::held_record::{HoldOutcome, drain_some};
use super::super::overdue::end_overdue;
use super::super::owner::{Nobody, Owner, owner_of};
use super::super::writer::Refusal;
use super::hold::Stopped;
use super::{Home, Lane, Next, take_what_came};
use crate::store::Backoff;

/// What a probe came to.
enum Probed {
    /// It found nothing held any more.
    Drained,
    /// The schema still refuses.
    Refused(String),
    /// The organization was removed meanwhile.
    Nobody(Nobody),
}

/// When a probe takes a connection.
#[derive(Clone, Copy)]
enum Turn {
    /// After the drains of others that came before.
    InLine,
    /// At once: its lane hears nothing until it is done.
    AtOnce,
}

type Probing = Pin<Box<dyn Future<Output = Result<Probed, Refusal>> + Send>>;

impl Lane {
    pub(super) async fn held(&mut self, mut reason: String) -> Next {
        let home = self.home.clone();
        let _counted = home.outcomes.count_lane("held");
        tracing::error!(organization.id = %home.organization, partition = home.position.partition, reason,
            "records are held until the organization's schema takes them");
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut probe_at = Instant::now() + backoff.next();
        // A slow schema makes for a slow probe, and what comes meanwhile must not fill the memory: it is held beside it.
        let mut probing: Option<Probing> = None;
        loop {
            match home.hold(&mut self.pending, &reason).await {
                Ok(HoldOutcome::Held) => {}
                Ok(HoldOutcome::OrganizationRemoved) => return Next::Unattributed(Nobody::Removed),
                Err(Stopped) => return Next::End,
            }
            let probed = tokio::select! {
                biased;
                () = home.stop.cancelled() => return Next::End,
                probed = if_any(&mut probing) => probed,
                () = tokio::time::sleep_until(probe_at.into()), if probing.is_none() => {
                    probing = Some(Box::pin(home.clone().probe(Turn::InLine)));
                    continue;
                }
                arrived = self.incoming.recv() => {
                    let Some(arrived) = arrived else { return Next::End };
                    self.pending.push_back(arrived);
                    take_what_came(&mut self.incoming, &mut self.pending);
                    continue;
                }
            };
            probing = None;
            let probed = match probed {
                // What came beside the probe may be held now. This one has nothing beside it, and little to do.
                Ok(Probed::Drained) => home.clone().probe(Turn::AtOnce).await,
                other => other,
            };
            match probed {
                Ok(Probed::Drained) => {
                    tracing::info!(organization.id = %home.organization, partition = home.position.partition,
                        "held records are drained");
                    return Next::Reopen;
                }
                Ok(Probed::Nobody(nobody)) => return Next::Unattributed(nobody),
                Ok(Probed::Refused(again)) => reason = again,
                Err(refused) => home.shared.condition.server.lost(refused.reason()),
            }
            probe_at = Instant::now() + backoff.next();
        }
    }
}

/// Never ends while there is none.
async fn if_any(probing: &mut Option<Probing>) -> Result<Probed, Refusal> {
    match probing {
        Some(probing) => probing.await,
        None => std::future::pending().await,
    }
}

impl Home {
    /// Asks whether the schema takes records again, by giving it those that are held.
    async fn probe(self, turn: Turn) -> Result<Probed, Refusal> {
        let statements = match owner_of(&self.shared, self.organization).await? {
            Owner::Nobody(nobody) => return Ok(Probed::Nobody(nobody)),
            Owner::Unusable(reason) => return Ok(Probed::Refused(reason)),
            Owner::Schema(statements) => statements,
        };
        let most_bytes = i64::try_from(self.shared.settings.hold_bytes()).unwrap_or(i64::MAX);
        while !self.stop.is_cancelled() {
            let _permit = match turn {
                // Never closed: an error would be no reason not to drain.
                Turn::InLine => self.shared.drains.acquire().await.ok(),
                Turn::AtOnce => None,
            };
            let mut client = self.shared.pool.get().await?;
            let started = Instant::now();
            let drained =
                drain_some(&mut client, &statements, self.organization, self.position, most_bytes).await;
            match drained {
                Ok(_) => client.give_back(),
                Err(_) => drop(client),
            }
            match drained {
                Ok(None) => return Ok(Probed::Drained),
                Ok(Some(drained)) => self.outcomes.drained(&drained, started.elapsed()),
                Err(error) => match Refusal::from(error) {
                    Refusal::Server(reason) => return Err(Refusal::Server(reason)),
                    Refusal::Slow(_) if self.has_ended_overdue().await? => {}
                    Refusal::Again(reason) | Refusal::Slow(reason) | Refusal::Schema(reason) => {
                        return Ok(Probed::Refused(reason));
                    }
                },
            }
        }
        Ok(Probed::Refused("stopping".to_owned()))
    }

    /// Whether a loader that stopped in the middle of something was in the way, and is no more.
    async fn has_ended_overdue(&self) -> Result<bool, Refusal> {
        let client = self.shared.pool.get().await?;
        // Where PUBLIC has lost the right to end connections, what is in the way stays there.
        let Ok(has_ended) = end_overdue(&client).await else { return Ok(false) };
        client.give_back();
        if has_ended {
            tracing::warn!(organization.id = %self.organization, partition = self.position.partition,
                "ended a connection of a loader that had stopped in the middle of a COPY");
        }
        Ok(has_ended)
    }
}
