//! Whether the partitions that we read are still the log that was loaded: asked when they are assigned, before the first
//! record goes to a lane, and now and then afterwards.
//!
//! A schema that cannot be read here is passed over: its lane finds out for itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::Shared;
use super::position::{Position, Watermark};
use super::writer::{Refusal, Statements, watermark};
use crate::config::log::LogSettings;
use crate::log::{Discontinuity, Remembered, ScanError, Scanner, partition_of};
use crate::store::Backoff;
use crate::tenant::Tenant;

/// A broker that has just come back may for a moment know less than it has: what is wrong must be wrong twice.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Occasion {
    /// The partitions were assigned: what their schemas say is read first.
    Assigned,
    /// They are being read.
    Running,
}

/// One partition to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToLookAt {
    pub(super) partition: i32,
    /// Tells one assignment of it from the next.
    pub(super) assignment: u64,
    pub(super) next_offset: Option<i64>,
    /// The highest watermark that is known, or was found meanwhile.
    pub(super) highest: Option<Watermark>,
}

/// One partition, looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) at: ToLookAt,
    /// Why it must not be read on.
    pub(super) discontinuity: Option<Discontinuity>,
}

/// Looks until both Postgres and the log have answered.
pub(super) async fn look(
    shared: &Shared,
    log: &LogSettings,
    group: &str,
    occasion: Occasion,
    mut partitions: Vec<ToLookAt>,
) -> Vec<Looked> {
    let mut backoff = Backoff::for_server();
    if let Occasion::Assigned = occasion {
        loop {
            match read_watermarks(shared, log, group, &mut partitions).await {
                Ok(()) => break,
                Err(Unanswered::Postgres(reason)) => shared.condition.server.lost(&reason),
                Err(Unanswered::Log(error)) => say_unanswered(&error),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }
    backoff.reset();
    let mut found = verify(log, group, &partitions, &mut backoff).await;
    if !found.is_empty() {
        tokio::time::sleep(SECOND_LOOK).await;
        found = verify(log, group, &partitions, &mut backoff).await;
    }
    let looked = |at: ToLookAt| Looked { at, discontinuity: found.get(&at.partition).copied() };
    partitions.into_iter().map(looked).collect()
}

/// Who did not answer.
enum Unanswered {
    Postgres(String),
    Log(ScanError),
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Postgres(refusal.reason().to_owned())
    }
}

async fn verify(
    log: &LogSettings,
    group: &str,
    partitions: &[ToLookAt],
    backoff: &mut Backoff,
) -> HashMap<i32, Discontinuity> {
    let remembered: Vec<Remembered> = partitions
        .iter()
        .map(|one| Remembered {
            partition: one.partition,
            next_offset: one.next_offset,
            anchor: one.highest.map(Watermark::anchor),
        })
        .collect();
    loop {
        let remembered = remembered.clone();
        match Scanner::ask(log, group, move |scanner| scanner.verify(&remembered)).await {
            Ok(found) => return found,
            Err(error) => say_unanswered(&error),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// The highest watermark of each partition, over the organizations whose records go there.
async fn read_watermarks(
    shared: &Shared,
    log: &LogSettings,
    group: &str,
    partitions: &mut [ToLookAt],
) -> Result<(), Unanswered> {
    let ends = Scanner::ask(log, group, Scanner::ends).await.map_err(Unanswered::Log)?;
    let count = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    let mut client = shared.pool.get().await.map_err(Refusal::from)?;
    for tenant in shared.directory.record_owners() {
        let place = partition_of(tenant.slug().as_str(), count);
        let Some(one) = partitions.iter_mut().find(|one| i64::from(one.partition) == i64::from(place)) else {
            continue;
        };
        match watermark_of(&mut client, shared, &tenant, one.partition).await.map_err(Refusal::from) {
            Ok(found) => one.highest = Watermark::higher(one.highest, found),
            Err(Refusal::Server(reason)) => return Err(Unanswered::Postgres(reason)),
            Err(refused @ (Refusal::Schema(_) | Refusal::Slow(_) | Refusal::Again(_))) => {
                client = shared.pool.get().await.map_err(Refusal::from)?;
                tracing::debug!(organization.id = %tenant.id(), reason = refused.reason(), "a watermark cannot be read");
            }
        }
    }
    client.give_back();
    shared.condition.server.answered();
    Ok(())
}

async fn watermark_of(
    client: &mut Client,
    shared: &Shared,
    tenant: &Tenant,
    partition: i32,
) -> Result<Option<Watermark>, Error> {
    let statements = Statements::new(tenant, &shared.roles, &shared.settings);
    let position = Position { generation: shared.generation, partition };
    let transaction = client.transaction().await?;
    transaction.batch_execute(&statements.enter_role).await?;
    // One that is locked must not keep all the others waiting.
    transaction.batch_execute("SET LOCAL lock_timeout = 50").await?;
    let found = watermark(transaction.client(), &statements.read_watermark, position, tenant.id()).await?;
    transaction.commit().await?;
    Ok(found)
}

fn say_unanswered(error: &ScanError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "the log could not be compared with what was loaded; asking again");
}
