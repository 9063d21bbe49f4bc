//! What a service login may do beyond its role's need. `serve` refuses to start with such a login.
//!
//! Asked of Postgres at start, by the login itself: what the login could do if our code were wrong is what matters,
//! whatever setup once granted.

mod writers;

use std::collections::HashSet;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::roles::Mark;
use crate::tenant::{OrganizationId, RolePrefix, Slug};
use writers::Writer;

/// Table privileges that each role needs, as `schema.table privilege`.
const INTAKE: &[&str] = &["rollbook.organization SELECT", "rollbook.write_key SELECT"];
const LOADER: &[&str] = &[
    "rollbook.organization SELECT",
    "rollbook.log SELECT",
    "rollbook.held_record SELECT",
    "rollbook.held_record INSERT",
    "rollbook.held_record DELETE",
    "rollbook.partition_anchor INSERT",
    "rollbook.partition_anchor SELECT",
    "rollbook.partition_anchor UPDATE",
    "rollbook.unreadable_record INSERT",
];
/// More of the same says nothing new.
const MOST_NAMED: usize = 5;

/// What intake's login may do beyond its need; empty: nothing. Asked in a transaction of [`look`].
///
/// # Errors
/// Postgres.
///
/// [`look`]: super::look
pub async fn check_intake(client: &Transaction<'_>) -> Result<Vec<String>, tokio_postgres::Error> {
    excess(client, INTAKE, |_| false).await
}

/// What the loader's login may do beyond its need; empty: nothing. It may become the `org_…` roles of this
/// installation, must not have their rights before it does, and none but theirs afterwards. Asked in a transaction of
/// [`look`](super::look).
///
/// # Errors
/// Postgres.
pub async fn check_loader(
    client: &Transaction<'_>,
    prefix: &RolePrefix,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let organizations =
        client.query_typed("SELECT slug, schema_name, id FROM rollbook.organization", &[]).await?;
    let writers: Vec<Writer> = organizations
        .iter()
        .filter_map(|row| {
            let slug: Slug = row.get::<_, &str>(0).parse().ok()?;
            let mark = Mark::of(OrganizationId(row.get(2))).as_str().to_owned();
            Some(Writer { role: prefix.writer_role(&slug), schema: row.get(1), mark })
        })
        .collect();
    let roles: HashSet<&str> = writers.iter().map(|writer| writer.role.as_str()).collect();
    let mut excess = excess(client, LOADER, |role| roles.contains(role)).await?;
    if !excess.iter().any(|one| one == SUPERUSER) {
        excess.extend(shortened(writers::excess(client, &writers).await?, "organizations' roles"));
    }
    Ok(excess)
}

/// Everything that a login may do, but for privileges that are `needed` and memberships that it `may_have`.
async fn excess(
    client: &Transaction<'_>,
    needed: &[&str],
    may_have: impl Fn(&str) -> bool,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let attributes = attributes(client).await?;
    // A superuser may do everything: listing that would hide what it is.
    if attributes.iter().any(|attribute| attribute == SUPERUSER) {
        return Ok(attributes);
    }
    let roles = memberships(client).await?.into_iter().filter(|role| !may_have(role));
    let mut excess = attributes;
    excess.extend(shortened(roles.map(|role| format!("is a member of `{role}`")).collect(), "roles"));
    excess.extend(shortened(schemas(client).await?, "schemas"));
    excess.extend(shortened(tables(client, needed).await?, "tables or views"));
    Ok(excess)
}

fn shortened(mut list: Vec<String>, of_what: &str) -> Vec<String> {
    if list.len() > MOST_NAMED {
        let more = list.len() - MOST_NAMED;
        list.truncate(MOST_NAMED);
        list.push(format!("and the like of {more} more {of_what}"));
    }
    list
}

const SUPERUSER: &str = "is a superuser";

/// What the login is, and what it may do with the database itself.
async fn attributes(client: &Transaction<'_>) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT says FROM pg_roles, pg_database, LATERAL (VALUES
            (rolsuper, $1),
            (rolcreaterole, 'may create roles'),
            (rolcreatedb, 'may create databases'),
            (rolreplication, 'may replicate'),
            (rolbypassrls, 'bypasses row security'),
            (datdba = pg_roles.oid, 'owns the database'),
            (has_database_privilege(datname, 'CREATE'), 'may create schemas')) AS attribute (has_it, says)
        WHERE rolname = current_user AND datname = current_database() AND has_it";
    Ok(client.query_typed(sql, &[(&SUPERUSER, Type::TEXT)]).await?.iter().map(|row| row.get(0)).collect())
}

/// Schemas that the login owns, or may make things in.
async fn schemas(client: &Transaction<'_>) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT CASE WHEN pg_get_userbyid(nspowner) = current_user THEN 'owns the schema `' || nspname || '`'
                    ELSE 'may create things in the schema `' || nspname || '`' END
        FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND (pg_get_userbyid(nspowner) = current_user OR has_schema_privilege(oid, 'CREATE'))
        ORDER BY nspname";
    Ok(client.query_typed(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Roles that the login is in, directly or through another: what it inherits, or can become.
async fn memberships(client: &Transaction<'_>) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        WITH RECURSIVE member_of (oid) AS (
            SELECT roleid FROM pg_auth_members
            WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
            UNION SELECT roleid FROM pg_auth_members JOIN member_of ON member = member_of.oid
        )
        SELECT rolname::text FROM pg_roles JOIN member_of USING (oid) ORDER BY 1";
    Ok(client.query_typed(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Tables and views that the login owns, or has privileges on that are not in `needed`.
async fn tables(client: &Transaction<'_>, needed: &[&str]) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT CASE WHEN pg_get_userbyid(relowner) = current_user THEN 'owns `' || name || '`'
                    ELSE 'may ' || string_agg(privilege, ', ' ORDER BY privilege) || ' `' || name || '`' END
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace,
             LATERAL (SELECT nspname || '.' || relname AS name) AS named,
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND (has_table_privilege(pg_class.oid, privilege)
               OR CASE WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                       THEN has_any_column_privilege(pg_class.oid, privilege) ELSE false END)
          AND NOT name || ' ' || privilege = ANY ($1)
        GROUP BY relowner, name ORDER BY name";
    Ok(client.query_typed(sql, &[(&needed, Type::TEXT_ARRAY)]).await?.iter().map(|row| row.get(0)).collect())
}
