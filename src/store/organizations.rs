//! Reading organizations from the control schema.

use std::num::NonZeroU32;
use std::time::SystemTime;

use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{Admin, Error};
use crate::tenant::{Organization, OrganizationId, Slug, State};

/// The columns that [`read`] takes; every login of ours may select them.
pub(super) const COLUMNS: &str = "id, slug, schema_name, state, schema_version, rate_limit, allowed_origins, \
     completion::pg_catalog.text AS completion";

/// An organization with what only people look at.
#[derive(Clone, Debug)]
pub struct Described {
    /// What the service works with.
    pub organization: Organization,
    /// For display.
    pub name: String,
    /// When `org add` was first called.
    pub created_at: Timestamp,
}

/// Every organization, removed ones too, by slug.
///
/// # Errors
/// Postgres, or a row that this release cannot read.
pub async fn list(admin: &Admin) -> Result<Vec<Described>, Error> {
    let sql = format!("SELECT {COLUMNS}, name, created_at FROM rollbook.organization ORDER BY slug");
    admin.client.query(&sql, &[]).await?.iter().map(describe).collect()
}

/// One organization.
///
/// # Errors
/// [`Error::NoSuchOrganization`], and as [`list`].
pub async fn show(admin: &Admin, slug: &Slug) -> Result<Described, Error> {
    find(&admin.client, slug, Lock::None).await
}

/// One that has a complete schema.
///
/// # Errors
/// [`Error::OrganizationProvisioning`], [`Error::OrganizationRemoved`], and as [`show`].
pub async fn standing(admin: &Admin, slug: &Slug) -> Result<Described, Error> {
    let one = show(admin, slug).await?;
    refuse_unless_standing(&one.organization)?;
    Ok(one)
}

/// Refuses one that has no complete schema.
///
/// # Errors
/// [`Error::OrganizationProvisioning`], [`Error::OrganizationRemoved`].
pub fn refuse_unless_standing(organization: &Organization) -> Result<(), Error> {
    let Organization { slug, state, .. } = organization;
    match state {
        State::Active | State::Suspended => Ok(()),
        State::Provisioning => Err(Error::OrganizationProvisioning(slug.clone())),
        State::Removed => Err(Error::OrganizationRemoved(slug.clone())),
    }
}

/// Whether a row is only read, or what else is kept from it until the transaction ends. A row's lock takes the right to change the
/// row: an advisory lock any login may take, an analyst's too, and keep.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    None,
    /// The organization is not removed meanwhile. Everything else may be done to it: its keys revoked, its records held.
    AgainstRemoval,
    /// Nothing else of it is changed meanwhile.
    AgainstChanges,
    /// Nothing is written that belongs to it.
    AgainstAll,
}

pub(super) async fn find(client: &impl GenericClient, slug: &Slug, lock: Lock) -> Result<Described, Error> {
    let lock = match lock {
        Lock::None => "",
        Lock::AgainstRemoval => "FOR KEY SHARE",
        Lock::AgainstChanges => "FOR NO KEY UPDATE",
        Lock::AgainstAll => "FOR UPDATE",
    };
    let sql = format!("SELECT {COLUMNS}, name, created_at FROM rollbook.organization WHERE slug = $1 {lock}");
    let row = client.query_opt(&sql, &[&slug.as_str()]).await?;
    row.as_ref().map_or_else(|| Err(Error::NoSuchOrganization(slug.clone())), describe)
}

fn describe(row: &Row) -> Result<Described, Error> {
    let organization = read(row)?;
    let created_at: SystemTime = row.get("created_at");
    let created_at = Timestamp::try_from(created_at)
        .map_err(|error| Error::UnreadableRow { id: organization.id, why: error.to_string() })?;
    Ok(Described { organization, name: row.get("name"), created_at })
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(row: &Row) -> Result<Organization, Error> {
    let id = OrganizationId(row.get::<_, Uuid>("id"));
    let unreadable = |why: String| Error::UnreadableRow { id, why };
    let slug: Slug = row.get::<_, &str>("slug").parse().map_err(|bad| unreadable(format!("{bad}")))?;
    let state: State = row.get::<_, &str>("state").parse().map_err(|bad| unreadable(format!("{bad}")))?;
    let completion = row.get::<_, &str>("completion").parse().map_err(|bad| unreadable(format!("{bad}")))?;
    let rate_limit: Option<i32> = row.get("rate_limit");
    Ok(Organization {
        id,
        slug,
        schema_name: row.get("schema_name"),
        state,
        schema_version: row.get("schema_version"),
        rate_limit: rate_limit.and_then(|limit| u32::try_from(limit).ok()).and_then(NonZeroU32::new),
        origins: row.get("allowed_origins"),
        completion,
    })
}
