//! One flush: one transaction in the organization's role. Lock the watermark, compare, write the rows, move the
//! watermark last, commit. Whatever goes wrong before the commit, nothing of it is there.
//!
//! What need not wait for an answer goes out together, and Postgres takes it in order:
//!
//! | flight | few rows | many rows |
//! | --- | --- | --- |
//! | 1 | begin, role, lock, INSERT | begin, role, lock, (ids,) parse COPY |
//! | 2 | | COPY |
//! | 3 | | the rows, and their end |
//! | last | move the watermark, or make the first one; commit | the same |
//!
//! Each flight's answers are judged in the order in which they were asked for: the first refusal says why, and those after
//! it only that there was a first. So a watermark that is not where it was expected comes before what became of the rows.

use futures_util::join;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::prepared::Prepared;
use super::statements::Statements;
use super::ways::{Fates, Manner, Target, Way, WriteError, begin, finish};
use crate::loader::lane::Expected;
use crate::loader::position::{Position, Watermark};
use crate::tenant::OrganizationId;

/// What a flush came to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::loader) enum Flushed {
    /// The batch is stored, and the watermark moved.
    Committed(Committed),
    /// The watermark is not where the lane believes it to be (somebody else writes here, or did), or covers some of the
    /// batch of a lane that believed nothing. Nothing was written.
    Stale {
        /// Where it is.
        found: Option<Watermark>,
    },
    /// Records are held that come before anything new. Nothing was written.
    Held,
}

/// A batch that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) struct Committed {
    /// What became of its events.
    pub(in crate::loader) fates: Fates,
    /// Where the watermark was.
    pub(in crate::loader) from: Option<Watermark>,
    /// Where it is.
    pub(in crate::loader) to: Watermark,
    /// Whether ids of the batch were in the table before: then [`Way::AskFirst`] is the cheaper way for a while.
    pub(in crate::loader) has_met_duplicates: bool,
}

