//! What to do when administrators get in each other's way.

use std::time::Duration;

use rand::RngExt;
use tokio_postgres::error::SqlState;

use super::Error;

/// With jitter between 5 and 50 ms times the number of the attempt, some two seconds in all.
const ATTEMPTS: u32 = 12;

/// Repeats `work` while it fails because someone else changed the same catalog row at the same moment: Postgres
/// does not queue those changes, it refuses them ("tuple concurrently updated"). `work` must be one transaction.
pub(super) async fn on_conflict<T>(mut work: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    for attempt in 1..ATTEMPTS {
        match work().await {
            Err(Error::Postgres(error)) if is_conflict(&error) => {
                let pause = Duration::from_millis(rand::rng().random_range(5..50)) * attempt;
                tracing::debug!(%error, attempt, "another administrator was quicker; trying again");
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
    work().await
}

fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let Some(error) = error.as_db_error() else { return false };
    // A unique violation of a table of ours means what it says; of a catalog, that someone made the same thing.
    let in_catalog = error.schema().is_none_or(|schema| schema == "pg_catalog");
    match *error.code() {
        SqlState::UNIQUE_VIOLATION => in_catalog,
        SqlState::DUPLICATE_SCHEMA | SqlState::DUPLICATE_OBJECT => true,
        SqlState::INTERNAL_ERROR => error.message().contains("concurrently"),
        SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE => true,
        _ => false,
    }
}
