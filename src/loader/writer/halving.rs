//! Looks for the rows that Postgres refuses.

use std::collections::VecDeque;

use tokio_postgres::Error;
use uuid::Uuid;

use super::dead_letter::DeadRow;
use super::insert::insert_rows;
use super::rows::Row;
use super::scope::sqlstate;
use super::ways::{Fates, Target, WriteError, bury, bury_swallowed, count};

/// Halves the rows under savepoints until the refused ones stand alone, and dead-letters these. Goes by INSERT, whose
/// conflict clause leaves no unique violation but those of other constraints.
pub(super) async fn write_halving(target: Target<'_>, rows: &[Row<'_>]) -> Result<Fates, WriteError> {
    let Target { client, statements, .. } = target;
    let mut fates = Fates::default();
    let mut parts = VecDeque::from([rows]);
    while let Some(part) = parts.pop_front() {
        if part.is_empty() {
            continue;
        }
        client.batch_execute("SAVEPOINT part").await?;
        let inserted = insert_rows(client, &statements.insert_rows, part).await;
        match inserted.map_err(WriteError::of_rows) {
            Ok(inserted) => {
                client.batch_execute("RELEASE SAVEPOINT part").await?;
                let sent: Vec<Uuid> = part.iter().map(Row::id).collect();
                let swallowed = count(target, &sent, inserted, &mut fates).await?;
                let swallowed = part.iter().filter(|row| swallowed.contains(&row.id()));
                bury_swallowed(target, swallowed, &mut fates).await?;
            }
            // A unique violation here is of a table that a trigger writes to, whatever it calls its constraint.
            Err(WriteError::Row(error) | WriteError::Duplicate(error)) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part").await?;
                let [row] = part else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push_front(right);
                    parts.push_front(left);
                    continue;
                };
                let dead = DeadRow { row, sqlstate: sqlstate(&error), reason: reason(&error) };
                bury(target, &dead, &mut fates).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(fates)
}

fn reason(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