/// Why a flush did not happen.
#[derive(Debug, thiserror::Error)]
pub(in crate::loader) enum FlushError {
    /// Nothing is stored.
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

impl FlushError {
    /// Whether the connection can be used again: Postgres refused, the transaction is rolled back, and every answer was
    /// taken.
    pub(in crate::loader) fn spares_the_connection(&self) -> bool {
        match self {
            Self::Commit(_) | Self::Refused(WriteError::CopyRefused(_)) => false,
            Self::Refused(
                WriteError::Row(error)
                | WriteError::Duplicate(error)
                | WriteError::Raced(error)
                | WriteError::Postgres(error),
            ) => was_refused(error),
            Self::Refused(
                WriteError::TooManyDead { .. }
                | WriteError::Unaccounted { .. }
                | WriteError::Unmoved
                | WriteError::OtherServer,
            ) => true,
        }
    }
}

/// Stores the batch if the schema's watermark is as expected.
///
/// # Errors
/// See [`FlushError`], which also says whether the connection is of further use.
///
/// # Cancel safety
/// Dropping the future before it ends leaves open whether the batch is stored; the watermark tells. The connection is of no
/// further use.
pub(in crate::loader) async fn flush<B: AsRef<[u8]>>(
    client: &mut Client,
    statements: &Statements,
    expected: Expected,
    batch: &Prepared<B>,
    way: Way,
) -> Result<Flushed, FlushError> {
    let mut manner = Manner::AtOnce(way);
    loop {
        let error = match attempt(client, statements, expected, batch, manner).await {
            Err(error) if error.spares_the_connection() => error,
            flushed => return flushed,
        };
        client.batch_execute("ROLLBACK").await?;
        manner = match (&error, manner) {
            (FlushError::Refused(WriteError::Duplicate(_)), Manner::AtOnce(Way::Direct)) => {
                Manner::AtOnce(Way::AskFirst)
            }
            // The other's watermark is there now, and says what is stored.
            (FlushError::Refused(WriteError::Raced(_)), _) => manner,
            // The id of a row was stored by somebody since it was asked for: an INSERT passes over it.
            (FlushError::Refused(refused), Manner::AtOnce(_)) if refused.is_of_rows() => Manner::Halving,
            _ => return Err(error),
        };
    }
}

/// One transaction.
async fn attempt<B: AsRef<[u8]>>(
    client: &Client,
    statements: &Statements,
    expected: Expected,
    batch: &Prepared<B>,
    manner: Manner,
) -> Result<Flushed, FlushError> {
    let target = Target { client, statements, position: batch.position };
    let (opened, begun) = join!(open(target, expected, batch), begin(target, batch, manner));
    let opened = opened?;
    if opened.is_other_server {
        return Err(WriteError::OtherServer.into());
    }
    let from = match opened.judge(expected, batch.first_offset) {
        Ok(found) => found,
        Err(otherwise) => {
            // What was parsed is closed while the pooler's connection is still this transaction's.
            drop(begun);
            client.batch_execute("ROLLBACK").await?;
            return Ok(otherwise);
        }
    };
    let fates = finish(target, batch, begun?).await?;
    let (moved, committed) =
        join!(move_watermark(target, from, batch, &fates), client.batch_execute("COMMIT"));
    // The commit of a transaction that has failed is answered with yes: whether it was one is the move's to say.
    match moved {
        Ok(()) => committed.map_err(FlushError::Commit)?,
        Err(error) if was_refused(&error) => return Err(FlushError::Refused(why_not_moved(error))),
        Err(error) => return Err(FlushError::Commit(error)),
    }
    let has_met_duplicates = fates.duplicate > batch.repeated;
    Ok(Flushed::Committed(Committed { fates, from, to: batch.next, has_met_duplicates }))
}

/// What a flush finds as it begins.
struct Opened {
    is_other_server: bool,
    any_held: bool,
    watermark: Option<Watermark>,
}

impl Opened {
    /// Gives the watermark if the batch may be written behind it.
    fn judge(&self, expected: Expected, first_offset: i64) -> Result<Option<Watermark>, Flushed> {
        let found = self.watermark;
        let is_stale = match expected {
            Expected::Watermark(expected) => found != expected,
            Expected::AtLeast(at_least) => {
                Watermark::covers(found.as_ref(), first_offset) || Watermark::higher(found, at_least) != found
            }
        };
        match self {
            Self { any_held: true, .. } => Err(Flushed::Held),
            _ if is_stale => Err(Flushed::Stale { found }),
            _ => Ok(found),
        }
    }
}

/// Begins the transaction, becomes the organization's role and locks its watermark, if it has one.
async fn open<B: AsRef<[u8]>>(
    target: Target<'_>,
    expected: Expected,
    batch: &Prepared<B>,
) -> Result<Opened, Error> {
    let Target { client, statements, position } = target;
    let lock = locked_watermark(client, statements, position, batch.organization);
    match expected {
        Expected::Watermark(_) => {
            let (began, found) = join!(client.batch_execute(&statements.begin_in_role), lock);
            began?;
            Ok(Opened { is_other_server: false, any_held: false, watermark: found? })
        }
        // Whoever holds records of this lane later than this read them from the log, as this lane does (see
        // `docs/architecture.md`): what counts are those that were held before it had the partition.
        Expected::AtLeast(_) => {
            let (began, is_other_server, any_held, became, found) = join!(
                client.batch_execute(&statements.begin),
                statements.are_for_another(client),
                any_held(client, position, batch.organization),
                client.batch_execute(&statements.become_role),
                lock
            );
            began?;
            let (is_other_server, any_held) = (is_other_server?, any_held?);
            became?;
            Ok(Opened { is_other_server, any_held, watermark: found? })
        }
    }
}

/// Becomes the organization's role and locks its watermark, in a transaction that was begun otherwise.
pub(in crate::loader) async fn enter(
    client: &Client,
    statements: &Statements,
    position: Position,
    organization: OrganizationId,
) -> Result<Option<Watermark>, Error> {
    let (became, found) = join!(
        client.batch_execute(&statements.enter_role),
        locked_watermark(client, statements, position, organization),
    );
    became.and(found)
}

/// Writes the batch into the schema whose watermark was `found`, and locked, and moves it; the commit is the caller's.
pub(in crate::loader) async fn store<B: AsRef<[u8]>>(
    client: &Client,
    statements: &Statements,
    found: Option<Watermark>,
    batch: &Prepared<B>,
    manner: Manner,
) -> Result<Fates, WriteError> {
    let target = Target { client, statements, position: batch.position };
    let begun = begin(target, batch, manner).await?;
    let fates = finish(target, batch, begun).await?;
    move_watermark(target, found, batch, &fates).await.map_err(why_not_moved)?;
    Ok(fates)
}

/// Moves the watermark from where it was found, or makes the first one: two that make it at once are told apart by its key.
async fn move_watermark<B: AsRef<[u8]>>(
    target: Target<'_>,
    from: Option<Watermark>,
    batch: &Prepared<B>,
    fates: &Fates,
) -> Result<(), Error> {
    let Target { client, statements, position } = target;
    let statement = match from {
        Some(_) => &statements.move_watermark,
        None => &statements.first_watermark,
    };
    let total = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    client
        .query_typed_one(
            statement,
            &[
                (&position.generation, Type::INT4),
                (&position.partition, Type::INT4),
                (&batch.organization.0, Type::UUID),
                (&batch.next.next_offset, Type::INT8),
                (&batch.next.last_record_id, Type::UUID),
                (&total(fates.stored), Type::INT8),
                (&total(fates.duplicate), Type::INT8),
                (&total(fates.dead), Type::INT8),
            ],
        )
        .await
        .map(|_| ())
}

/// Whether the transaction is certain to have failed: Postgres said so, and lives. Where it ended the connection the
/// commit may have been taken all the same.
fn was_refused(error: &Error) -> bool {
    let severity = error.as_db_error().and_then(tokio_postgres::error::DbError::parsed_severity);
    severity == Some(Severity::Error)
}

/// The statement divides by the rows that it moved.
fn why_not_moved(error: Error) -> WriteError {
    let is_of_a_trigger = error.as_db_error().is_some_and(|refused| refused.where_().is_some());
    if error.code() == Some(&SqlState::DIVISION_BY_ZERO) && !is_of_a_trigger {
        return WriteError::Unmoved;
    }
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) && is_of_the_watermark(&error) {
        return WriteError::Raced(error);
    }
    error.into()
}

