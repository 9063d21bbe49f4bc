//! What the schemas hold, seen in one snapshot.
//!
//! One connection keeps the snapshot open and touches nothing; another borrows it for each schema in a transaction of
//! its own. So every schema is seen at the same moment, and yet no more than one is locked at a time.

use std::collections::HashMap;
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::connect::{LOCK_PATIENCE, no_longer_than};
use super::session::Mark;
use super::{Error, connect, organizations, roles};
use crate::config::DatabaseUrl;
use crate::tenant::Organization;

/// Postgres at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Holds the snapshot until dropped.
    _keeper: Client,
    reader: Client,
    name: String,
    generation: i32,
    log: (String, String),
}

/// What one schema holds, but for the ids in `event`, which can be many: see [`Snapshot::event_ids`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Why the schema cannot be read; `None`: it can.
    pub unreadable: Option<String>,
    /// By partition, of the current generation.
    pub watermarks: HashMap<i32, Totals>,
    /// Whether it was also loaded from an earlier log.
    pub has_other_generations: bool,
    /// All of them, of every generation.
    pub dead_letters: Vec<DeadLetter>,
    /// Events of the held records of the current generation, by partition and offset.
    pub held: HashMap<(i32, i64), u64>,
}

/// A row of `ingest_watermark`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What lies below is stored, dead or a duplicate.
    pub next_offset: i64,
    /// Running total.
    pub stored: u64,
    /// Running total.
    pub duplicate: u64,
    /// Running total, discarded ones included.
    pub dead: u64,
}

/// What the books need of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose.
    pub event_id: Uuid,
    /// Whether it came from the current log.
    pub is_of_this_generation: bool,
    /// Whether a person gave it up.
    pub is_discarded: bool,
}

