//! Which schemas lack nothing that `migrate` brings, found out of all at once: schema by schema it would take longer to ask
//! than there is to do.
//!
//! A schema that is not found complete, for whatever reason (its organization is being removed, somebody has locked it), is
//! only left to be looked at by itself, where the reason is said.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::{Error, GenericClient, Transaction};

use super::connect::no_longer_than;
use super::grants::of_writer;
use super::migrations::{self, TENANT_SCHEMA_VERSION};
use super::organizations::Described;
use super::provision::PIN;
use super::roles::Mark;
use super::{Admin, Installation, TenantNames, indexes, roles};
use crate::tenant::OrganizationId;

/// Histories that are read in one statement: each table that it names is two locks until it ends, of some thousands that a
/// server has in all.
const HISTORIES_AT_A_TIME: usize = 100;

/// Finds the organizations that `migrate` has nothing to do for.
///
/// # Errors
/// Postgres.
pub(super) async fn complete(
    admin: &mut Admin,
    installation: &Installation,
    organizations: &[Described],
    lock_timeout: Duration,
) -> Result<HashSet<OrganizationId>, Error> {
    let current = organizations.iter().filter(|one| one.organization.schema_version == TENANT_SCHEMA_VERSION);
    let asked: Vec<Asked> = current.map(|one| Asked::new(installation, one)).collect();
    let marked = marked(&admin.client, &asked).await?;
    let furnished = furnished(&admin.client, installation, &marked).await?;
    let mut complete = HashSet::with_capacity(furnished.len());
    for some in furnished.chunks(HISTORIES_AT_A_TIME) {
        let transaction = admin.client.transaction().await?;
        match with_whole_history(&transaction, some, lock_timeout).await {
            Ok(whole) => complete.extend(whole),
            Err(error) if error.as_db_error().is_some() => {
                tracing::debug!(%error, "the histories of some schemas could not be read together");
            }
            Err(error) => return Err(error),
        }
        transaction.rollback().await?;
    }
    Ok(complete)
}

/// An organization, and what its things are called.
struct Asked {
    id: OrganizationId,
    names: TenantNames,
}

impl Asked {
    fn new(installation: &Installation, one: &Described) -> Self {
        let names = TenantNames::new(installation, &one.organization.slug);
        Self { id: one.organization.id, names }
    }
}

/// Those whose schema and roles bear their marks. Asked before all else: beside what is asked of relations the planner takes these
/// for so few that it reads all relations for each.
async fn marked<'a>(client: &impl GenericClient, asked: &'a [Asked]) -> Result<Vec<&'a Asked>, Error> {
    let sql = "SELECT at \
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) \
                   WITH ORDINALITY AS asked (schema, writer, reader, mark, at) \
               JOIN pg_namespace n ON nspname = schema \
               JOIN pg_roles w ON w.rolname = asked.writer JOIN pg_roles r ON r.rolname = asked.reader \
               WHERE obj_description(n.oid, 'pg_namespace') = mark \
                 AND shobj_description(w.oid, 'pg_authid') = mark AND shobj_description(r.oid, 'pg_authid') = mark \
               ORDER BY at";
    let column =
        |name: fn(&TenantNames) -> &str| -> Vec<&str> { asked.iter().map(|one| name(&one.names)).collect() };
    let marks: Vec<Mark> = asked.iter().map(|one| Mark::of(one.id)).collect();
    let marks: Vec<&str> = marks.iter().map(Mark::as_str).collect();
    let (schemas, writers, readers) =
        (column(|names| &names.schema), column(|names| &names.writer), column(|names| &names.reader));
    let rows = client.query(sql, &[&schemas, &writers, &readers, &marks]).await?;
    Ok(rows.iter().filter_map(place).filter_map(|at| asked.get(at)).collect())
}

/// Where in what was asked a row belongs.
fn place(row: &tokio_postgres::Row) -> Option<usize> {
    usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)
}

/// Those among them whose grants, CHECK and index the catalogs show.
async fn furnished<'a>(
    client: &impl GenericClient,
    installation: &Installation,
    asked: &[&'a Asked],
) -> Result<Vec<&'a Asked>, Error> {
    // One pass over the catalogs. What is missing makes these functions answer NULL, never fail: they are asked by oid.
    let sql = "SELECT at \
               FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (schema, writer, reader, at) \
               JOIN pg_namespace n ON nspname = schema \
               JOIN pg_roles w ON w.rolname = asked.writer JOIN pg_roles r ON r.rolname = asked.reader \
               JOIN pg_class c ON relnamespace = n.oid AND relkind IN ('r', 'p', 'v', 'm', 'f', 'i') \
               LEFT JOIN unnest($4::text[], $5::text[]) AS written (name, privileges) ON name = relname AND relkind <> 'i' \
               WHERE has_schema_privilege(w.oid, n.oid, 'USAGE') AND has_schema_privilege(r.oid, n.oid, 'USAGE') \
                 AND pg_has_role(r.oid, (SELECT oid FROM pg_roles WHERE rolname = $9), 'MEMBER') \
                 AND pg_has_role((SELECT oid FROM pg_roles WHERE rolname = $10), w.oid, 'MEMBER') \
               GROUP BY at \
               HAVING bool_and(relkind = 'i' OR has_table_privilege(r.oid, c.oid, 'SELECT')) \
                  AND count(*) FILTER (WHERE (SELECT bool_and(has_table_privilege(w.oid, c.oid, one)) \
                                              FROM unnest(string_to_array(privileges, ', ')) AS one)) = cardinality($4) \
                  AND bool_or(relname = 'ingest_watermark' \
                              AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND conname = $6)) \
                  AND bool_or(relname = $7 AND EXISTS (SELECT FROM pg_index WHERE indexrelid = c.oid AND indisvalid)) \
                  AND bool_or(relname = $8 AND relkind = 'r') \
               ORDER BY at";
    let column =
        |name: fn(&TenantNames) -> &str| -> Vec<&str> { asked.iter().map(|one| name(&one.names)).collect() };
    let (tables, privileges): (Vec<&str>, Vec<&str>) = of_writer().unzip();
    let rows = client
        .query(
            sql,
            &[
                &column(|names| &names.schema),
                &column(|names| &names.writer),
                &column(|names| &names.reader),
                &tables,
                &privileges,
                &PIN,
                &indexes::STORED,
                &migrations::HISTORY,
                &installation.readers_role(),
                &installation.loader_login,
            ],
        )
        .await?;
    Ok(rows.iter().filter_map(place).filter_map(|at| asked.get(at).copied()).collect())
}

/// Those in which exactly this release's migrations ran.
async fn with_whole_history(
    transaction: &Transaction<'_>,
    asked: &[&Asked],
    lock_timeout: Duration,
) -> Result<Vec<OrganizationId>, Error> {
    transaction.batch_execute(&no_longer_than(lock_timeout)).await?;
    let each = asked.iter().enumerate().map(|(at, one)| {
        let history = format!("{}.{}", roles::quoted(&one.names.schema), migrations::HISTORY);
        format!(
            "SELECT {at} AS at WHERE $1 = (SELECT string_agg(concat_ws(' ', version, name, checksum), ', ' ORDER BY version) \
             FROM {history})"
        )
    });
    let sql = each.collect::<Vec<_>>().join(" UNION ALL ");
    let rows = transaction.query(&sql, &[&migrations::whole_tenant_history()]).await?;
    let place = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(0)).ok();
    Ok(rows.iter().filter_map(place).filter_map(|at| asked.get(at)).map(|one| one.id).collect())
}
