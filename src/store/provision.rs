//! `org add`: roles, schema and tables in one go, and the first key.
//!
//! Each step looks before it makes, and the state becomes `active` last, in the transaction that makes the key. So a
//! crash anywhere leaves an organization in state `provisioning`, and the same command takes it up again.

use serde_json::json;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::keys::{self, NewKey};
use super::organizations::{self, Lock};
use super::roles::{self, Found, Mark};
use super::{Admin, Error, Installation, TENANT_SCHEMA_VERSION, TenantNames, grants, migrations, trail};
use crate::config::Operator;
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
/// [`Error::OrganizationExists`], [`Error::OrganizationRemoved`], [`Error::NameTaken`]; or Postgres, and then the
/// organization is still in state `provisioning`.
pub async fn add(
    admin: &mut Admin,
    installation: &Installation,
    slug: &Slug,
    name: Option<&str>,
) -> Result<Provisioned, Error> {
    let names = TenantNames::new(installation, slug);
    admin
        .locked(&names.schema, async |admin| {
            let id = register(admin, &names, slug, name).await?;
            let mark = Mark::of(id);
            roles::ensure_role(admin, &names.writer, &mark).await?;
            roles::ensure_role(admin, &names.reader, &mark).await?;
            roles::ensure_schema(admin, &names.schema, &mark).await?;
            admin.run_migrations(&migrations::TENANT, &names.schema).await?;
            pin_organization(admin, &names.schema, id).await?;
            grants::ensure(admin, installation, &names).await?;
            let key = activate(admin, id).await?;
            let organization = organizations::show(admin, slug).await?;
            Ok(Provisioned { organization, key })
        })
        .await
}

/// Writes the organization's row, or finds the one that a former attempt left.
async fn register(
    admin: &mut Admin,
    names: &TenantNames,
    slug: &Slug,
    name: Option<&str>,
) -> Result<OrganizationId, Error> {
    let transaction = admin.client.transaction().await?;
    let new = OrganizationId(Uuid::now_v7());
    let insert = "INSERT INTO rollbook.organization (id, slug, name, schema_name) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (slug) DO NOTHING";
    let display = name.unwrap_or(slug.as_str());
    let inserted = transaction.execute(insert, &[&new.0, &slug.as_str(), &display, &names.schema]).await? > 0;
    let id = if inserted {
        refuse_taken_names(&transaction, names, new).await?;
        let what = json!({ "slug": slug.as_str(), "name": display });
        trail::record(&transaction, &admin.operator, "org.add", Some(new), &what).await?;
        new
    } else {
        resume(&transaction, &admin.operator, slug, name).await?
    };
    transaction.commit().await?;
    Ok(id)
}

async fn resume(
    transaction: &Transaction<'_>,
    operator: &Operator,
    slug: &Slug,
    name: Option<&str>,
) -> Result<OrganizationId, Error> {
    let found = organizations::find(transaction, slug, Lock::ForUpdate).await?.organization;
    match found.state {
        State::Provisioning => {}
        State::Removed => return Err(Error::OrganizationRemoved(slug.clone())),
        state @ (State::Active | State::Suspended) => {
            return Err(Error::OrganizationExists { slug: slug.clone(), state });
        }
    }
    if let Some(name) = name {
        let rename = "UPDATE rollbook.organization SET name = $2 WHERE id = $1 AND name <> $2";
        if transaction.execute(rename, &[&found.id.0, &name]).await? > 0 {
            trail::record(transaction, operator, "org.set", Some(found.id), &json!({ "name": name })).await?;
        }
    }
    Ok(found.id)
}

/// A new organization finds none of its names in use. Asked before the row stands, so that no half-made
/// organization is left behind for a name that can never be had.
async fn refuse_taken_names(
    transaction: &Transaction<'_>,
    names: &TenantNames,
    id: OrganizationId,
) -> Result<(), Error> {
    let mark = Mark::of(id);
    for role in [&names.writer, &names.reader] {
        if roles::find_role(transaction, role, &mark).await? != Found::Nothing {
            return Err(Error::NameTaken { kind: "role", name: role.clone() });
        }
    }
    if roles::find_schema(transaction, &names.schema, &mark).await? != Found::Nothing {
        return Err(Error::NameTaken { kind: "schema", name: names.schema.clone() });
    }
    Ok(())
}

/// The second fence: the watermark takes only this organization's id, so that a batch in the wrong schema fails in
/// Postgres even when our code is consistently wrong about where it belongs.
pub(super) async fn pin_organization(
    admin: &mut Admin,
    schema: &str,
    id: OrganizationId,
) -> Result<(), Error> {
    let table = format!("{}.ingest_watermark", roles::quoted(schema));
    let transaction = admin.client.transaction().await?;
    let exists = "SELECT FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2";
    if transaction.query_opt(exists, &[&table, &PIN]).await?.is_none() {
        transaction
            .batch_execute(&format!(
                "ALTER TABLE {table} ADD CONSTRAINT {PIN} CHECK (organization_id = '{id}')"
            ))
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// Name of the CHECK that pins a schema to its organization.
const PIN: &str = "ingest_watermark_is_of_this_organization";

/// The last step. A former attempt left no key: keys are made here only, with the state.
async fn activate(admin: &mut Admin, id: OrganizationId) -> Result<NewKey, Error> {
    let transaction = admin.client.transaction().await?;
    let update = "UPDATE rollbook.organization SET state = 'active', schema_version = $2 WHERE id = $1";
    transaction.execute(update, &[&id.0, &TENANT_SCHEMA_VERSION]).await?;
    let key = keys::insert(&transaction, id, Some("first")).await?;
    let what = json!({ "state": "active", "key_id": key.id, "schema_version": TENANT_SCHEMA_VERSION });
    trail::record(&transaction, &admin.operator, "org.ready", Some(id), &what).await?;
    transaction.commit().await?;
    Ok(key)
}
