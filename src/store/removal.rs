//! `org remove`: schema and roles go, keys die, the row stays.
//!
//! First, in one transaction, the organization is `removed`: its keys are revoked and its held records deleted, and
//! from here on the loader holds nothing for it. Then what provisioning made is dropped. A crash in between leaves a
//! removed organization with things to sweep, and the same command sweeps them.

use serde_json::json;

use super::organizations::{self, Described, Lock};
use super::roles::{self, Found, Mark};
use super::{Admin, Error, Installation, TenantNames, retry, trail};
use crate::tenant::{OrganizationId, Slug, State};

/// Dropping waits for the loader's open transactions (10 s at most), but not for an analyst's long query.
const LOCK_TIMEOUT: &str = "15s";

/// Removes an organization with everything that it has. Can be repeated.
///
/// # Errors
/// [`Error::NoSuchOrganization`]; or [`Error::NotSwept`], when its schema or a role is in use: the organization is
/// removed all the same, and repeating the command sweeps up.
pub async fn remove(admin: &mut Admin, installation: &Installation, slug: &Slug) -> Result<Described, Error> {
    let names = TenantNames::new(installation, slug);
    admin
        .locked(&names.schema, async |admin| {
            let id = end(admin, slug).await?;
            sweep(admin, &names, &Mark::of(id)).await?;
            organizations::show(admin, slug).await
        })
        .await
}

async fn end(admin: &mut Admin, slug: &Slug) -> Result<OrganizationId, Error> {
    let transaction = admin.client.transaction().await?;
    let found = organizations::find(&transaction, slug, Lock::ForUpdate).await?.organization;
    if found.state == State::Removed {
        return Ok(found.id);
    }
    let id = &found.id.0;
    transaction.execute("UPDATE rollbook.organization SET state = 'removed' WHERE id = $1", &[id]).await?;
    let keys =
        "UPDATE rollbook.write_key SET revoked_at = now() WHERE organization_id = $1 AND revoked_at IS NULL";
    let keys_revoked = transaction.execute(keys, &[id]).await?;
    let held = "DELETE FROM rollbook.held_record WHERE organization_id = $1";
    let held_records_deleted = transaction.execute(held, &[id]).await?;
    let what = json!({
        "state": "removed",
        "keys_revoked": keys_revoked,
        "held_records_deleted": held_records_deleted,
    });
    trail::record(&transaction, &admin.operator, "org.remove", Some(found.id), &what).await?;
    transaction.commit().await?;
    Ok(found.id)
}

/// Drops what carries the organization's mark, and nothing else. The schema first and for itself: a role that is still
/// named in somebody's rights must not keep the events.
async fn sweep(admin: &mut Admin, names: &TenantNames, mark: &Mark) -> Result<(), Error> {
    let schema = retry::on_conflict(async || drop_schema(admin, &names.schema, mark).await).await;
    schema.map_err(|source| not_swept("schema", &names.schema, source))?;
    for role in [&names.writer, &names.reader] {
        let role_dropped = retry::on_conflict(async || drop_role(admin, role, mark).await).await;
        role_dropped.map_err(|source| not_swept("role", role, source))?;
    }
    Ok(())
}

async fn drop_schema(admin: &mut Admin, schema: &str, mark: &Mark) -> Result<(), Error> {
    let transaction = admin.client.transaction().await?;
    transaction.batch_execute(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await?;
    if roles::find_schema(&transaction, schema, mark).await? == Found::Ours {
        transaction.batch_execute(&format!("DROP SCHEMA {} CASCADE", roles::quoted(schema))).await?;
    }
    Ok(transaction.commit().await?)
}

async fn drop_role(admin: &mut Admin, role: &str, mark: &Mark) -> Result<(), Error> {
    let transaction = admin.client.transaction().await?;
    if roles::find_role(&transaction, role, mark).await? == Found::Ours {
        transaction.batch_execute(&format!("DROP ROLE {}", roles::quoted(role))).await?;
    }
    Ok(transaction.commit().await?)
}

fn not_swept(kind: &'static str, name: &str, source: Error) -> Error {
    Error::NotSwept { kind, name: name.to_owned(), source: Box::new(source) }
}
