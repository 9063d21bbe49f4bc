//! Who may do what in an organization's schema. The whole list is here.
//!
//! Tables that a later migration adds get the reader's grant by themselves and the writer's only when they are named
//! here: no right comes by default.

use super::change::Change;
use super::{Error, Installation, TenantNames, roles};

/// What `org_<slug>` may do, by table. It may do nothing else.
const WRITER: [(&str, &str); 16] = [
    ("event", "SELECT, INSERT"),
    ("dead_letter", "SELECT, INSERT"),
    ("ingest_watermark", "SELECT, INSERT, UPDATE"),
    ("report_state", "SELECT, UPDATE"),
    ("report_build", KEEPING),
    ("report_viewer_content", KEEPING),
    ("report_session", KEEPING),
    ("report_content_sum", KEEPING),
    ("report_step", KEEPING),
    ("report_viewer_item", KEEPING),
    ("report_item_sum", KEEPING),
    ("report_elapsed", KEEPING),
    ("report_option_sum", KEEPING),
    ("report_day_sum", KEEPING),
    ("report_day_session", KEEPING),
    ("report_day_content", KEEPING),
];

/// What keeping the summaries takes: rows of a build are written, and deleted after the next one.
const KEEPING: &str = "SELECT, INSERT, UPDATE, DELETE";

/// Gives an organization's roles what they need, unless they have it.
pub(super) async fn ensure(
    change: &Change<'_>,
    installation: &Installation,
    names: &TenantNames,
) -> Result<(), Error> {
    if are_complete(change, installation, names).await? {
        return Ok(());
    }
    change.batch_execute(&statements(installation, names)).await?;
    Ok(change.batch_execute(&membership(change, installation, &names.writer)).await?)
}

/// Whether everything is granted already. Asked first, because a grant that changes nothing still makes every
/// session of the loader read its memberships again.
async fn are_complete(
    change: &Change<'_>,
    installation: &Installation,
    names: &TenantNames,
) -> Result<bool, Error> {
    let tables: Vec<String> = WRITER.iter().map(|(table, _)| format!("{}.{table}", names.schema)).collect();
    let privileges: Vec<&str> = WRITER.iter().map(|(_, privileges)| *privileges).collect();
    let sql = "SELECT has_schema_privilege($1, $3, 'USAGE') AND has_schema_privilege($2, $3, 'USAGE') \
                  AND pg_has_role($2, $4, 'MEMBER') AND pg_has_role($5, $1, 'MEMBER') \
                  AND NOT EXISTS (SELECT FROM unnest($6::text[], $7::text[]) AS w (name, privileges), \
                                              unnest(string_to_array(privileges, ', ')) AS one \
                                  WHERE NOT has_table_privilege($1, name, one)) \
                  AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = $3::text::regnamespace \
                                     AND relkind IN ('r', 'p', 'v', 'm', 'f') \
                                     AND NOT has_table_privilege($2, oid, 'SELECT'))";
    let row = change
        .query_one(
            sql,
            &[
                &names.writer,
                &names.reader,
                &names.schema,
                &installation.readers_role(),
                &installation.loader_login,
                &tables,
                &privileges,
            ],
        )
        .await?;
    Ok(row.get(0))
}

fn statements(installation: &Installation, names: &TenantNames) -> String {
    let (schema, writer, reader) =
        (roles::quoted(&names.schema), roles::quoted(&names.writer), roles::quoted(&names.reader));
    let readers = roles::quoted(&installation.readers_role());
    let writer_grants: String = WRITER
        .iter()
        .map(|(table, privileges)| format!("GRANT {privileges} ON {schema}.{table} TO {writer};\n"))
        .collect();
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader};\n\
         {writer_grants}\
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader};\n\
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
