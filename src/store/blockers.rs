//! Who holds what an administrator's change waited for in vain.

use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::{Admin, Error};

/// Says of a lock on a schema's tables that was not to be had who has it; any other failure stays as it is.
pub(super) async fn named(admin: &Admin, schema: &str, error: Error) -> Error {
    if !is_lock_timeout(&error) {
        return error;
    }
    match holders(&admin.client, schema).await {
        Ok(by) if !by.is_empty() => Error::LockHeld { by, source: Box::new(error) },
        _ => error,
    }
}

fn is_lock_timeout(error: &Error) -> bool {
    let mut next = Some(error as &(dyn std::error::Error + 'static));
    while let Some(error) = next {
        let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        if code == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Sessions that hold locks in the schema, in words, the oldest first. Whose they are every login is shown, for how long not.
async fn holders(client: &impl GenericClient, schema: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "
        SELECT format('process %s of `%s`', pid, usename)
                   || coalesce(', in a transaction for ' || extract(epoch FROM now() - xact_start)::bigint || ' s', '')
        FROM pg_stat_activity
        WHERE usename IS NOT NULL AND pid <> pg_backend_pid()
          AND pid IN (SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = relation
                                             JOIN pg_namespace n ON n.oid = relnamespace
                      WHERE granted AND nspname = $1
                        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
        ORDER BY xact_start NULLS FIRST LIMIT 5";
    Ok(client.query(sql, &[&schema]).await?.iter().map(|row| row.get(0)).collect())
}
