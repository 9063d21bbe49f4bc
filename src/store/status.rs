//! What stands in each organization's schema, in numbers.

use std::collections::HashMap;

use tokio_postgres::Client;
use uuid::Uuid;

use super::connect::{LOCK_PATIENCE, look_briefly};
use super::organizations::{self, Described};
use super::{Admin, Error, roles};
use crate::tenant::{Slug, State};

/// One organization's numbers.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The organization.
    pub organization: Described,
    /// What its schema says; `None` when the schema cannot be read, or is gone.
    pub totals: Option<Totals>,
    /// Events in held records.
    pub held: i64,
    /// Why the record that was held last is.
    pub held_because: Option<String>,
    /// How its reports stand; `None`: it has none to be kept.
    pub reports: Option<Reports>,
}

/// How an organization's reports stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// A reporter said so not long ago.
    Current,
    /// It should have by now: no reporter runs, or it is kept from it, as its log says.
    Behind,
    /// They are made from all events for the first time, or for another cluster, and show nothing new until then.
    Building,
    /// Their tables cannot be read.
    Unreadable,
}

impl Reports {
    /// As `status` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Building => "building",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What one schema says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// Events stored, ever.
    pub stored: i64,
    /// Events that were there already.
    pub duplicate: i64,
    /// Dead letters that nobody has replayed or discarded.
    pub dead: i64,
    /// Seconds since a watermark last moved; `None`: none ever did. How old the newest row is would need a scan of
    /// the events, whose time of receipt has no index that finds its end.
    pub freshness_seconds: Option<f64>,
}

/// The numbers of every organization, or of one.
///
/// # Errors
/// [`Error::NoSuchOrganization`], or Postgres. A schema that cannot be read is no error: it is what status shows.
pub async fn status(admin: &mut Admin, only: Option<&Slug>) -> Result<Vec<Standing>, Error> {
    let described = match only {
        Some(slug) => vec![organizations::show(admin, slug).await?],
        None => organizations::list(admin).await?,
    };
    let mut standings = Vec::with_capacity(described.len());
    for organization in described {
        let id = organization.organization.id.0;
        let held = "SELECT coalesce(sum(events), 0), (array_agg(reason ORDER BY held_at DESC))[1] \
                    FROM rollbook.held_record WHERE organization_id = $1";
        let held = admin.client.query_one(held, &[&id]).await?;
        let (held, held_because) = (held.get(0), held.get(1));
        let totals = match organization.organization.state {
            State::Removed => None,
            State::Provisioning | State::Active | State::Suspended => {
                totals(&mut admin.client, &organization.organization.schema_name).await
            }
        };
        let reports = match organization.organization.state {
            State::Removed | State::Provisioning => None,
            State::Active | State::Suspended => {
                Some(reports(&mut admin.client, &organization.organization.schema_name).await)
            }
        };
        standings.push(Standing { organization, totals, held, held_because, reports });
    }
    Ok(standings)
}

async fn totals(client: &mut Client, schema: &str) -> Option<Totals> {
    let quoted = roles::quoted(schema);
    let sql = format!(
        "SELECT coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, \
                extract(epoch FROM clock_timestamp() - max(updated_at))::float8, \
                (SELECT count(*) FROM {quoted}.dead_letter WHERE discarded_at IS NULL) \
         FROM {quoted}.ingest_watermark"
    );
    let row = async { look_briefly(client, LOCK_PATIENCE).await?.query_one(&sql, &[]).await };
    match row.await {
        Ok(row) => Some(Totals {
            stored: row.get(0),
            duplicate: row.get(1),
            freshness_seconds: row.get(2),
            dead: row.get(3),
        }),
        Err(error) => {
            tracing::warn!(schema, %error, "a schema cannot be read");
            None
        }
    }
}

/// A reporter moves the state with each turn.
async fn reports(client: &mut Client, schema: &str) -> Reports {
    let quoted = roles::quoted(schema);
    let sql = format!(
        "SELECT s.taken_until < clock_timestamp() - interval '2 minutes', \
                b.next_txid IS NULL OR b.system_identifier <> c.system_identifier \
         FROM {quoted}.report_state AS s, {quoted}.report_build AS b, pg_control_system() AS c WHERE b.state = 'current'"
    );
    let row = async { look_briefly(client, LOCK_PATIENCE).await?.query_opt(&sql, &[]).await };
    match row.await {
        Ok(Some(row)) if row.get(1) => Reports::Building,
        Ok(Some(row)) if row.get(0) => Reports::Behind,
        Ok(Some(_)) => Reports::Current,
        Ok(None) => Reports::Unreadable,
        Err(error) => {
            tracing::warn!(schema, %error, "reports cannot be read");
            Reports::Unreadable
        }
    }
}

/// When Postgres was last found to have gone back in time, within the last week, and of which partitions.
#[derive(Clone, Debug)]
pub struct Rewound {
    /// To the second, in UTC.
    pub at: String,
    /// Those that began again at lower anchors, in their order.
    pub partitions: Vec<i32>,
}

/// Looks whether it was.
///
/// # Errors
/// Postgres.
pub async fn rewound(admin: &Admin) -> Result<Option<Rewound>, Error> {
    let sql = "SELECT to_char(max(rewound_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
                      array_agg(partition ORDER BY partition) \
               FROM rollbook.partition_anchor WHERE rewound_at > now() - interval '7 days' HAVING count(*) > 0";
    let row = admin.client.query_opt(sql, &[]).await?;
    Ok(row.map(|row| Rewound { at: row.get(0), partitions: row.get(1) }))
}

/// How far the current log is safe.
#[derive(Clone, Debug)]
pub struct Anchors {
    /// The log's current generation.
    pub generation: i32,
    /// The anchor of each partition that was ever loaded.
    pub partitions: HashMap<i32, Place>,
}

/// An anchor: below it every record is stored, held or written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where a loader begins.
    pub next_offset: i64,
    /// The record just below it; `None`: that one says nothing of itself, or there is none.
    pub record_id: Option<Uuid>,
}

/// Reads the anchors of the current generation.
///
/// # Errors
/// [`Error::NotSetUp`] when no log was ever declared; Postgres.
pub async fn anchors(admin: &Admin) -> Result<Anchors, Error> {
    let generation = admin.client.query_one("SELECT max(generation) FROM rollbook.log", &[]).await?;
    let generation = generation.get::<_, Option<i32>>(0).ok_or(Error::NotSetUp)?;
    let sql = "SELECT partition, next_offset, record_id FROM rollbook.partition_anchor WHERE generation = $1";
    let rows = admin.client.query(sql, &[&generation]).await?;
    let place = |row: &tokio_postgres::Row| Place { next_offset: row.get(1), record_id: row.get(2) };
    Ok(Anchors { generation, partitions: rows.iter().map(|row| (row.get(0), place(row))).collect() })
}
