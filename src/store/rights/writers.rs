//! What the loader could do as one of the organizations' roles, beyond what provisioning gives them.
//!
//! The loader may become every `org_…` role, so whatever such a role may do too much, the loader may.

use tokio_postgres::Client;

use crate::store::grants::WRITER;

/// An organization's role and the schema where it may write.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) role: String,
    pub(super) schema: String,
}

/// What is too much, in words; empty: nothing.
pub(super) async fn excess(
    client: &Client,
    writers: &[Writer],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let roles: Vec<&str> = writers.iter().map(|writer| writer.role.as_str()).collect();
    let schemas: Vec<&str> = writers.iter().map(|writer| writer.schema.as_str()).collect();
    let (tables, privileges): (Vec<&str>, Vec<&str>) = WRITER.into_iter().unzip();
    let mut excess = Vec::new();
    for row in client.query(ROLES, &[&roles]).await? {
        excess.push(row.get(0));
    }
    for row in client.query(OBJECTS, &[&roles, &schemas, &tables, &privileges]).await? {
        excess.push(row.get(0));
    }
    Ok(excess)
}

/// `$1` roles. What each of them is, and who is in whom. A role that is no writer's and that a writer is in was found
/// with the login's own memberships.
const ROLES: &str = "
    SELECT 'may become `' || rolname || '`, which ' || says FROM pg_roles, LATERAL (VALUES
        (rolsuper, 'is a superuser'),
        (rolcreaterole, 'may create roles'),
        (rolcreatedb, 'may create databases'),
        (rolreplication, 'may replicate'),
        (rolbypassrls, 'bypasses row security')) AS attribute (has_it, says)
    WHERE rolname = ANY ($1) AND has_it
    UNION ALL
    SELECT 'may become `' || member.rolname || '`, which is a member of `' || role.rolname || '`'
    FROM pg_auth_members JOIN pg_roles AS member ON member.oid = member JOIN pg_roles AS role ON role.oid = roleid
    WHERE member.rolname = ANY ($1) AND role.rolname = ANY ($1)
    UNION ALL
    SELECT 'may give `' || role.rolname || '` to others'
    FROM pg_auth_members JOIN pg_roles AS role ON role.oid = roleid
    WHERE pg_get_userbyid(member) = current_user AND role.rolname = ANY ($1) AND admin_option
    ORDER BY 1";

/// `$1` roles, `$2` their schemas, `$3` the tables that each needs, `$4` what it needs of them. Postgres keeps a list
/// of all objects of every kind that a role owns or is named in the rights of.
const OBJECTS: &str = "
    WITH writer AS (
        SELECT pg_roles.oid, rolname, to_regnamespace(quote_ident(schema)) AS schema
        FROM unnest($1::text[], $2::text[]) AS w (role, schema) JOIN pg_roles ON rolname = role
    ), needed AS (
        SELECT writer.oid AS writer, pg_class.oid, relacl, string_to_array(privileges, ', ') AS privileges
        FROM writer, unnest($3::text[], $4::text[]) AS t (name, privileges), pg_class
        WHERE relnamespace = schema AND relname = name
    )
    SELECT 'may become `' || rolname || '`, which ' || CASE deptype WHEN 'o' THEN 'owns ' ELSE 'has rights on ' END
           || pg_describe_object(classid, objid, objsubid)
    FROM pg_shdepend JOIN writer ON refclassid = 'pg_authid'::regclass AND refobjid = writer.oid
    WHERE dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND deptype IN ('o', 'a')
      AND NOT (deptype = 'a' AND classid = 'pg_namespace'::regclass AND objid = schema)
      AND NOT (deptype = 'a' AND classid = 'pg_class'::regclass AND objsubid = 0
               AND (writer.oid, objid) IN (SELECT writer, oid FROM needed))
    UNION ALL
    SELECT 'may become `' || rolname || '`, which may ' || privilege_type || ' `' || needed.oid::regclass || '`'
    FROM writer JOIN needed ON needed.writer = writer.oid, aclexplode(relacl)
    WHERE grantee = writer.oid AND NOT privilege_type = ANY (privileges)
    UNION ALL
    SELECT 'may become `' || rolname || '`, which may create things in the schema `' || nspname || '`'
    FROM writer JOIN pg_namespace ON pg_namespace.oid = schema, aclexplode(nspacl)
    WHERE grantee = writer.oid AND privilege_type = 'CREATE'
    ORDER BY 1";
