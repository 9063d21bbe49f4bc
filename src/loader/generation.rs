//! Which life of the log the watermarks speak of.

use tokio_postgres::{Client, Error};

/// The current generation, as `rollbook setup` declared it. `None`: it was never run.
pub(super) async fn current(client: &Client) -> Result<Option<i32>, Error> {
    let row = client.query_typed_one("SELECT max(generation) FROM rollbook.log", &[]).await?;
    Ok(row.get(0))
}