impl Snapshot {
    /// Looks at the database as it is now.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] when no log was ever declared; [`Error::SharedSession`]; Postgres.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, Error> {
        let keeper = connect(url).await?;
        Mark::put(&keeper, url).await?;
        keeper
            .batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0; \
                 SET LOCAL search_path = ''",
            )
            .await?;
        let name = keeper.query_one("SELECT pg_export_snapshot()", &[]).await?.get(0);
        let current = "SELECT generation, kind, name FROM rollbook.log ORDER BY generation DESC LIMIT 1";
        let log = keeper.query_opt(current, &[]).await?.ok_or(Error::NotSetUp)?;
        let reader = connect(url).await?;
        Ok(Self { _keeper: keeper, reader, name, generation: log.get(0), log: (log.get(1), log.get(2)) })
    }

    /// Refuses a log that is not the one whose offsets the watermarks speak of.
    ///
    /// # Errors
    /// [`Error::AnotherLog`].
    pub fn refuse_another_log(&self, kind: &str, name: &str) -> Result<(), Error> {
        let (installed_kind, installed_name) = &self.log;
        if installed_kind == kind && installed_name == name {
            return Ok(());
        }
        Err(Error::AnotherLog {
            installed: format!("{installed_kind} `{installed_name}`"),
            given: format!("{kind} `{name}`"),
        })
    }

    /// The log's current generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Every organization, removed ones too, by slug.
    ///
    /// # Errors
    /// Postgres, or a row that this release cannot read.
    pub async fn organizations(&mut self) -> Result<Vec<Organization>, Error> {
        let transaction = begin(&mut self.reader, &self.name).await?;
        let sql = format!("SELECT {} FROM rollbook.organization ORDER BY slug", organizations::COLUMNS);
        let rows = transaction.query(&sql, &[]).await?;
        rows.iter().map(organizations::read).collect()
    }

    /// Up to where each partition is safe: what lies below must be somewhere.
    ///
    /// # Errors
    /// Postgres.
    pub async fn anchors(&mut self) -> Result<HashMap<i32, i64>, Error> {
        let generation = self.generation;
        let transaction = begin(&mut self.reader, &self.name).await?;
        let sql = "SELECT partition, next_offset FROM rollbook.partition_anchor WHERE generation = $1";
        let rows = transaction.query(sql, &[&generation]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// What one organization's schema holds, and what is held for it.
    ///
    /// # Errors
    /// Postgres. A schema that cannot be read is no error, it is what the audit has to say.
    pub async fn holdings(&mut self, organization: &Organization) -> Result<Holdings, Error> {
        let generation = self.generation;
        let transaction = begin(&mut self.reader, &self.name).await?;
        let held = "SELECT partition, log_offset, events FROM rollbook.held_record \
                    WHERE organization_id = $1 AND generation = $2";
        let held = transaction.query(held, &[&organization.id.0, &generation]).await?;
        let held = held.iter().map(|row| ((row.get(0), row.get(1)), whole(row.get::<_, i32>(2)))).collect();
        match in_schema(&transaction, &organization.schema_name, generation).await {
            Ok(holdings) => Ok(Holdings { held, ..holdings }),
            Err(error) => match error.as_db_error() {
                Some(refused) => {
                    let unreadable = Some(refused.message().to_owned());
                    Ok(Holdings { held, unreadable, ..Holdings::default() })
                }
                None => Err(error.into()),
            },
        }
    }

    /// Gives every id of a schema's `event` to `see`, in order.
    ///
    /// # Errors
    /// Postgres.
    pub async fn event_ids(&mut self, schema: &str, mut see: impl FnMut(Uuid)) -> Result<(), Error> {
        let transaction = begin(&mut self.reader, &self.name).await?;
        // A uuid sorts by its bytes, there as here.
        let sql = format!("SELECT event_id FROM {}.event ORDER BY event_id", roles::quoted(schema));
        let none: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
        let mut ids = pin!(transaction.query_raw(&sql, none).await?);
        while let Some(row) = ids.try_next().await? {
            see(row.get(0));
        }
        Ok(())
    }
}

async fn begin<'a>(client: &'a mut Client, snapshot: &str) -> Result<Transaction<'a>, tokio_postgres::Error> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let (snapshot, brief) = (roles::literal(snapshot), no_longer_than(LOCK_PATIENCE));
    transaction.batch_execute(&format!("SET TRANSACTION SNAPSHOT {snapshot}; {brief}")).await?;
    Ok(transaction)
}

async fn in_schema(
    transaction: &Transaction<'_>,
    schema: &str,
    generation: i32,
) -> Result<Holdings, tokio_postgres::Error> {
    let schema = roles::quoted(schema);
    let sql = format!(
        "SELECT generation, partition, next_offset, stored, duplicate, dead FROM {schema}.ingest_watermark"
    );
    let rows = transaction.query(&sql, &[]).await?;
    let (current, others): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.get::<_, i32>(0) == generation);
    let totals = |row: &Row| Totals {
        next_offset: row.get(2),
        stored: whole(row.get::<_, i64>(3)),
        duplicate: whole(row.get::<_, i64>(4)),
        dead: whole(row.get::<_, i64>(5)),
    };
    let watermarks = current.into_iter().map(|row| (row.get(1), totals(row))).collect();
    let sql = format!("SELECT event_id, generation = $1, discarded_at IS NOT NULL FROM {schema}.dead_letter");
    let letters = transaction.query(&sql, &[&generation]).await?;
    let dead_letters = letters
        .iter()
        .map(|row| DeadLetter {
            event_id: row.get(0),
            is_of_this_generation: row.get(1),
            is_discarded: row.get(2),
        })
        .collect();
    // The ids are read later; whether they can be is asked now.
    transaction.query_opt(&format!("SELECT event_id FROM {schema}.event LIMIT 1"), &[]).await?;
    Ok(Holdings {
        unreadable: None,
        watermarks,
        has_other_generations: !others.is_empty(),
        dead_letters,
        held: HashMap::new(),
    })
}

/// A count; a CHECK keeps it from being negative.
fn whole(count: impl Into<i64>) -> u64 {
    count.into().max(0).unsigned_abs()
}
