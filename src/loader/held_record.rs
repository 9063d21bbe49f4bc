//! Records that their schema cannot take now: kept in order in the control schema, and drained from there.
//!
//! The rules (each of them, left out, loses or doubles something): hold never touches the tenant's watermark; the log's
//! offset is committed only after the hold; nothing is held unless all before it is stored or held; a lane opens by
//! reading its watermark and whether records are held, and does not go live while any are; a drain writes the rows and
//! the watermark in the organization's role, and deletes in the same transaction; what lies below the watermark is
//! deleted unwritten.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, IsolationLevel};

use super::position::{Position, Watermark};
use super::unreadable::{self, Unreadable};
use super::writer::{
    Fates, Limits, Manner, Prepared, Refusal, Source, Statements, Unfit, UnfitRecord, Way, WriteError,
    any_held, enter, store, watermark,
};
use crate::tenant::OrganizationId;

/// One record to be held.
#[derive(Debug)]
pub(super) struct ToHold<'a> {
    pub(super) offset: i64,
    pub(super) bytes: &'a [u8],
    pub(super) events: i32,
}

/// What became of records that were to be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HoldOutcome {
    /// They are held, by us or by an owner before us.
    Held,
    /// The organization was removed: nothing is held for it.
    OrganizationRemoved,
}

/// Holds records in one statement, as the loader's own role.
pub(super) async fn hold(
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
    // Its row stays for ever: no row is no answer, and never a reason to let records go.
    let is_removed = client.query_typed_one(STATE, &[(&organization.0, Type::UUID)]).await?.get(0);
    Ok(if is_removed { HoldOutcome::OrganizationRemoved } else { HoldOutcome::Held })
}

/// What is drained at a time is bounded where it is read.
const ALL_OF_THEM: Limits = Limits { rows: usize::MAX, bytes: usize::MAX };

/// How a lane finds its schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The schema's watermark for the partition.
    pub(super) watermark: Option<Watermark>,
    /// Whether records are held that come before anything new.
    pub(super) any_held: bool,
}

/// Reads the watermark and whether records are held, in one snapshot. Read a moment apart, with a drain in between, they
/// would only cost the lane a flush that finds the watermark moved, and another opening.
pub(super) async fn open(
    client: &mut Client,
    statements: &Statements,
    organization: OrganizationId,
    position: Position,
) -> Result<Opening, Error> {
    let transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let any_held = any_held(transaction.client(), position, organization).await?;
    transaction.batch_execute(&statements.enter_role).await?;
    let watermark =
        watermark(transaction.client(), &statements.read_watermark, position, organization).await?;
    transaction.commit().await?;
    Ok(Opening { watermark, any_held })
}

/// Why a drain did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrainError {
    /// Postgres or the schema refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Another loader drains this organization, or wrote to it in between.
    #[error("another loader is at it")]
    Busy,
    /// The row says that the record is this organization's, the record says that it is not. A person should look.
    #[error(transparent)]
    Unfit(#[from] UnfitRecord),
}

impl From<Error> for DrainError {
    fn from(error: Error) -> Self {
        Self::Write(error.into())
    }
}

impl From<DrainError> for Refusal {
    fn from(error: DrainError) -> Self {
        match error {
            DrainError::Write(error) => error.into(),
            DrainError::Busy => Self::Again(error.to_string()),
            DrainError::Unfit(_) => Self::Schema(error.to_string()),
        }
    }
}

/// What one transaction of a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Held records that are held no longer; those below the watermark were stored before, and are not in the fates.
    pub records: usize,
    /// What became of their events.
    pub fates: Fates,
    /// Records among them whose events cannot be decoded: written down, with their bytes.
    pub unreadable: usize,
}

/// Stores the first held records of a lane, up to `most_bytes` of them (at least one), in one transaction. `None`: none
/// are held.
pub(super) async fn drain_some(
    client: &mut Client,
    statements: &Statements,
    organization: OrganizationId,
    position: Position,
    most_bytes: i64,
) -> Result<Option<Drained>, DrainError> {
    /// A byte is too little for two records, and enough for one.
    const ONE_RECORD: i64 = 1;
    let at_once = Manner::AtOnce(Way::AskFirst);
    let refused = match attempt(client, statements, organization, position, most_bytes, at_once).await {
        Err(DrainError::Write(refused)) if refused.is_of_rows() => refused,
        drained => return drained,
    };
    tracing::debug!(organization.id = %organization, %refused, "looking for the refused rows among the held ones");
    match attempt(client, statements, organization, position, most_bytes, Manner::Halving).await {
        // Too many for one flush may be few in each of its records, and those of one record alone stand in nobody's way.
        Err(DrainError::Write(WriteError::TooManyDead { .. })) if most_bytes > ONE_RECORD => {
            attempt(client, statements, organization, position, ONE_RECORD, Manner::Halving).await
        }
        drained => drained,
    }
}

