//! `org add`: roles, schema and tables in one go, and the first key.
//!
//! One transaction: all of it is there, or nothing. Each step looks before it makes all the same, and the state becomes
//! `active` last: an organization that an earlier release, which took several, left in state `provisioning` is taken up
//! by the same command.

use serde_json::json;
use uuid::Uuid;

use super::change::Change;
use super::keys::{self, NewKey};
use super::organizations::{self, Lock};
use super::roles::{self, Mark};
use super::{Admin, Error, Installation, TENANT_SCHEMA_VERSION, TenantNames, grants, migrations, retry};
use crate::tenant::{OrganizationId, Slug, State};

/// An organization that is complete, and its first key.
#[derive(Debug)]
pub struct Provisioned {
    /// The organization.
    pub organization: organizations::Described,
    /// Its first key.
    pub key: NewKey,
}

/// Makes an organization, or finishes one that was begun. Two at a time for one slug wait for each other.
///
/// # Errors
/// [`Error::OrganizationExists`], [`Error::OrganizationRemoved`], [`Error::NameTaken`]; or Postgres. Then nothing was made.
pub async fn add(
    admin: &mut Admin,
    installation: &Installation,
    slug: &Slug,
    name: Option<&str>,
) -> Result<Provisioned, Error> {
    let names = TenantNames::new(installation, slug);
    let key = retry::on_conflict(async || {
        let change = admin.begin().await?;
        // Two of one slug meet here: the row of the one keeps the other waiting.
        let id = register(&change, &names, slug, name).await?;
        let mark = Mark::of(id);
        roles::ensure_role(&change, &names.writer, &mark).await?;
        roles::ensure_role(&change, &names.reader, &mark).await?;
        roles::ensure_schema(&change, &names.schema, &mark).await?;
        migrations::run(&change, &migrations::TENANT, &names.schema).await?;
        pin_organization(&change, &names.schema, id).await?;
        grants::ensure(&change, installation, &names).await?;
        let key = activate(&change, id).await?;
        change.commit().await?;
        Ok(key)
    });
    let key = key.await?;
    let organization = organizations::show(admin, slug).await?;
    Ok(Provisioned { organization, key })
}

/// Writes the organization's row, or finds the one that a former attempt left.
async fn register(
    change: &Change<'_>,
    names: &TenantNames,
    slug: &Slug,
    name: Option<&str>,
) -> Result<OrganizationId, Error> {
    let new = OrganizationId(Uuid::now_v7());
    let insert = "INSERT INTO rollbook.organization (id, slug, name, schema_name) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (slug) DO NOTHING";
    let display = name.unwrap_or(slug.as_str());
    let inserted = change.execute(insert, &[&new.0, &slug.as_str(), &display, &names.schema]).await? > 0;
    if !inserted {
        return resume(change, slug, name).await;
    }
    let what = json!({ "slug": slug.as_str(), "name": display });
    change.record("org.add", Some(new), &what).await?;
    Ok(new)
}

async fn resume(change: &Change<'_>, slug: &Slug, name: Option<&str>) -> Result<OrganizationId, Error> {
    let found = organizations::find(&**change, slug, Lock::AgainstChanges).await?.organization;
    match found.state {
        State::Provisioning => {}
        State::Removed => return Err(Error::OrganizationRemoved(slug.clone())),
        state @ (State::Active | State::Suspended) => {
            return Err(Error::OrganizationExists { slug: slug.clone(), state });
        }
    }
    if let Some(name) = name {
        let rename = "UPDATE rollbook.organization SET name = $2 WHERE id = $1 AND name <> $2";
        if change.execute(rename, &[&found.id.0, &name]).await? > 0 {
            change.record("org.set", Some(found.id), &json!({ "name": name })).await?;
        }
    }
    Ok(found.id)
}

/// The second fence: the watermark takes only this organization's id, so that a batch in the wrong schema fails in
/// Postgres even when our code is consistently wrong about where it belongs.
pub(super) async fn pin_organization(
    change: &Change<'_>,
    schema: &str,
    id: OrganizationId,
) -> Result<(), Error> {
    let table = format!("{}.ingest_watermark", roles::quoted(schema));
    let exists = "SELECT FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2";
    if change.query_opt(exists, &[&table, &PIN]).await?.is_none() {
        change
            .batch_execute(&format!(
                "ALTER TABLE {table} ADD CONSTRAINT {PIN} CHECK (organization_id = '{id}')"
            ))
            .await?;
    }
    Ok(())
}

/// Marks a schema that was restored without its comment. Whose it is says the CHECK, which came back with the table. Does nothing
/// where there is no such schema.
pub(super) async fn mark_again(change: &Change<'_>, schema: &str, id: OrganizationId) -> Result<(), Error> {
    let table = format!("{}.ingest_watermark", roles::quoted(schema));
    // To write a CHECK out is to wait for its table's lock: only a CASE keeps the planner from asking other schemas' first.
    let is_unmarked = "SELECT FROM pg_constraint \
                       WHERE conrelid = to_regclass($1) AND conname = $2 \
                         AND CASE WHEN conrelid = to_regclass($1) THEN pg_get_constraintdef(oid) LIKE $3 END \
                         AND obj_description(connamespace, 'pg_namespace') IS NULL";
    if change.query_opt(is_unmarked, &[&table, &PIN, &format!("%{id}%")]).await?.is_some() {
        roles::mark_schema(change, schema, &Mark::of(id)).await?;
    }
    Ok(())
}

/// Name of the CHECK that pins a schema to its organization.
pub(super) const PIN: &str = "ingest_watermark_is_of_this_organization";

/// The last step. A former attempt left no key: keys are made here only, with the state.
async fn activate(change: &Change<'_>, id: OrganizationId) -> Result<NewKey, Error> {
    let update = "UPDATE rollbook.organization SET state = 'active', schema_version = $2 WHERE id = $1";
    change.execute(update, &[&id.0, &TENANT_SCHEMA_VERSION]).await?;
    let key = keys::insert(change, id, Some("first")).await?;
    let what = json!({ "state": "active", "key_id": key.id, "schema_version": TENANT_SCHEMA_VERSION });
    change.record("org.ready", Some(id), &what).await?;
    Ok(key)
}
