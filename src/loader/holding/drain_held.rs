//! One transaction of a drain: the first held records of a lane become rows, and are held no longer.

use std::time::Instant;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Transaction};

use super::unreadable::{Unreadable, write_down};
use crate::loader::lane::BatchLimits;
use crate::loader::position::{Position, Watermark};
use crate::loader::trail::{Fate, trail};
use crate::loader::writer::{
    Fates, Manner, Prepared, Refusal, Source, Statements, Unfit, UnfitRecord, Way, WriteError, enter, store,
};
use crate::tenant::OrganizationId;

/// Why a drain did not happen.
#[derive(Debug, thiserror::Error)]
pub(in crate::loader) enum DrainError {
    /// Postgres or the schema refused.
    #[error(transparent)]
    Write(WriteError),
    /// Another loader drains this organization, or wrote to it in between.
    #[error("another loader is at it")]
    Busy,
    /// The record says of itself that it is another organization's, though the row says that it is this one's: a person should
    /// look. Or that it takes a newer release.
    #[error(transparent)]
    Unfit(#[from] UnfitRecord),
}

impl From<WriteError> for DrainError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Raced(_) => Self::Busy,
            _ => Self::Write(error),
        }
    }
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
    /// What those take.
    pub bytes: usize,
    /// What became of their events.
    pub fates: Fates,
    /// Records among them whose events cannot be decoded: written down, with their bytes.
    pub unreadable: usize,
}

