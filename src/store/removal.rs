//! `org remove`: schema and roles go, keys die, the row stays.
//!
//! First, in one transaction, the organization is `removed`: its keys are revoked and its held records deleted, and
//! from here on the loader holds nothing for it. Then what provisioning made is dropped. A crash in between leaves a
//! removed organization with things to sweep, and the same command sweeps them.

mod dependents;

use serde_json::json;

use super::change::Change;
use super::organizations::{self, Described, Lock};
use super::roles::{self, Found, Mark};
use super::{Admin, Error, Installation, TenantNames, blockers, provision, retry};
use crate::tenant::{OrganizationId, Slug, State};

/// Dropping waits for the loader's open transactions (10 s at most), but not for an analyst's long query.
const LOCK_TIMEOUT: &str = "15s";

/// What is to become of things elsewhere that hang on the organization's schema, such as a view over two organizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dependents {
    /// They are not the organization's: where there are any, nothing is removed.
    Refuse,
    /// They go along.
    Cascade,
}

/// What was removed.
#[derive(Debug)]
pub struct Removed {
    /// The organization.
    pub organization: Described,
    /// What went along outside of its schema, in Postgres' words.
    pub cascaded: Vec<String>,
}

/// What hangs on an organization's schema from outside and would go with it, in Postgres' words.
///
/// # Errors
/// Postgres.
pub async fn dependents(
    admin: &Admin,
    installation: &Installation,
    slug: &Slug,
) -> Result<Vec<String>, Error> {
    Ok(dependents::list(&admin.client, &TenantNames::new(installation, slug).schema).await?)
}

/// Removes an organization with everything that it has. Can be repeated.
///
/// # Errors
/// [`Error::NoSuchOrganization`]; [`Error::HasDependents`], and then nothing was done; or [`Error::NotSwept`], when its
/// schema or a role is in use: the organization is removed all the same, and repeating the command sweeps up.
pub async fn remove(admin: &mut Admin, installation: &Installation, slug: &Slug) -> Result<Removed, Error> {
    remove_and(admin, installation, slug, Dependents::Refuse).await
}

/// The same, and lets go along what hangs on the schema from outside.
///
/// # Errors
/// As [`remove`], but for [`Error::HasDependents`].
pub async fn remove_cascading(
    admin: &mut Admin,
    installation: &Installation,
    slug: &Slug,
) -> Result<Removed, Error> {
    remove_and(admin, installation, slug, Dependents::Cascade).await
}

async fn remove_and(
    admin: &mut Admin,
    installation: &Installation,
    slug: &Slug,
    dependents: Dependents,
) -> Result<Removed, Error> {
    let names = TenantNames::new(installation, slug);
    let id = retry::on_conflict(async || end(admin, &names, slug, dependents).await).await?;
    let cascaded = sweep(admin, &names, slug, id, dependents).await?;
    Ok(Removed { organization: organizations::show(admin, slug).await?, cascaded })
}

async fn end(
    admin: &mut Admin,
    names: &TenantNames,
    slug: &Slug,
    dependents: Dependents,
) -> Result<OrganizationId, Error> {
    let change = admin.begin().await?;
    let found = organizations::find(&*change, slug, Lock::AgainstAll).await?.organization;
    if found.state == State::Removed {
        return Ok(found.id);
    }
    provision::mark_again(&change, &names.schema, found.id).await?;
    let mark = Mark::of(found.id);
    for schema in roles::schemas_of(&*change, &mark).await? {
        judge(&change, &schema, dependents).await?;
        // Whoever keeps its tables locked keeps them from being dropped, but from now on reads them no more.
        shut(&change, &schema, &names.reader).await?;
    }
    // One that lost its mark and what proves whose it is stays until a person has said so; its readers do not.
    if matches!(roles::find_schema(&*change, &names.schema, &mark).await?, Found::SomebodyElses(None)) {
        shut(&change, &names.schema, &names.reader).await?;
    }
    let id = &found.id.0;
    change.execute("UPDATE rollbook.organization SET state = 'removed' WHERE id = $1", &[id]).await?;
    let keys =
        "UPDATE rollbook.write_key SET revoked_at = now() WHERE organization_id = $1 AND revoked_at IS NULL";
    let keys_revoked = change.execute(keys, &[id]).await?;
    let held = "DELETE FROM rollbook.held_record WHERE organization_id = $1";
    let held_records_deleted = change.execute(held, &[id]).await?;
    let what = json!({
        "state": "removed",
        "keys_revoked": keys_revoked,
        "held_records_deleted": held_records_deleted,
    });
    change.record("org.remove", Some(found.id), &what).await?;
    change.commit().await?;
    Ok(found.id)
}

