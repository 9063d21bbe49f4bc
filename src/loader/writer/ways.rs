//! Rows into `event`, inside an open transaction: the ways of writing, and what became of every row.
//!
//! A fate is counted, never subtracted. Stored is what Postgres says that it inserted; a duplicate is an id that is in the
//! table; a row that is neither was kept out by the organization's own schema (a trigger that swallows it), and is dead.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use futures_util::join;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use super::copy::copy_rows;
use super::dead_letter::{self, DeadRow};
use super::halving::write_halving;
use super::insert::insert_rows;
use super::prepared::Prepared;
use super::rows::Row;
use super::scope::{Scope, scope_of};
use super::statements::Statements;
use crate::loader::position::Position;

/// Up to here an `INSERT` costs less than a COPY (see `docs/decisions/`).
const SMALL_BATCH_ROWS: usize = 30;
/// More refused rows than this in one flush are not bad rows but a bad schema.
const MOST_DEAD_ROWS: u64 = 16;
/// How a dead letter says that Postgres took the row and did not store it: "no data".
const SWALLOWED: &str = "02000";
const SWALLOWED_REASON: &str = "a trigger on `event` passed over the row, and said nothing";

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

/// How many rows are copied: the lane remembers what it met lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Way {
    /// No duplicate was met lately: COPY without asking. One duplicate costs the whole transaction.
    Direct,
    /// Ask first which ids are there, and COPY the rest.
    AskFirst,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Manner {
    /// All at once, few of them by INSERT whatever the way: a refused row costs the whole transaction. Intake refuses next
    /// to all of them beforehand.
    AtOnce(Way),
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
    /// Rows were copied, and the id of one is there.
    #[error("copying rows without asking whether their ids are there")]
    Duplicate(#[source] Error),
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
    /// The schema does something to rows that leaves their fates unknown.
    #[error(
        "{inserted} rows were inserted and only {found} of their ids are in `event`: a trigger changes them"
    )]
    Unaccounted {
        /// What Postgres said.
        inserted: u64,
        /// What was looked for and found.
        found: u64,
    },
    /// Something in the schema keeps the watermark where it is.
    #[error("`ingest_watermark` was not moved: a trigger, a rule or a policy keeps it")]
    Unmoved,
    /// Another loader made the schema's first watermark of this partition meanwhile.
    #[error("another loader was faster to make the watermark")]
    Raced(#[source] Error),
    /// A pooler hides from a connection that the server behind it has changed. What the lane knows is not true of this one,
    /// and a fresh connection finds that out.
    #[error("the server is not the one that the loader began with")]
    OtherServer,
}

impl WriteError {
    /// Whether [`Manner::Halving`] may go further.
    pub(in crate::loader) fn is_of_rows(&self) -> bool {
        matches!(self, Self::Row(_) | Self::Duplicate(_))
    }

    /// A refusal that came while rows were being written.
    pub(super) fn of_rows(error: Error) -> Self {
        let is_of_event = |error: &Error| {
            error.as_db_error().is_some_and(|refused| refused.constraint() == Some("event_pkey"))
        };
        if error.code() == Some(&SqlState::UNIQUE_VIOLATION) && is_of_event(&error) {
            return Self::Duplicate(error);
        }
        match scope_of(&error) {
            Scope::Row => Self::Row(error),
            Scope::Server | Scope::Tenant | Scope::Slow | Scope::Again => Self::Postgres(error),
        }
    }
}

/// Whose rows are written, where to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) client: &'a Client,
    pub(super) statements: &'a Statements,
    pub(super) position: Position,
}

/// What of a way needs no answer before it goes out.
pub(super) enum Begun {
    /// The rows were sent, and so many inserted.
    Inserted(u64),
    /// Rows may be copied, but for those that are there.
    Copying { statement: Statement, there: HashSet<Uuid, RandomState> },
    /// What `event` is, or a policy on it, leaves only INSERT, which says itself what it thinks of that.
    OnlyInsert,
    /// The rows are looked at one by one.
    Halving,
}

