//! What a database error means for everybody else.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::unknown;

/// How far the trouble reaches, and so what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Scope {
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

/// How far it reaches.
pub(in crate::loader) fn scope_of(error: &Error) -> Scope {
    match error.as_db_error() {
        // Not from the server: the connection broke, or never came to be.
        None => Scope::Server,
        Some(error) => scope_of_db_error(error),
    }
}

fn scope_of_db_error(error: &DbError) -> Scope {
    let scope = scope_of_code(error.code(), error.table(), error.constraint());
    match error.parsed_severity() {
        // Postgres ended the connection, whatever was being done over it.
        Some(Severity::Fatal | Severity::Panic) if scope != Scope::Slow => Scope::Server,
        Some(Severity::Error) if scope == Scope::Server => scope_by_origin(error),
        _ => scope,
    }
}

/// A code that speaks of the server, in an error that did not end the connection: whose trouble it is depends on who says
/// so. Triggers raise what they like, and pass on what other servers told them.
fn scope_by_origin(error: &DbError) -> Scope {
    // Names in the source are the only words of an error that are never translated.
    const RAISED_BY: [&str; 1] = ["exec_stmt_raise"];
    const RAISED_IN: [&str; 4] = ["plpy_plpymodule.c", "plpy_elog.c", "plperl.c", "pltcl.c"];
    const PASSED_ON_BY: [&str; 3] = ["dblink_res_error", "dblink_res_internalerror", "pgfdw_report_error"];
    let is_one_of = |name: Option<&str>, names: &[&str]| name.is_some_and(|name| names.contains(&name));

    // On purpose, about a row: as `P0001`.
    if is_one_of(error.routine(), &RAISED_BY) || is_one_of(error.file(), &RAISED_IN) {
        return Scope::Row;
    }
    if is_one_of(error.routine(), &PASSED_ON_BY) {
        return Scope::Tenant;
    }
    // COPY says in which line it was; every further line of the context is a function's.
    let is_within_a_function =
        error.where_().is_some_and(|context| context.lines().any(|line| !line.starts_with("COPY ")));
    match error.code().code().get(..2).unwrap_or_default() {
        // A disk or memory that is used up is everybody's, whoever met it; a limit set for one session is not.
        "53" | "58" if *error.code() != SqlState::CONFIGURATION_LIMIT_EXCEEDED => Scope::Server,
        _ if is_within_a_function => Scope::Tenant,
        _ => Scope::Server,
    }
}

/// What no rule knows is the organization's, and is counted.
pub(in crate::loader) fn scope_of_code(
    code: &SqlState,
    table: Option<&str>,
    constraint: Option<&str>,
) -> Scope {
    rule(code, table, constraint).unwrap_or_else(|| {
        unknown::met(code.code());
        Scope::Tenant
    })
}

/// The one table. It goes by the class of the SQLSTATE where the class says enough.
fn rule(code: &SqlState, table: Option<&str>, constraint: Option<&str>) -> Option<Scope> {
    Some(match code.code().get(..2).unwrap_or_default() {
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
        // `transaction_timeout`, which PostgreSQL 17 has beside that of statements.
        "25" if code.code() == "25P04" => Scope::Slow,
        // Deadlock, serialization.
        "40" => Scope::Again,
        // The watermark's own CHECK is the second fence: a person should look, and no row is to blame.
        "23" if table == Some("ingest_watermark") => Scope::Tenant,
        "23" if *code == SqlState::UNIQUE_VIOLATION && constraint == Some("event_pkey") => Scope::Again,
        "23" => Scope::Row,
        // Bad data (a value too large for an index of the organization's own), and what triggers raise. `SET ROLE` of a role
        // that does not exist is in class 22 too, but no row is being written then: see `Refusal`.
        "22" | "54" | "P0" => Scope::Row,
        // A lock that was not to be had.
        "55" if *code == SqlState::LOCK_NOT_AVAILABLE => Scope::Slow,
        // A schema, table, column or privilege that is missing, or not as it should be.
        "3F" | "42" | "55" => Scope::Tenant,
        // What was asked behind a statement that failed: that one's error was told before.
        "25" if *code == SqlState::IN_FAILED_SQL_TRANSACTION => Scope::Tenant,
        _ => return None,
    })
}

/// The SQLSTATE of an error, or the class of connection errors where the server never said one.
pub(in crate::loader) fn sqlstate(error: &Error) -> &str {
    error.code().map_or("08000", SqlState::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_follows_from_an_error_is_not_told_as_one_that_no_rule_knows() {
        let rule = |code| rule(&SqlState::from_code(code), None, None);
        assert_eq!(rule("25P02"), Some(Scope::Tenant));
        for unknown in ["0A000", "XX000", "ZZ999"] {
            assert_eq!(rule(unknown), None, "{unknown}");
        }
    }
}
