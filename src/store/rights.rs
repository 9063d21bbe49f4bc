//! What a service login may do beyond its role's need. `serve` refuses to start with such a login.
//!
//! Asked of Postgres at start, by the login itself: what the login could do if our code were wrong is what matters,
//! whatever setup once granted.

use std::collections::HashSet;

use tokio_postgres::Client;

use crate::tenant::{RolePrefix, Slug};

/// Table privileges that each role needs, as `schema.table privilege`.
const INTAKE: &[&str] = &["rollbook.organization SELECT", "rollbook.write_key SELECT"];
const LOADER: &[&str] = &[
    "rollbook.organization SELECT",
    "rollbook.log SELECT",
    "rollbook.held_record SELECT",
    "rollbook.held_record INSERT",
    "rollbook.held_record DELETE",
    "rollbook.unreadable_record INSERT",
];
/// More of the same says nothing new.
const MOST_TABLES_NAMED: usize = 5;

/// What intake's login may do beyond its need; empty: nothing.
///
/// # Errors
/// Postgres.
pub async fn check_intake(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut excess = general(client).await?;
    let memberships = memberships(client).await?;
    excess.extend(memberships.iter().map(|role| format!("is a member of `{role}`")));
    excess.extend(tables(client, INTAKE).await?);
    Ok(excess)
}

/// What the loader's login may do beyond its need; empty: nothing. It may become the `org_…` roles of this
/// installation, and must not have their rights before it does.
///
/// # Errors
/// Postgres.
pub async fn check_loader(
    client: &Client,
    prefix: &RolePrefix,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut excess = general(client).await?;
    let slugs = client.query("SELECT slug FROM rollbook.organization", &[]).await?;
    let writers: HashSet<String> = slugs
        .iter()
        .filter_map(|row| row.get::<_, &str>(0).parse::<Slug>().ok())
        .map(|slug| prefix.writer_role(&slug))
        .collect();
    let strange = memberships(client).await?.into_iter().filter(|role| !writers.contains(role));
    excess.extend(strange.map(|role| format!("is a member of `{role}`")));
    excess.extend(tables(client, LOADER).await?);
    Ok(excess)
}

/// Attributes, ownership, and the right to make things.
async fn general(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT 'is a superuser' FROM pg_roles WHERE rolname = current_user AND rolsuper
        UNION ALL SELECT 'may create roles' FROM pg_roles WHERE rolname = current_user AND rolcreaterole
        UNION ALL SELECT 'may create databases' FROM pg_roles WHERE rolname = current_user AND rolcreatedb
        UNION ALL SELECT 'may replicate' FROM pg_roles WHERE rolname = current_user AND rolreplication
        UNION ALL SELECT 'bypasses row security' FROM pg_roles WHERE rolname = current_user AND rolbypassrls
        UNION ALL SELECT 'owns the database' FROM pg_database
            WHERE datname = current_database() AND pg_get_userbyid(datdba) = current_user
        UNION ALL SELECT 'may create schemas'
            WHERE has_database_privilege(current_database(), 'CREATE')
        UNION ALL SELECT 'owns the schema `' || nspname || '`' FROM pg_namespace
            WHERE pg_get_userbyid(nspowner) = current_user AND nspname !~ '^pg_'
        UNION ALL SELECT 'may create things in the schema `' || nspname || '`' FROM pg_namespace
            WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND has_schema_privilege(oid, 'CREATE')
        UNION ALL SELECT 'owns ' || count(*) || ' tables or views' FROM pg_class
            WHERE pg_get_userbyid(relowner) = current_user AND relkind IN ('r', 'p', 'v', 'm', 'f')
              AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
            HAVING count(*) > 0";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Roles that the login is in, directly or through another: what it inherits, or can become.
async fn memberships(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    // A superuser is a member of everything, and has been named as a superuser.
    let sql = "
        WITH RECURSIVE member_of (oid) AS (
            SELECT roleid FROM pg_auth_members
            WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
            UNION SELECT roleid FROM pg_auth_members JOIN member_of ON member = member_of.oid
        )
        SELECT rolname::text FROM pg_roles JOIN member_of USING (oid) ORDER BY 1";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Privileges on tables and views that are not in `needed`; of a superuser none, since it has been named.
async fn tables(client: &Client, needed: &[&str]) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT nspname || '.' || relname, string_agg(privilege, ', ' ORDER BY privilege)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace,
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
          AND (has_table_privilege(pg_class.oid, privilege)
               OR CASE WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                       THEN has_any_column_privilege(pg_class.oid, privilege) ELSE false END)
          AND NOT nspname || '.' || relname || ' ' || privilege = ANY ($1)
        GROUP BY 1 ORDER BY 1";
    let needed: Vec<&str> = needed.to_vec();
    let rows = client.query(sql, &[&needed]).await?;
    let mut excess: Vec<String> = rows
        .iter()
        .take(MOST_TABLES_NAMED)
        .map(|row| format!("may {} `{}`", row.get::<_, &str>(1), row.get::<_, &str>(0)))
        .collect();
    if rows.len() > MOST_TABLES_NAMED {
        excess.push(format!("and the like on {} more tables or views", rows.len() - MOST_TABLES_NAMED));
    }
    Ok(excess)
}