/// Sends what needs no answer. Statements of the same transaction may be on their way.
pub(super) async fn begin<B: AsRef<[u8]>>(
    target: Target<'_>,
    batch: &Prepared<B>,
    manner: Manner,
) -> Result<Begun, WriteError> {
    let Target { client, statements, .. } = target;
    match manner {
        Manner::Halving => Ok(Begun::Halving),
        Manner::AtOnce(_) if batch.rows.len() <= SMALL_BATCH_ROWS => {
            let inserted = insert_rows(client, &statements.insert_rows, &batch.decode()).await;
            inserted.map(Begun::Inserted).map_err(WriteError::of_rows)
        }
        Manner::AtOnce(way) => {
            let there = async {
                match way {
                    Way::Direct => Ok(HashSet::default()),
                    Way::AskFirst => ids_there(client, statements, batch.rows.ids()).await,
                }
            };
            let (may_copy, may_insert, there, statement) = join!(
                client.query_typed_one(&statements.may_copy, &[]),
                client.execute_typed(&statements.may_insert, &[]),
                there,
                client.prepare(&statements.copy_rows)
            );
            // The first refusal says why; those after it only that there was a first.
            let may_copy = may_copy?.get(0);
            may_insert?;
            let (there, statement) = (there?, statement?);
            Ok(if may_copy { Begun::Copying { statement, there } } else { Begun::OnlyInsert })
        }
    }
}

/// Writes what is not written yet, and counts what became of every row.
pub(super) async fn finish<B: AsRef<[u8]>>(
    target: Target<'_>,
    batch: &Prepared<B>,
    begun: Begun,
) -> Result<Fates, WriteError> {
    let Target { client, statements, .. } = target;
    let (inserted, there) = match begun {
        Begun::Halving => {
            let fates = write_halving(target, &batch.decode()).await?;
            return Ok(Fates { duplicate: fates.duplicate + batch.repeated, ..fates });
        }
        Begun::Inserted(inserted) => (inserted, HashSet::default()),
        Begun::OnlyInsert => {
            let inserted = insert_rows(client, &statements.insert_rows, &batch.decode()).await;
            (inserted.map_err(WriteError::of_rows)?, HashSet::default())
        }
        Begun::Copying { there, .. } if there.len() == batch.rows.len() => (0, there),
        Begun::Copying { statement, there } => {
            (copy_rows(client, &statement, &batch.rows, &there).await?, there)
        }
    };
    let sent: Vec<Uuid> = batch.rows.ids().iter().filter(|id| !there.contains(id)).copied().collect();
    let mut fates = Fates { duplicate: there.len() as u64 + batch.repeated, ..Fates::default() };
    let swallowed = count(target, &sent, inserted, &mut fates).await?;
    if !swallowed.is_empty() {
        let rows = batch.decode();
        let swallowed = rows.iter().filter(|row| swallowed.contains(&row.id()));
        bury_swallowed(target, swallowed, &mut fates).await?;
    }
    Ok(fates)
}

/// Counts the rows that were sent, of which so many were inserted, and gives the ids of those that are nowhere.
pub(super) async fn count(
    target: Target<'_>,
    sent: &[Uuid],
    inserted: u64,
    fates: &mut Fates,
) -> Result<HashSet<Uuid, RandomState>, WriteError> {
    fates.stored += inserted;
    if inserted == sent.len() as u64 {
        return Ok(HashSet::default());
    }
    let there = ids_there(target.client, target.statements, sent).await?;
    let found = there.len() as u64;
    fates.duplicate += found.checked_sub(inserted).ok_or(WriteError::Unaccounted { inserted, found })?;
    Ok(sent.iter().filter(|id| !there.contains(id)).copied().collect())
}

/// Dead-letters rows that Postgres took and did not store.
pub(super) async fn bury_swallowed<'a>(
    target: Target<'_>,
    rows: impl Iterator<Item = &'a Row<'a>>,
    fates: &mut Fates,
) -> Result<(), WriteError> {
    for row in rows {
        let dead = DeadRow { row, sqlstate: SWALLOWED, reason: SWALLOWED_REASON.to_owned() };
        bury(target, &dead, fates).await?;
    }
    Ok(())
}

/// Dead-letters a row, unless too many are dead already.
pub(super) async fn bury(
    target: Target<'_>,
    dead: &DeadRow<'_>,
    fates: &mut Fates,
) -> Result<(), WriteError> {
    if fates.dead == MOST_DEAD_ROWS {
        let (sqlstate, reason) = (dead.sqlstate.to_owned(), dead.reason.clone());
        return Err(WriteError::TooManyDead { sqlstate, reason });
    }
    fates.dead += 1;
    Ok(dead_letter::write(target, dead).await?)
}

async fn ids_there(
    client: &Client,
    statements: &Statements,
    ids: &[Uuid],
) -> Result<HashSet<Uuid, RandomState>, Error> {
    let there = client.query_typed(&statements.stored_ids, &[(&ids, Type::UUID_ARRAY)]).await?;
    Ok(there.iter().map(|row| row.get(0)).collect())
}
