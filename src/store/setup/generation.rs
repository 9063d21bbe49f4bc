//! Which life of the log the watermarks speak of.

use std::fmt;

use tokio_postgres::Transaction;

use crate::store::Error;

/// A log, as the control schema remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// `kafka` or `embedded`.
    pub kind: &'static str,
    /// The Kafka topic, or the name of the embedded log.
    pub name: String,
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

/// What a person says of the configured log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewGeneration {
    /// It is the one that was there before.
    Keep,
    /// It is a new one: its offsets start again.
    Declare,
}

/// Records the log, and gives its generation.
///
/// The first setup makes generation 1. Later a log by another name is refused unless it is declared a new one.
pub(super) async fn declare(
    transaction: &Transaction<'_>,
    log: &LogIdentity,
    new: NewGeneration,
) -> Result<i32, Error> {
    let newest =
        "SELECT generation, kind || ' `' || name || '`' FROM rollbook.log ORDER BY generation DESC LIMIT 1";
    let newest = transaction.query_opt(newest, &[]).await?.map(|row| (row.get(0), row.get::<_, String>(1)));
    let generation: i32 = match (newest, new) {
        (None, _) => 1,
        (Some((newest, _)), NewGeneration::Declare) => newest + 1,
        (Some((newest, installed)), NewGeneration::Keep) if installed == log.to_string() => {
            return Ok(newest);
        }
        (Some((_, installed)), NewGeneration::Keep) => {
            return Err(Error::AnotherLog { installed, given: log.to_string() });
        }
    };
    let insert = "INSERT INTO rollbook.log (generation, kind, name) VALUES ($1, $2, $3)";
    transaction.execute(insert, &[&generation, &log.kind, &log.name]).await?;
    Ok(generation)
}
