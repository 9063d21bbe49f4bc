//! Records that belong in no schema: written down with their position, so that nothing vanishes.

use std::ops::ControlFlow;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::position::Position;
use super::refusal::Refusal;
use crate::store::Backoff;
use crate::tenant::OrganizationId;

/// One such record.
#[derive(Debug)]
pub(super) struct Unreadable<'a> {
    pub(super) position: Position,
    pub(super) offset: i64,
    /// What it names, where that can be read.
    pub(super) organization: Option<OrganizationId>,
    /// How many events it carries, where that can be read.
    pub(super) events: Option<i32>,
    pub(super) reason: &'a str,
    /// Its bytes; `None` for a removed organization, whose data is not kept.
    pub(super) record: Option<&'a [u8]>,
}

/// Writes it down, once however often it is read.
pub(super) async fn write(client: &impl GenericClient, unreadable: &Unreadable<'_>) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO rollbook.unreadable_record \
         (generation, partition, log_offset, organization_id, events, reason, record, seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, now()) ON CONFLICT DO NOTHING";
    client
        .execute_typed(
            INSERT,
            &[
                (&unreadable.position.generation, Type::INT4),
                (&unreadable.position.partition, Type::INT4),
                (&unreadable.offset, Type::INT8),
                (&unreadable.organization.map(|id| id.0), Type::UUID),
                (&unreadable.events, Type::INT4),
                (&unreadable.reason, Type::TEXT),
                (&unreadable.record, Type::BYTEA),
            ],
        )
        .await
        .map(|_| ())
}

/// Writes it down, waiting for as long as the server is away. Breaks when asked to stop.
pub(super) async fn write_until_done(
    shared: &Shared,
    unreadable: &Unreadable<'_>,
    stop: &CancellationToken,
) -> ControlFlow<()> {
    let mut backoff = Backoff::for_server();
    loop {
        match try_write(shared, unreadable).await {
            Ok(()) => return ControlFlow::Continue(()),
            Err(refused) => shared.condition.server.lost(refused.reason()),
        }
        tokio::select! {
            () = stop.cancelled() => return ControlFlow::Break(()),
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// Writes it down over a connection of the pool's.
pub(super) async fn try_write(shared: &Shared, unreadable: &Unreadable<'_>) -> Result<(), Refusal> {
    let client = shared.pool.get().await?;
    write(&*client, unreadable).await?;
    client.give_back();
    Ok(())
}
