//! Rows into `event`, inside an open transaction: the way chosen by size, duplicates told apart, bad rows found.

use std::collections::{HashSet, VecDeque};

use futures_util::SinkExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Transaction};
use uuid::Uuid;

use super::copy::CopyEncoder;
use super::dead_letter::{self, DeadRow};
use super::insert::insert_rows;
use crate::loader::position::Position;
use super::rows::Row;
use super::scope::{Scope, scope_of, sqlstate};
use super::statements::Statements;

/// Up to here an `INSERT` costs less than a COPY (see `docs/decisions/`).
const SMALL_BATCH_ROWS: usize = 150;
/// More refused rows than this in one flush are not bad rows but a bad schema.
const MOST_DEAD_ROWS: u64 = 16;

/// What became of the rows of one flush. Together they are all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// In `event` now.
    pub stored: u64,
    /// Their ids were there already.
    pub duplicate: u64,
    /// In `dead_letter` now.
    pub dead: u64,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Manner {
    /// All at once: a refused row costs the whole transaction. Intake refuses next to all of them beforehand.
    AtOnce,
    /// Halved under savepoints until the refused rows stand alone. A savepoint costs two round trips and a transaction
    /// id, however well all goes.
    Halving,
}

/// Why the rows were not written. The transaction is of no further use.
#[derive(Debug, thiserror::Error)]
pub(in crate::loader) enum WriteError {
    /// Postgres refused a row, and only [`Manner::Halving`] tells which.
    #[error("writing rows at once")]
    Row(#[source] Error),
    /// Postgres refused, or was lost.
    #[error("writing rows")]
    Postgres(#[from] Error),
    /// Postgres refused a COPY before its first row, so that no row is to blame. The connection is out of step.
    #[error("beginning to copy rows")]
    CopyRefused(#[source] Error),
    /// Too many rows were refused one by one; the last refusal stands for them.
    #[error("more than {MOST_DEAD_ROWS} rows were refused, the last with {sqlstate}: {reason}")]
    TooManyDead {
        /// Of the last refusal.
        sqlstate: String,
        /// Of the last refusal.
        reason: String,
    },
}

/// Writes rows of different ids: those whose id is in the table already are duplicates.
pub(in crate::loader) async fn write_rows(
    transaction: &Transaction<'_>,
    statements: &Statements,
    position: Position,
    rows: &[Row<'_>],
    manner: Manner,
) -> Result<Fates, WriteError> {
    match manner {
        Manner::Halving => write_halving(transaction, statements, position, rows).await,
        Manner::AtOnce => match write_part(transaction, statements, rows).await {
            Ok(stored) => Ok(Fates { stored, duplicate: rows.len() as u64 - stored, dead: 0 }),
            Err(WriteError::Postgres(error)) if scope_of(&error) == Scope::Row => Err(WriteError::Row(error)),
            Err(error) => Err(error),
        },
    }
}

/// Those rows that Postgres refuses are dead-lettered.
async fn write_halving(
    transaction: &Transaction<'_>,
    statements: &Statements,
    position: Position,
    rows: &[Row<'_>],
) -> Result<Fates, WriteError> {
    let mut fates = Fates::default();
    let mut parts = VecDeque::from([rows]);
    while let Some(part) = parts.pop_front() {
        if part.is_empty() {
            continue;
        }
        transaction.batch_execute("SAVEPOINT part").await?;
        match write_part(transaction, statements, part).await {
            Ok(stored) => {
                transaction.batch_execute("RELEASE SAVEPOINT part").await?;
                fates.stored += stored;
                fates.duplicate += part.len() as u64 - stored;
            }
            Err(WriteError::Postgres(error)) if scope_of(&error) == Scope::Row => {
                transaction.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
                let [row] = part else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push_front(right);
                    parts.push_front(left);
                    continue;
                };
                fates.dead += 1;
                let dead = DeadRow { row, sqlstate: sqlstate(&error), reason: reason(&error) };
                if fates.dead > MOST_DEAD_ROWS {
                    return Err(WriteError::TooManyDead {
                        sqlstate: dead.sqlstate.to_owned(),
                        reason: dead.reason,
                    });
                }
                dead_letter::write(transaction, statements, position, &dead).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(fates)
}

/// Gives back how many of the rows were stored; the others were there.
async fn write_part(
    transaction: &Transaction<'_>,
    statements: &Statements,
    rows: &[Row<'_>],
) -> Result<u64, WriteError> {
    if rows.len() <= SMALL_BATCH_ROWS {
        return Ok(insert_rows(transaction, &statements.insert_rows, rows).await?);
    }
    let ids: Vec<Uuid> = rows.iter().map(Row::id).collect();
    let stored = transaction.query_typed(&statements.stored_ids, &[(&ids, Type::UUID_ARRAY)]).await?;
    let stored: HashSet<Uuid> = stored.iter().map(|row| row.get(0)).collect();
    let new: Vec<&Row<'_>> = rows.iter().filter(|row| !stored.contains(&row.id())).collect();
    copy_rows(transaction, statements, &new).await
}

async fn copy_rows(
    transaction: &Transaction<'_>,
    statements: &Statements,
    rows: &[&Row<'_>],
) -> Result<u64, WriteError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let sink = transaction.copy_in(statements.copy_rows.as_str()).await.map_err(WriteError::CopyRefused)?;
    let mut sink = std::pin::pin!(sink);
    let mut encoder = CopyEncoder::new();
    for row in rows {
        if let Some(chunk) = encoder.push(row) {
            sink.feed(chunk).await?;
        }
    }
    sink.send(encoder.finish()).await?;
    Ok(sink.finish().await?)
}

fn reason(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
