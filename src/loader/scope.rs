//! What a database error means for everybody else.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::ops::metrics::catalogue::LOADER_UNKNOWN_ERRORS;

/// How far the trouble reaches, and so what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The server, or the way to it: every lane waits and tries again, nothing is dropped.
    Server,
    /// One organization's schema: its records are held.
    Tenant,
    /// The same, unless it happens to most organizations at once: then it is the server.
    Slow,
    /// Some rows: they are looked for and dead-lettered.
    Row,
    /// A race that was lost: the same once more.
    Again,
}

/// The one table. It goes by the class of the SQLSTATE where the class says enough.
pub(super) fn scope_of(error: &Error) -> Scope {
    match error.as_db_error() {
        // Not from the server: the connection broke, or never came to be.
        None => Scope::Server,
        Some(error) => scope_of_db_error(error),
    }
}

fn scope_of_db_error(error: &DbError) -> Scope {
    let of_table = |table: &str| error.table() == Some(table);
    let code = error.code();
    match code.code().get(..2).unwrap_or_default() {
        // Connection, authorization, database missing, resources, intervention, system, configuration.
        "08" | "28" | "3D" | "53" | "58" | "F0" => Scope::Server,
        // `statement_timeout` is one organization's slow schema; the rest of the class is a shutdown.
        "57" if *code == SqlState::QUERY_CANCELED => Scope::Slow,
        "57" => Scope::Server,
        // Read-only (a standby, a full disk), or a transaction that idled too long and was ended.
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION
            || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT =>
        {
            Scope::Server
        }
        // Deadlock, serialization.
        "40" => Scope::Again,
        // The watermark's own CHECK is the second fence: a person should look, and no row is to blame.
        "23" if of_table("ingest_watermark") => Scope::Tenant,
        "23" if *code == SqlState::UNIQUE_VIOLATION && error.constraint() == Some("event_pkey") => {
            Scope::Again
        }
        "23" => Scope::Row,
        // Bad data (a value too large for an index of the organization's own), and what triggers raise. `SET ROLE` of a role
        // that does not exist is in class 22 too, but no row is being written then: see `Refusal`.
        "22" | "54" | "P0" => Scope::Row,
        // A lock that was not to be had.
        "55" if *code == SqlState::LOCK_NOT_AVAILABLE => Scope::Slow,
        // A schema, table, column or privilege that is missing, or not as it should be.
        "3F" | "42" | "55" => Scope::Tenant,
        _ => {
            metrics::counter!(LOADER_UNKNOWN_ERRORS, "sqlstate" => code.code().to_owned()).increment(1);
            tracing::error!(
                sqlstate = code.code(),
                "an error that no rule knows; the organization's records are held"
            );
            Scope::Tenant
        }
    }
}

/// The SQLSTATE of an error, or the class of connection errors where the server never said one.
pub(super) fn sqlstate(error: &Error) -> &str {
    error.code().map_or("08000", SqlState::code)
}