/// Stores the first held records of a lane, up to the limits (one at least), in one transaction. `None`: none are held.
pub(in crate::loader) async fn drain_some(
    client: &mut Client,
    statements: &Statements,
    organization: OrganizationId,
    position: Position,
    limits: BatchLimits,
) -> Result<Option<Drained>, DrainError> {
    /// The record that passes a limit is the last.
    const ONE_RECORD: BatchLimits = BatchLimits { rows: 1, bytes: 1 };
    let at_once = Manner::AtOnce(Way::AskFirst);
    let refused = match attempt(client, statements, organization, position, limits, at_once).await {
        Err(DrainError::Write(refused)) if refused.is_of_rows() => refused,
        drained => return drained,
    };
    tracing::debug!(organization.id = %organization, %refused, "looking for the refused rows among the held ones");
    match attempt(client, statements, organization, position, limits, Manner::Halving).await {
        // Too many for one flush may be few in each of its records, and those of one record alone stand in nobody's way.
        Err(DrainError::Write(WriteError::TooManyDead { .. })) if limits != ONE_RECORD => {
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
    limits: BatchLimits,
    manner: Manner,
) -> Result<Option<Drained>, DrainError> {
    let begun = Instant::now();
    let transaction = client.transaction().await?;
    let draining = Draining { transaction, statements, organization, position };
    draining.lock().await?;
    if statements.are_for_another(draining.transaction.client()).await? {
        return Err(WriteError::OtherServer.into());
    }
    let rows = draining.first_held(limits).await?;
    let held: Vec<Held<'_>> =
        rows.iter().map(|row| Source { offset: row.get(0), bytes: row.get(1) }).collect();
    let stored = draining.store(&held, manner).await?;
    let drained = draining.let_go(&held, &stored).await?;
    let (unreadable, readable): (Vec<_>, Vec<_>) =
        (0..stored.records).partition(|at| stored.undecodable.contains(at));
    for (those, fate) in
        [(readable, Fate::Drained(stored.fates)), (unreadable, Fate::WrittenDown(Unfit::UNDECODABLE))]
    {
        trail(position, those.iter().map(|at| (held[*at].offset, held[*at].bytes)), fate, begun);
    }
    Ok(drained)
}

type Held<'a> = Source<&'a [u8]>;

/// One transaction.
struct Draining<'a> {
    transaction: Transaction<'a>,
    statements: &'a Statements,
    organization: OrganizationId,
    position: Position,
}

/// What became of held records, as far as one transaction goes.
struct Stored {
    /// So many of the first are not to be held any longer.
    records: usize,
    /// Those among them whose events cannot be decoded, by their place.
    undecodable: Vec<usize>,
    fates: Fates,
}

impl Draining<'_> {
    /// Keeps other loaders from draining the organization until the transaction is over. It spares them the work: what is
    /// written the watermark's lock and keys guard. So a lock counts only if its holder may drain: any login of the database may take
    /// any advisory lock, an analyst's too.
    async fn lock(&self) -> Result<(), DrainError> {
        const LOCK: &str = "SELECT pg_try_advisory_xact_lock(key) OR NOT EXISTS ( \
                 SELECT FROM pg_locks AS held JOIN pg_stat_activity AS holder USING (pid) \
                 WHERE held.locktype = 'advisory' AND held.granted \
                     AND has_table_privilege(holder.usesysid, 'rollbook.held_record', 'DELETE') \
                     AND held.database = holder.datid AND holder.datname = current_database() \
                     AND held.objsubid = 1 AND (held.classid::bigint << 32) | held.objid::bigint = key) \
             FROM (SELECT hashtextextended('rollbook drain ' || $1::text, 0)) AS drain (key)";
        let organization = self.organization.0.to_string();
        let locked = self.transaction.query_typed_one(LOCK, &[(&organization, Type::TEXT)]).await?;
        if locked.get(0) { Ok(()) } else { Err(DrainError::Busy) }
    }

    /// Offset and bytes of the first held records, as many as the limits allow, and one at least.
    async fn first_held(&self, limits: BatchLimits) -> Result<Vec<Row>, Error> {
        const FIRST: &str = "SELECT log_offset, record FROM ( \
                 SELECT log_offset, record, sum(events) OVER before_it - events AS rows_before, \
                     sum(octet_length(record)) OVER before_it - octet_length(record) AS bytes_before \
                 FROM (SELECT log_offset, record, events FROM rollbook.held_record \
                     WHERE generation = $1 AND partition = $2 AND organization_id = $3 \
                     ORDER BY log_offset LIMIT 1000) AS first \
                 WINDOW before_it AS (ORDER BY log_offset) \
             ) AS measured WHERE rows_before < $4 AND bytes_before < $5 ORDER BY log_offset";
        let [rows, bytes] = [limits.rows, limits.bytes].map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let [generation, partition, organization] = self.of_the_lane();
        let limits: [Parameter<'_>; 2] = [(&rows, Type::INT8), (&bytes, Type::INT8)];
        let [rows, bytes] = limits;
        self.transaction.query_typed(FIRST, &[generation, partition, organization, rows, bytes]).await
    }

    /// Writes, in the organization's role, those that can be decoded and that the watermark does not cover, and moves it.
    /// Those behind an unfit one are the next transaction's.
    async fn store(&self, held: &[Held<'_>], manner: Manner) -> Result<Stored, DrainError> {
        let nothing = Stored { records: 0, undecodable: Vec::new(), fates: Fates::default() };
        if held.is_empty() {
            return Ok(nothing);
        }
        let client = self.transaction.client();
        let found = enter(client, self.statements, self.position, self.organization).await?;
        let covered = held.partition_point(|record| Watermark::covers(found.as_ref(), record.offset));
        let mut stored = Stored { records: covered, ..nothing };
        let batch = loop {
            let rest = held[stored.records..].iter().cloned();
            match Prepared::take(self.organization, self.position, rest) {
                Ok(batch) => break batch,
                Err(UnfitRecord { why: Unfit::Undecodable, .. }) => stored.undecodable.push(stored.records),
                Err(unfit @ UnfitRecord { why: Unfit::Foreign { .. } | Unfit::Newer { .. }, .. }) => {
                    return Err(unfit.into());
                }
            }
            stored.records += 1;
        };
        if let Some(batch) = batch {
            stored.records += batch.records();
            stored.fates = store(client, self.statements, found, &batch, manner).await?;
        }
        Ok(stored)
    }

    /// Deletes them, writes down those that are unreadable, and commits. `None`: there were none.
    async fn let_go(self, held: &[Held<'_>], stored: &Stored) -> Result<Option<Drained>, DrainError> {
        const DELETE: &str = "DELETE FROM rollbook.held_record \
             WHERE generation = $1 AND partition = $2 AND organization_id = $3 AND log_offset <= $4";
        let Some(last) = stored.records.checked_sub(1).and_then(|last| held.get(last)) else {
            return Ok(None);
        };
        self.transaction.batch_execute("SET LOCAL ROLE NONE").await?;
        let unreadable: Vec<_> = stored.undecodable.iter().map(|at| self.unreadable(&held[*at])).collect();
        if !unreadable.is_empty() {
            write_down(&self.transaction, &unreadable).await?;
        }
        let [generation, partition, organization] = self.of_the_lane();
        let last = (&last.offset as &(dyn ToSql + Sync), Type::INT8);
        self.transaction.execute_typed(DELETE, &[generation, partition, organization, last]).await?;
        self.transaction.commit().await?;
        let bytes = held[..stored.records].iter().map(|record| record.bytes.len()).sum();
        let unreadable = stored.undecodable.len();
        Ok(Some(Drained { records: stored.records, bytes, fates: stored.fates, unreadable }))
    }

    fn unreadable<'a>(&self, record: &Held<'a>) -> Unreadable<'a> {
        Unreadable {
            position: self.position,
            offset: record.offset,
            organization: Some(self.organization),
            events: None,
            reason: Unfit::UNDECODABLE,
            record: Some(record.bytes),
        }
    }

    /// `$1` to `$3` name the lane.
    fn of_the_lane(&self) -> [Parameter<'_>; 3] {
        [
            (&self.position.generation, Type::INT4),
            (&self.position.partition, Type::INT4),
            (&self.organization.0, Type::UUID),
        ]
    }
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);
