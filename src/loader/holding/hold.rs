//! Records that are held, in the loader's own role: put there, and looked for.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::loader::position::Position;
use crate::tenant::OrganizationId;

/// One record to be held.
#[derive(Debug)]
pub(in crate::loader) struct ToHold<'a> {
    pub(in crate::loader) offset: i64,
    pub(in crate::loader) bytes: &'a [u8],
    pub(in crate::loader) events: i32,
}

/// What became of records that were to be held.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::loader) enum HoldOutcome {
    /// They are held, by us or by an owner before us.
    Held,
    /// The organization was removed: nothing is held for it.
    OrganizationRemoved,
    /// This database has no such organization: it went back to before there was one. Nothing is held.
    OrganizationUnknown,
}

/// Holds records in one statement, as the loader's own role.
pub(in crate::loader) async fn hold(
    client: &Client,
    organization: OrganizationId,
    position: Position,
    records: &[ToHold<'_>],
    reason: &str,
) -> Result<HoldOutcome, Error> {
    const HOLD: &str = "INSERT INTO rollbook.held_record \
         (generation, partition, log_offset, organization_id, record, events, reason, held_at) \
         SELECT $1, $2, log_offset, $3, record, events, $4, now() \
         FROM unnest($5, $6, $7) AS records (log_offset, record, events) \
         ON CONFLICT (generation, partition, log_offset) DO NOTHING";
    let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
    let bytes: Vec<&[u8]> = records.iter().map(|record| record.bytes).collect();
    let events: Vec<i32> = records.iter().map(|record| record.events).collect();
    client
        .execute_typed(
            HOLD,
            &[
                (&position.generation, Type::INT4),
                (&position.partition, Type::INT4),
                (&organization.0, Type::UUID),
                (&reason, Type::TEXT),
                (&offsets, Type::INT8_ARRAY),
                (&bytes, Type::BYTEA_ARRAY),
                (&events, Type::INT4_ARRAY),
            ],
        )
        .await?;
    // The trigger passes over records of a removed organization; the state, read after it, says whether it did.
    const STATE: &str = "SELECT state = 'removed' FROM rollbook.organization WHERE id = $1";
    let is_removed = client.query_typed_opt(STATE, &[(&organization.0, Type::UUID)]).await?;
    Ok(match is_removed.map(|row| row.get(0)) {
        Some(false) => HoldOutcome::Held,
        Some(true) => HoldOutcome::OrganizationRemoved,
        None => HoldOutcome::OrganizationUnknown,
    })
}

/// The lanes of these partitions that have held records: they have to be opened though nothing new comes for them.
pub(in crate::loader) async fn lanes_with_held(
    client: &Client,
    generation: i32,
    partitions: &[i32],
) -> Result<Vec<(i32, OrganizationId)>, Error> {
    const LANES: &str = "SELECT DISTINCT partition, organization_id FROM rollbook.held_record \
         WHERE generation = $1 AND partition = ANY($2)";
    let rows =
        client.query_typed(LANES, &[(&generation, Type::INT4), (&partitions, Type::INT4_ARRAY)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), OrganizationId(row.get(1)))).collect())
}
