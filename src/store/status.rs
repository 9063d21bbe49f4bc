//! What stands in each organization's schema, in numbers.

use tokio_postgres::Client;

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
