//! Which life of the log the watermarks speak of.

use super::refusal::Refusal;
use crate::store::Pool;

/// The current generation, as `rollbook setup` declared it. `None`: nobody ran it.
pub(super) async fn current(pool: &Pool) -> Result<Option<i32>, Refusal> {
    let client = pool.get().await?;
    let row = client.query_typed_one("SELECT max(generation) FROM rollbook.log", &[]).await?;
    client.give_back();
    Ok(row.get(0))
}
