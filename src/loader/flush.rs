//! One flush: one transaction in the organization's role. Lock the watermark, compare, write the rows, move the
//! watermark last, commit. Whatever goes wrong before the commit, nothing of it is there.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

use super::position::{Position, Watermark};
use super::row::Row;
use super::statements::Statements;
use super::write::{Fates, WriteError, write_rows};
use crate::tenant::OrganizationId;

/// The rows of some records that follow one another in a lane.
#[derive(Debug)]
pub(super) struct SealedBatch<'a> {
    /// The organization that the records name. It goes into the watermark, where the schema's CHECK compares it with
    /// the one it was made for.
    pub(super) organization: OrganizationId,
    /// Where the records stand in the log.
    pub(super) position: Position,
    /// Every row of every record.
    pub(super) rows: Vec<Row<'a>>,
    /// The watermark once they are stored.
    pub(super) next: Watermark,
}

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Committed.
    Committed(Fates),
    /// The watermark is not where the lane believes it to be: somebody else writes here, or did. Nothing was written.
    Stale,
}

/// Why a flush did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlushError {
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
pub(super) async fn flush(
    client: &mut Client,
    statements: &Statements,
    expected: Option<Watermark>,
    batch: SealedBatch<'_>,
) -> Result<Flushed, FlushError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&statements.become_role).await?;
    match store(&transaction, statements, expected, batch).await? {
        Flushed::Stale => {
            transaction.rollback().await?;
            Ok(Flushed::Stale)
        }
        committed @ Flushed::Committed(_) => {
            transaction.commit().await.map_err(FlushError::Commit)?;
            Ok(committed)
        }
    }
}

/// The inside of a flush: everything but becoming the role and committing, which draining held records does its own way.
pub(super) async fn store(
    transaction: &Transaction<'_>,
    statements: &Statements,
    expected: Option<Watermark>,
    batch: SealedBatch<'_>,
) -> Result<Flushed, WriteError> {
    let position = batch.position;
    let found = watermark(transaction, &statements.lock_watermark, position, batch.organization).await?;
    if found != expected {
        return Ok(Flushed::Stale);
    }
    if found.is_none() && !insert_first_watermark(transaction, statements, &batch).await? {
        return Ok(Flushed::Stale);
    }
    let (organization, next) = (batch.organization, batch.next);
    let fates = write_rows(transaction, statements, position, batch.rows).await?;
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
    Ok(Flushed::Committed(fates))
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
pub(super) async fn watermark(
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
