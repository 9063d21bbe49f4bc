//! One flush: one transaction in the organization's role. Lock the watermark, compare, write the rows, move the
//! watermark last, commit. Whatever goes wrong before the commit, nothing of it is there.

use std::collections::HashSet;

use futures_util::join;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

use crate::loader::position::{Position, Watermark};
use super::rows::Row;
use super::statements::Statements;
use super::ways::{Fates, Manner, WriteError, write_rows};
use crate::tenant::OrganizationId;

/// The rows of some records that follow one another in a lane.
#[derive(Debug)]
pub(in crate::loader) struct SealedBatch<'a> {
    /// The organization that the records name. It goes into the watermark, where the schema's CHECK compares it with
    /// the one it was made for.
    organization: OrganizationId,
    /// Where the records stand in the log.
    position: Position,
    /// The first row of each id.
    rows: Vec<Row<'a>>,
    /// How many more there were.
    repeated: u64,
    /// The watermark once they are stored.
    next: Watermark,
}

impl<'a> SealedBatch<'a> {
    /// `rows`: every row of every record.
    pub(in crate::loader) fn new(
        organization: OrganizationId,
        position: Position,
        mut rows: Vec<Row<'a>>,
        next: Watermark,
    ) -> Self {
        let all = rows.len();
        let mut seen = HashSet::with_capacity(all);
        rows.retain(|row| seen.insert(row.id()));
        let repeated = (all - rows.len()) as u64;
        Self { organization, position, rows, repeated, next }
    }
}

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::loader) enum Flushed {
    /// Committed.
    Committed(Fates),
    /// The watermark is not where the lane believes it to be: somebody else writes here, or did. Nothing was written.
    Stale,
}

/// Why a flush did not happen.
#[derive(Debug, thiserror::Error)]
pub(in crate::loader) enum FlushError {
    /// Before the commit was asked for: nothing is stored.
    #[error(transparent)]
    Refused(#[from] WriteError),
    /// The answer to the commit was lost, or was no: reading the watermark settles which.
    #[error("the commit was not confirmed")]
    Commit(#[source] Error),
}

impl From<Error> for FlushError {
    fn from(error: Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Stores the batch if the schema's watermark is `expected` (`None`: it has none yet).
///
/// # Cancel safety
/// Dropping the future before it ends leaves open whether the batch is stored; the watermark tells.
pub(in crate::loader) async fn flush(
    client: &mut Client,
    statements: &Statements,
    expected: Option<Watermark>,
    batch: &SealedBatch<'_>,
) -> Result<Flushed, FlushError> {
    match attempt(client, statements, expected, batch, Manner::AtOnce).await {
        Err(FlushError::Refused(WriteError::Row(_))) => {
            attempt(client, statements, expected, batch, Manner::Halving).await
        }
        flushed => flushed,
    }
}

/// One transaction.
async fn attempt(
    client: &mut Client,
    statements: &Statements,
    expected: Option<Watermark>,
    batch: &SealedBatch<'_>,
    manner: Manner,
) -> Result<Flushed, FlushError> {
    let transaction = client.transaction().await?;
    let found = enter(&transaction, statements, batch.position, batch.organization).await?;
    let stored = match found == expected {
        true => store(&transaction, statements, found, batch, manner).await?,
        false => None,
    };
    let Some(fates) = stored else {
        transaction.rollback().await?;
        return Ok(Flushed::Stale);
    };
    transaction.commit().await.map_err(FlushError::Commit)?;
    Ok(Flushed::Committed(fates))
}

/// Becomes the organization's role and locks its watermark. The two go out together: Postgres takes them in order, and
/// the loader's own role may not read what the second one reads.
pub(in crate::loader) async fn enter(
    transaction: &Transaction<'_>,
    statements: &Statements,
    position: Position,
    organization: OrganizationId,
) -> Result<Option<Watermark>, Error> {
    let (became, found) = join!(
        transaction.batch_execute(&statements.become_role),
        watermark(transaction, &statements.lock_watermark, position, organization),
    );
    // The first refusal says why; the second one only that there was a first.
    became.and(found)
}

/// Writes the batch into the schema whose watermark was `found`, and locked, and moves it. `None`: somebody else was
/// faster to make the first one.
pub(in crate::loader) async fn store(
    transaction: &Transaction<'_>,
    statements: &Statements,
    found: Option<Watermark>,
    batch: &SealedBatch<'_>,
    manner: Manner,
) -> Result<Option<Fates>, WriteError> {
    if found.is_none() && !insert_first_watermark(transaction, statements, batch).await? {
        return Ok(None);
    }
    let (organization, position, next) = (batch.organization, batch.position, batch.next);
    let mut fates = write_rows(transaction, statements, position, &batch.rows, manner).await?;
    fates.duplicate += batch.repeated;
    let total = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    transaction
        .execute_typed(
            &statements.move_watermark,
            &[
                (&position.generation, Type::INT4),
                (&position.partition, Type::INT4),
                (&organization.0, Type::UUID),
                (&next.next_offset, Type::INT8),
                (&next.last_record_id, Type::UUID),
                (&total(fates.stored), Type::INT8),
                (&total(fates.duplicate), Type::INT8),
                (&total(fates.dead), Type::INT8),
            ],
        )
        .await?;
    Ok(Some(fates))
}

/// Makes the row that the first flush locks; `false` when another loader was faster.
async fn insert_first_watermark(
    transaction: &Transaction<'_>,
    statements: &Statements,
    batch: &SealedBatch<'_>,
) -> Result<bool, Error> {
    let inserted = transaction
        .execute_typed(
            &statements.first_watermark,
            &[
                (&batch.position.generation, Type::INT4),
                (&batch.position.partition, Type::INT4),
                (&batch.organization.0, Type::UUID),
                (&batch.next.next_offset, Type::INT8),
                (&batch.next.last_record_id, Type::UUID),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Reads a watermark with one of the two statements that do.
pub(in crate::loader) async fn watermark(
    transaction: &Transaction<'_>,
    statement: &str,
    position: Position,
    organization: OrganizationId,
) -> Result<Option<Watermark>, Error> {
    let row = transaction
        .query_typed_opt(
            statement,
            &[
                (&position.generation, Type::INT4),
                (&position.partition, Type::INT4),
                (&organization.0, Type::UUID),
            ],
        )
        .await?;
    Ok(row.map(|row| Watermark { next_offset: row.get(0), last_record_id: row.get(1) }))
}