/// Lists what would go along, and refuses where that was not asked for.
async fn judge(change: &Change<'_>, schema: &str, dependents: Dependents) -> Result<Vec<String>, Error> {
    let found = dependents::list(&**change, schema).await?;
    if dependents == Dependents::Refuse && !found.is_empty() {
        return Err(Error::HasDependents { schema: schema.to_owned(), dependents: found });
    }
    Ok(found)
}

/// Takes the way into a schema from its readers.
async fn shut(change: &Change<'_>, schema: &str, reader: &str) -> Result<(), Error> {
    if roles::role_exists(change, reader).await? {
        let (schema, reader) = (roles::quoted(schema), roles::quoted(reader));
        change.batch_execute(&format!("REVOKE ALL ON SCHEMA {schema} FROM {reader}")).await?;
    }
    Ok(())
}

/// Drops what carries the organization's mark, and nothing else; and refuses to call it done where something else has its
/// name. The schema first and for itself: a role that is still named in somebody's rights must not keep the events.
async fn sweep(
    admin: &mut Admin,
    names: &TenantNames,
    slug: &Slug,
    id: OrganizationId,
    dependents: Dependents,
) -> Result<Vec<String>, Error> {
    let mark = Mark::of(id);
    let dropped =
        retry::on_conflict(async || drop_schemas(admin, &names.schema, slug, id, dependents).await).await;
    let cascaded = match dropped {
        Ok(cascaded) => cascaded,
        Err(source) => {
            let source = blockers::named(admin, &names.schema, source).await;
            return Err(not_swept("schema", &names.schema, source));
        }
    };
    let schema = roles::find_schema(&admin.client, &names.schema, &mark).await?;
    refuse_what_is_left(schema, "schema", &names.schema, &mark)?;
    for role in [&names.writer, &names.reader] {
        let role_dropped = retry::on_conflict(async || drop_role(admin, slug, role, &mark).await).await;
        role_dropped.map_err(|source| not_swept("role", role, source))?;
        let role_found = roles::find_role(&admin.client, role, &mark).await?;
        refuse_what_is_left(role_found, "role", role, &mark)?;
    }
    Ok(cascaded)
}

/// What bears another organization's mark is no remainder of this one.
fn refuse_what_is_left(found: Found, kind: &'static str, name: &str, mark: &Mark) -> Result<(), Error> {
    if found.is_another_organizations() {
        return Ok(());
    }
    found.refuse_unless_its_own(kind, name, mark).map_err(|source| not_swept(kind, name, source))
}

/// Its schema, and where a person renamed one and kept it, that too.
async fn drop_schemas(
    admin: &mut Admin,
    schema: &str,
    slug: &Slug,
    id: OrganizationId,
    dependents: Dependents,
) -> Result<Vec<String>, Error> {
    let change = admin.begin().await?;
    change.batch_execute(&format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await?;
    organizations::find(&*change, slug, Lock::AgainstAll).await?;
    provision::mark_again(&change, schema, id).await?;
    let mut cascaded = Vec::new();
    for schema in roles::schemas_of(&*change, &Mark::of(id)).await? {
        // From here on nobody can make anything that hangs on the tables. (Locking a view would lock what it reads elsewhere.)
        lock_tables(&change, &schema).await?;
        cascaded.extend(judge(&change, &schema, dependents).await?);
        change.batch_execute(&format!("DROP SCHEMA {} CASCADE", roles::quoted(&schema))).await?;
    }
    // They were somebody else's, and that the organization was removed says nothing of them.
    if !cascaded.is_empty() {
        change.record("org.remove", Some(id), &json!({ "cascaded": cascaded })).await?;
    }
    change.commit().await?;
    Ok(cascaded)
}

async fn lock_tables(change: &Change<'_>, schema: &str) -> Result<(), Error> {
    let sql = "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
               WHERE nspname = $1 AND relkind IN ('r', 'p')";
    let tables = change.query(sql, &[&schema]).await?;
    let tables: Vec<&str> = tables.iter().map(|row| row.get(0)).collect();
    if !tables.is_empty() {
        change.batch_execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))).await?;
    }
    Ok(())
}

async fn drop_role(admin: &mut Admin, slug: &Slug, role: &str, mark: &Mark) -> Result<(), Error> {
    let change = admin.begin().await?;
    organizations::find(&*change, slug, Lock::AgainstAll).await?;
    if roles::find_role(&*change, role, mark).await? == Found::Ours {
        change.batch_execute(&format!("DROP ROLE {}", roles::quoted(role))).await?;
    }
    change.commit().await
}

fn not_swept(kind: &'static str, name: &str, source: Error) -> Error {
    Error::NotSwept { kind, name: name.to_owned(), source: Box::new(source) }
}
