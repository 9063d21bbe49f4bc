//! What stands in each organization's schema, in numbers.

use std::collections::HashMap;

use tokio_postgres::Client;
use uuid::Uuid;

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
pub async fn status(admin: &Admin, only: Option<&Slug>) -> Result<Vec<Standing>, Error> {
    let described = match only {
        Some(slug) => vec![organizations::show(admin, slug).await?],
        None => organizations::list(admin).await?,
    };
    let mut standings = Vec::with_capacity(described.len());
    for organization in described {
        let id = organization.organization.id.0;
        let held = "SELECT coalesce(sum(events), 0) FROM rollbook.held_record WHERE organization_id = $1";
        let held = admin.client.query_one(held, &[&id]).await?.get(0);
        let totals = match organization.organization.state {
            State::Removed => None,
            State::Provisioning | State::Active | State::Suspended => {
                totals(&admin.client, &organization.organization.schema_name).await
            }
        };
        standings.push(Standing { organization, totals, held });
    }
    Ok(standings)
}

async fn totals(client: &Client, schema: &str) -> Option<Totals> {
    let quoted = roles::quoted(schema);
    let sql = format!(
        "SELECT coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, \
                extract(epoch FROM clock_timestamp() - max(updated_at))::float8, \
                (SELECT count(*) FROM {quoted}.dead_letter WHERE discarded_at IS NULL) \
         FROM {quoted}.ingest_watermark"
    );
    match client.query_one(&sql, &[]).await {
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
