//! Why a turn came to nothing.

use tokio_postgres::error::SqlState;

use crate::store::PoolError;

/// A variant is something that the reporter does differently.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Another reporter, or a rebuild, is at work on the same rows: it does what there is to do.
    #[error("another reporter is at work on it")]
    Busy,
    /// Another rebuild began before this one ended, and makes the same.
    #[error("another rebuild began before this one ended")]
    Superseded,
    /// The server is away, or takes nothing at the time: no organization's trouble.
    #[error("Postgres cannot be used")]
    Server(#[source] tokio_postgres::Error),
    /// No connection became free, or none could be made, in time.
    #[error("no connection to Postgres")]
    NoConnection(#[source] PoolError),
    /// It takes longer than it was given, by the server's clock or, between two statements, by ours.
    #[error("it takes too long")]
    TooLong(#[source] Option<tokio_postgres::Error>),
    /// The schema: something is missing, locked or refused.
    #[error("the schema does not take it")]
    Schema(#[source] tokio_postgres::Error),
    /// The tables do not say what they should.
    #[error("the report tables are not as they were made: {0}")]
    Unreadable(&'static str, #[source] Option<tokio_postgres::Error>),
}

impl ReportError {
    pub(super) const fn unreadable(what: &'static str) -> Self {
        Self::Unreadable(what, None)
    }

    /// Of statements that take a build and change nothing but builds and their state: the row that is locked first was not to be
    /// had ([`Reports::lock`](super::Reports)), or another rebuild made the one that was to be new. What a trigger raises says
    /// where.
    pub(super) fn of_the_build(error: tokio_postgres::Error) -> Self {
        let codes = [SqlState::DIVISION_BY_ZERO, SqlState::UNIQUE_VIOLATION];
        match error.as_db_error() {
            Some(refused) if refused.where_().is_none() && codes.contains(refused.code()) => Self::Busy,
            _ => error.into(),
        }
    }
}

impl From<tokio_postgres::Error> for ReportError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code() else {
            // The server has answered, or would have: a value is none that we read, or is too large to be sent.
            return match error.is_closed() {
                true => Self::Server(error),
                false => Self::Unreadable("a value is not of its column's kind", Some(error)),
            };
        };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Self::Busy,
            SqlState::QUERY_CANCELED => Self::TooLong(Some(error)),
            // Connections, resources, a shutdown, a server that is read-only.
            ref code if ["08", "53", "57", "58"].contains(&&code.code()[..2]) || code.code() == "25006" => {
                Self::Server(error)
            }
            _ => Self::Schema(error),
        }
    }
}