fn is_of_the_watermark(error: &Error) -> bool {
    error.as_db_error().is_some_and(|refused| refused.constraint() == Some("ingest_watermark_pkey"))
}

/// Whether records of the lane are held, as the loader's own role.
pub(in crate::loader) async fn any_held(
    client: &Client,
    position: Position,
    organization: OrganizationId,
) -> Result<bool, Error> {
    const ANY_HELD: &str = "SELECT EXISTS (SELECT FROM rollbook.held_record \
         WHERE generation = $1 AND partition = $2 AND organization_id = $3)";
    let place = [
        (&position.generation as &(dyn ToSql + Sync), Type::INT4),
        (&position.partition, Type::INT4),
        (&organization.0, Type::UUID),
    ];
    Ok(client.query_typed_one(ANY_HELD, &place).await?.get(0))
}

async fn locked_watermark(
    client: &Client,
    statements: &Statements,
    position: Position,
    organization: OrganizationId,
) -> Result<Option<Watermark>, Error> {
    watermark(client, &statements.lock_watermark, position, organization).await
}

/// Reads a watermark with one of the two statements that do.
pub(in crate::loader) async fn watermark(
    client: &Client,
    statement: &str,
    position: Position,
    organization: OrganizationId,
) -> Result<Option<Watermark>, Error> {
    let row = client
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
