//! What the loader could do as one of the organizations' roles, beyond what provisioning gives them.
//!
//! The loader may become every `org_…` role, so whatever such a role may do too much, the loader may. Inside its own
//! schema a role may have what it likes: that is its own organization's trouble, and must not keep the others' service
//! from starting.

use tokio_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use crate::store::roles::Mark;

/// An organization's role, and how its schema is told from the others.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) role: String,
    pub(super) schema: String,
    /// On the schema also when somebody renamed it.
    pub(super) mark: String,
}

/// What is too much, in words; empty: nothing.
pub(super) async fn excess(
    client: &Transaction<'_>,
    writers: &[Writer],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let roles: Vec<&str> = writers.iter().map(|writer| writer.role.as_str()).collect();
    let schemas: Vec<&str> = writers.iter().map(|writer| writer.schema.as_str()).collect();
    let marks: Vec<&str> = writers.iter().map(|writer| writer.mark.as_str()).collect();
    let mut excess = client.query_typed(ROLES, &[(&roles, Type::TEXT_ARRAY)]).await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&roles, Type::TEXT_ARRAY), (&schemas, Type::TEXT_ARRAY), (&marks, Type::TEXT_ARRAY)];
    excess.extend(client.query_typed(OBJECTS, &parameters).await?);
    let (begins, parameters) = (Mark::OF_ANY_ORGANIZATION, [&roles, &marks]);
    let [roles, marks] = parameters.map(|list| (list as &(dyn ToSql + Sync), Type::TEXT_ARRAY));
    excess.extend(client.query_typed(OF_OTHERS, &[roles, marks, (&begins, Type::TEXT)]).await?);
    Ok(excess.iter().map(|row| row.get(0)).collect())
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

/// `$1` roles, `$2` the marks that they bear, `$3` how the mark of any organization begins. A role of that name may be another
/// installation's.
const OF_OTHERS: &str = "
    SELECT 'may become `' || rolname || '`, which bears the mark of another organization'
    FROM unnest($1::text[], $2::text[]) AS writer (role, mark) JOIN pg_roles ON rolname = role
         JOIN pg_auth_members ON roleid = pg_roles.oid AND pg_get_userbyid(member) = current_user,
         LATERAL shobj_description(pg_roles.oid, 'pg_authid') AS found
    WHERE starts_with(found, $3) AND found <> mark
    ORDER BY 1";

/// `$1` roles, `$2` their schemas, `$3` the marks on those. Postgres keeps a list of all objects of every kind that a
/// role owns or is named in the rights of. It tells an object's schema as it would be printed, in quotes where the server
/// is set to print them.
const OBJECTS: &str = "
    SELECT 'may become `' || rolname || '`, which ' || CASE deptype WHEN 'o' THEN 'owns ' ELSE 'has rights on ' END
           || pg_describe_object(classid, objid, objsubid)
    FROM unnest($1::text[], $2::text[], $3::text[]) AS writer (role, own_schema, mark)
         JOIN pg_roles ON rolname = role
         JOIN pg_shdepend ON refclassid = 'pg_authid'::regclass AND refobjid = pg_roles.oid,
         LATERAL pg_identify_object(classid, objid, objsubid) AS object
    WHERE dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND deptype IN ('o', 'a')
      AND NOT EXISTS (
          SELECT FROM pg_namespace
          WHERE (nspname = own_schema OR obj_description(pg_namespace.oid, 'pg_namespace') = mark)
            AND (quote_ident(nspname) = object.schema OR classid = 'pg_namespace'::regclass AND objid = pg_namespace.oid))
    ORDER BY 1";
