//! Why something in the database did not happen, as a lane decides on it.

use tokio_postgres::Error;

use super::scope::{Scope, scope_of, sqlstate};
use super::ways::WriteError;
use crate::store::PoolError;

/// What to do is in the variant; the text is for people.
#[derive(Debug)]
pub(in crate::loader) enum Refusal {
    /// Wait, and try again.
    Server(String),
    /// Try again at once.
    Again(String),
    /// Hold the organization's records: something is missing or wrong in its schema.
    Schema(String),
    /// Hold them, unless most others say the same: then it is the server.
    Slow(String),
}

impl Refusal {
    /// For people.
    pub(in crate::loader) fn reason(&self) -> &str {
        match self {
            Self::Server(reason) | Self::Again(reason) | Self::Schema(reason) | Self::Slow(reason) => reason,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let reason = match error.as_db_error() {
            Some(refused) => format!("{}: {}", sqlstate(&error), refused.message()),
            None => error.to_string(),
        };
        match scope_of(&error) {
            Scope::Server => Self::Server(reason),
            Scope::Again => Self::Again(reason),
            // Row trouble that was not met while writing rows is the schema's.
            Scope::Row | Scope::Tenant => Self::Schema(reason),
            Scope::Slow => Self::Slow(reason),
        }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Row(error) | WriteError::Postgres(error) | WriteError::CopyRefused(error) => {
                error.into()
            }
            // Where rows cannot be halved the next attempt asks again which ids are there.
            WriteError::Duplicate(error) | WriteError::Raced(error) => Self::Again(error.to_string()),
            WriteError::TooManyDead { .. } | WriteError::Unaccounted { .. } | WriteError::Unmoved => {
                Self::Schema(error.to_string())
            }
            WriteError::OtherServer => Self::Server(error.to_string()),
        }
    }
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        Self::Server(error.to_string())
    }
}
