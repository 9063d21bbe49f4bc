//! Who may do what in an organization's schema. The whole list is here.
//!
//! Tables that a later migration adds get the reader's grant by themselves and the writer's only when they are named
//! here: no right comes by default.

use super::change::Change;
use super::{Error, Installation, TenantNames, roles};

/// What `org_<slug>` may do, by table, beside keeping [`SUMMARIES`].
const WRITER: [(&str, &str); 5] = [
    ("event", "SELECT, INSERT"),
    ("dead_letter", "SELECT, INSERT"),
    ("ingest_watermark", "SELECT, INSERT, UPDATE"),
    ("report_state", "SELECT, UPDATE"),
    ("report_build", KEEPING),
];

/// The summaries that the reporter keeps: tables whose rows are of a build.
pub const SUMMARIES: [&str; 13] = [
    "report_viewer_content",
    "report_further_session",
    "report_content_sum",
    "report_step",
    "report_curve",
    "report_viewer_item",
    "report_item_sum",
    "report_elapsed",
    "report_elapsed_part",
    "report_option_sum",
    "report_day_sum",
    "report_day_session",
    "report_day_content",
];

/// What keeping them takes: rows of a build are written, and deleted after the next one.
const KEEPING: &str = "SELECT, INSERT, UPDATE, DELETE";

/// What `org_<slug>` may do, by table. It may do nothing else.
pub(super) fn of_writer() -> impl Iterator<Item = (&'static str, &'static str)> {
    WRITER.into_iter().chain(SUMMARIES.map(|table| (table, KEEPING)))
}

/// The tables and views of schema `$1`, found by what depends on it: for that there is an index, and `pg_class`, which has
/// none by schema, is as long as all schemas together.
const IN_SCHEMA: &str = "FROM pg_depend JOIN pg_class ON pg_class.oid = objid \
     WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_namespace'::regclass \
         AND refobjid = $1::text::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')";

/// What takes from everybody and from other roles of ours what they have on schema `$1`, whose roles are `$2` and `$3`: default
/// privileges of an administrator's give it unseen. Roles that are none of ours an administrator lets in knowingly.
const TOO_MUCH: &str = "SELECT format('REVOKE ALL ON %s FROM %s', thing, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END) \
     FROM (SELECT 'SCHEMA ' || quote_ident(nspname) AS thing, (aclexplode(nspacl)).grantee, nspowner AS owner \
           FROM pg_namespace WHERE nspname = $1 \
           UNION ALL \
           SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || format('%I.%I', $1::text, relname), \
                  (aclexplode(relacl)).grantee, relowner \
           FROM pg_depend JOIN pg_class ON pg_class.oid = objid \
           WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_namespace'::regclass \
               AND refobjid = $1::text::regnamespace AND relkind <> 'i') AS given \
     LEFT JOIN pg_roles ON pg_roles.oid = grantee \
     WHERE grantee <> owner \
       AND (grantee = 0 OR rolname NOT IN ($2, $3) AND starts_with(shobj_description(grantee, 'pg_authid'), 'Rollbook '))";

/// Gives an organization's roles what they need, unless they have it.
pub(super) async fn ensure(
    change: &Change<'_>,
    installation: &Installation,
    names: &TenantNames,
) -> Result<(), Error> {
    if are_complete(change, installation, names).await? {
        return Ok(());
    }
    let too_much = format!("{TOO_MUCH} ORDER BY 1");
    for row in change.query(&too_much, &[&names.schema, &names.writer, &names.reader]).await? {
        change.batch_execute(row.get(0)).await?;
    }
    let relations = relations(change, &names.schema).await?;
    change.batch_execute(&statements(installation, names, &relations)).await?;
    Ok(change.batch_execute(&membership(change, installation, &names.writer)).await?)
}

/// Whether everything is granted already. Asked first, because a grant that changes nothing still makes every
/// session of the loader read its memberships again.
async fn are_complete(
    change: &Change<'_>,
    installation: &Installation,
    names: &TenantNames,
) -> Result<bool, Error> {
    let tables: Vec<String> = of_writer().map(|(table, _)| format!("{}.{table}", names.schema)).collect();
    let privileges: Vec<&str> = of_writer().map(|(_, privileges)| privileges).collect();
    let sql = format!(
        "SELECT has_schema_privilege($2, $1, 'USAGE') AND has_schema_privilege($3, $1, 'USAGE') \
             AND pg_has_role($3, $4, 'MEMBER') AND pg_has_role($5, $2, 'MEMBER') \
             AND NOT EXISTS (SELECT FROM unnest($6::text[], $7::text[]) AS w (name, privileges), \
                                         unnest(string_to_array(privileges, ', ')) AS one \
                             WHERE NOT has_table_privilege($2, name, one)) \
             AND NOT EXISTS (SELECT {IN_SCHEMA} AND NOT has_table_privilege($3, pg_class.oid, 'SELECT')) \
             AND NOT EXISTS ({TOO_MUCH})"
    );
    let row = change
        .query_one(
            &sql,
            &[
                &names.schema,
                &names.writer,
                &names.reader,
                &installation.readers_role(),
                &installation.loader_login,
                &tables,
                &privileges,
            ],
        )
        .await?;
    Ok(row.get(0))
}

/// Tables and views of a schema. `GRANT … ON ALL TABLES` would look for them in all that the database has, five times over.
async fn relations(change: &Change<'_>, schema: &str) -> Result<Vec<String>, Error> {
    let sql = format!("SELECT relname::text {IN_SCHEMA} ORDER BY relname");
    let rows = change.query(&sql, &[&schema]).await?;
    Ok(rows.iter().map(|row| format!("{}.{}", roles::quoted(schema), roles::quoted(row.get(0)))).collect())
}

fn statements(installation: &Installation, names: &TenantNames, relations: &[String]) -> String {
    let (schema, writer, reader) =
        (roles::quoted(&names.schema), roles::quoted(&names.writer), roles::quoted(&names.reader));
    let readers = roles::quoted(&installation.readers_role());
    let relations = relations.join(", ");
    let writer_grants: String = of_writer()
        .map(|(table, privileges)| format!("GRANT {privileges} ON {schema}.{table} TO {writer};\n"))
        .collect();
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader};\n\
         {writer_grants}\
         GRANT SELECT ON {relations} TO {reader};\n\
         GRANT {readers} TO {reader};"
    )
}

/// Lets the loader become the writer, without having the writer's rights before it does.
pub(super) fn membership(change: &Change<'_>, installation: &Installation, writer: &str) -> String {
    let (writer, loader) = (roles::quoted(writer), roles::quoted(&installation.loader_login));
    // Before PostgreSQL 16 it is the login's NOINHERIT that says so.
    let how = if change.by.grants_say_inherit() { " WITH INHERIT FALSE, SET TRUE" } else { "" };
    format!("GRANT {writer} TO {loader}{how}")
}
