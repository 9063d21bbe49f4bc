//! Held records, as an administrator looks at them. Draining them is the loader's.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use super::dead_letters::standing;
use super::{Admin, Error};
use crate::tenant::{Organization, OrganizationId, Slug};

/// One held record.
#[derive(Clone, Debug)]
pub struct HeldRecord {
    /// Which life of the log it came from.
    pub generation: i32,
    /// Where in the log it came from.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// How many events it carries.
    pub events: i32,
    /// Since when it is held.
    pub held_at: Timestamp,
    /// Why the schema could not take it.
    pub reason: String,
}

/// An organization that has a schema, and what is held for it in the order in which it will be drained.
///
/// # Errors
/// The organization has no schema, or Postgres.
pub async fn list(admin: &Admin, slug: &Slug) -> Result<(Organization, Vec<HeldRecord>), Error> {
    let organization = standing(&admin.client, slug).await?;
    let sql = "SELECT generation, partition, log_offset, events, held_at, reason FROM rollbook.held_record \
               WHERE organization_id = $1 ORDER BY generation, partition, log_offset";
    let rows = admin.client.query(sql, &[&organization.id.0]).await?;
    let read = |row: &tokio_postgres::Row| {
        Ok(HeldRecord {
            generation: row.get(0),
            partition: row.get(1),
            offset: row.get(2),
            events: row.get(3),
            held_at: Timestamp::try_from(row.get::<_, SystemTime>(4))?,
            reason: row.get(5),
        })
    };
    let held: Result<_, jiff::Error> = rows.iter().map(read).collect();
    let held = held.map_err(|error| Error::UnreadableRow { id: organization.id, why: error.to_string() })?;
    Ok((organization, held))
}

/// How many records are held for an organization.
///
/// # Errors
/// Postgres.
pub async fn count(admin: &Admin, organization: OrganizationId) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM rollbook.held_record WHERE organization_id = $1";
    let count: i64 = admin.client.query_one(sql, &[&organization.0]).await?.get(0);
    Ok(count.max(0).unsigned_abs())
}

/// A drain's line in the trail: there from the first batch on, so that it stays whatever becomes of those behind it.
#[derive(Debug, Default)]
pub struct DrainLine {
    id: Option<i64>,
}

impl DrainLine {
    /// Writes that a person drained, and what came of it so far.
    ///
    /// # Errors
    /// Postgres.
    pub async fn write(
        &mut self,
        admin: &mut Admin,
        organization: OrganizationId,
        what: &Value,
    ) -> Result<(), Error> {
        let change = admin.begin().await?;
        match self.id {
            Some(line) => {
                let sql = "UPDATE rollbook.admin_event SET what = $2 WHERE id = $1";
                change.execute(sql, &[&line, what]).await?;
            }
            None => self.id = Some(change.record("held.drain", Some(organization), what).await?),
        }
        change.commit().await
    }
}
