//! Indexes on tables that are full: made beside those who write, after the migrations and outside of their transaction.

use super::migrate::Problem;
use super::{Admin, roles};

/// Waits for those who write, and for everybody who reads with an older snapshot: an analyst's long query among them.
const LOCK_TIMEOUT: &str = "60s";

/// The index by which a reporter finds what is new.
pub(super) const STORED: &str = "event_stored";

/// Makes [`STORED`] where the migration left it to this, and makes again one that an
/// interrupted run left half made. Without it reports are right all the same, and dearer.
pub(super) async fn ensure(admin: &Admin, schema: &str) -> Result<(), Problem> {
    let schema = roles::quoted(schema);
    let (table, index) = (format!("{schema}.event"), format!("{schema}.{STORED}"));
    let state = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    let found = admin.client.query_opt(state, &[&index]).await?.map(|row| row.get::<_, bool>(0));
    if found == Some(true) {
        return Ok(());
    }
    let made_by_another = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index \
                            WHERE relid = to_regclass($1) AND datname = current_database())";
    if admin.client.query_one(made_by_another, &[&table]).await?.get(0) {
        return Err(Problem::Locked);
    }
    let owner = roles::quoted(&admin.who().owner);
    let made = async {
        admin.client.batch_execute(&format!("SET ROLE {owner}; SET lock_timeout = '{LOCK_TIMEOUT}'")).await?;
        // A statement each: none of them may stand in a transaction.
        if found == Some(false) {
            admin.client.batch_execute(&format!("DROP INDEX CONCURRENTLY {index}")).await?;
        }
        let make = format!(
            "CREATE INDEX CONCURRENTLY {STORED} ON {table} USING brin (stored_in) WITH (autosummarize = on)"
        );
        admin.client.batch_execute(&make).await
    };
    let made = made.await;
    admin.client.batch_execute("RESET ROLE; RESET lock_timeout").await?;
    Ok(made?)
}