async fn attempt(
    client: &mut Client,
    statements: &Statements,
    organization: OrganizationId,
    position: Position,
    most_bytes: i64,
    manner: Manner,
) -> Result<Option<Drained>, DrainError> {
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('rollbook drain ' || $1::text, 0))";
    const FIRST: &str = "SELECT log_offset, record FROM ( \
             SELECT log_offset, record, \
                 sum(octet_length(record)) OVER (ORDER BY log_offset) - octet_length(record) AS bytes_before \
             FROM (SELECT log_offset, record FROM rollbook.held_record \
                 WHERE generation = $1 AND partition = $2 AND organization_id = $3 \
                 ORDER BY log_offset LIMIT 1000) AS first \
         ) AS measured WHERE bytes_before < $4 ORDER BY log_offset";
    const DELETE: &str = "DELETE FROM rollbook.held_record \
         WHERE generation = $1 AND partition = $2 AND organization_id = $3 AND log_offset <= $4";

    let transaction = client.transaction().await?;
    let locked = transaction.query_typed_one(LOCK, &[(&organization.0.to_string(), Type::TEXT)]).await?;
    if !locked.get::<_, bool>(0) {
        return Err(DrainError::Busy);
    }
    let (generation, partition, id) = (position.generation, position.partition, organization.0);
    let held = transaction
        .query_typed(
            FIRST,
            &[
                (&generation, Type::INT4),
                (&partition, Type::INT4),
                (&id, Type::UUID),
                (&most_bytes, Type::INT8),
            ],
        )
        .await?;
    let held: Vec<Source<&[u8]>> =
        held.iter().map(|row| Source { offset: row.get(0), bytes: row.get(1) }).collect();
    if held.is_empty() {
        return Ok(None);
    }

    let found = enter(transaction.client(), statements, position, organization).await?;
    let covered = held.partition_point(|record| Watermark::covers(found.as_ref(), record.offset));
    let (mut at, mut undecodable) = (covered, Vec::new());
    let batch = loop {
        match Prepared::take(organization, position, held[at..].iter().cloned(), ALL_OF_THEM) {
            Ok(batch) => break batch,
            Err(UnfitRecord { why: Unfit::Undecodable, .. }) => undecodable.push(&held[at]),
            Err(unfit @ UnfitRecord { why: Unfit::Foreign { .. }, .. }) => return Err(unfit.into()),
        }
        at += 1;
    };
    let fates = match &batch {
        None => Fates::default(),
        Some(batch) => {
            at += batch.records();
            let stored = store(transaction.client(), statements, found, batch, manner).await?;
            stored.ok_or(DrainError::Busy)?
        }
    };
    // Those that come behind an unfit one are the next transaction's.
    let drained = &held[..at];
    let Some(last) = drained.last() else { return Ok(None) };
    transaction.batch_execute("SET LOCAL ROLE NONE").await?;
    let outcome = Drained { records: drained.len(), fates, unreadable: undecodable.len() };
    let undecodable: Vec<_> = undecodable
        .into_iter()
        .map(|record| Unreadable {
            position,
            offset: record.offset,
            organization: Some(organization),
            events: None,
            reason: "its events cannot be decoded",
            record: Some(record.bytes),
        })
        .collect();
    if !undecodable.is_empty() {
        unreadable::write(&transaction, &undecodable).await?;
    }
    transaction
        .execute_typed(
            DELETE,
            &[
                (&generation, Type::INT4),
                (&partition, Type::INT4),
                (&id, Type::UUID),
                (&last.offset, Type::INT8),
            ],
        )
        .await?;
    transaction.commit().await?;
    Ok(Some(outcome))
}

/// The lanes of these partitions that have held records: they have to be opened though nothing new comes for them.
pub(super) async fn lanes_with_held(
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
