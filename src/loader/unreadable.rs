//! Records that belong in no schema: written down with their position, so that nothing vanishes.

use std::ops::ControlFlow;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Shared;
use super::position::Position;
use super::writer::Refusal;
use crate::store::Backoff;
use crate::tenant::OrganizationId;

/// No more than this in one statement.
pub(super) const MOST_RECORDS: usize = 1000;

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

/// Writes them down in one statement, each once however often it is read.
pub(super) async fn write(client: &impl GenericClient, unreadable: &[Unreadable<'_>]) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO rollbook.unreadable_record \
         (generation, partition, log_offset, organization_id, events, reason, record, seen_at) \
         SELECT generation, partition, log_offset, organization_id, events, reason, record, now() \
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS records \
             (generation, partition, log_offset, organization_id, events, reason, record) \
         ON CONFLICT DO NOTHING";
    let generations: Vec<i32> = unreadable.iter().map(|one| one.position.generation).collect();
    let partitions: Vec<i32> = unreadable.iter().map(|one| one.position.partition).collect();
    let offsets: Vec<i64> = unreadable.iter().map(|one| one.offset).collect();
    let organizations: Vec<Option<Uuid>> =
        unreadable.iter().map(|one| one.organization.map(|id| id.0)).collect();
    let events: Vec<Option<i32>> = unreadable.iter().map(|one| one.events).collect();
    let reasons: Vec<&str> = unreadable.iter().map(|one| one.reason).collect();
    let records: Vec<Option<&[u8]>> = unreadable.iter().map(|one| one.record).collect();
    client
        .execute_typed(
            INSERT,
            &[
                (&generations, Type::INT4_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&offsets, Type::INT8_ARRAY),
                (&organizations, Type::UUID_ARRAY),
                (&events, Type::INT4_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&records, Type::BYTEA_ARRAY),
            ],
        )
        .await
        .map(|_| ())
}

/// Writes them down, waiting for as long as the server is away. Breaks when asked to stop.
pub(super) async fn write_until_done(
    shared: &Shared,
    unreadable: &[Unreadable<'_>],
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

/// Writes them down over a connection of the pool's.
pub(super) async fn try_write(shared: &Shared, unreadable: &[Unreadable<'_>]) -> Result<(), Refusal> {
    let client = shared.pool.get().await?;
    write(&*client, unreadable).await?;
    client.give_back();
    Ok(())
}
