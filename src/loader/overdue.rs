//! Loaders that stopped in the middle of a COPY, and keep the watermark locked.
//!
//! Postgres bounds every statement of a loader by `statement_timeout`, but cancels none that waits for its client: a COPY
//! whose loader is frozen, on a machine that still answers for it, would keep its organization waiting for as long. So
//! whoever waits for it ends it: loaders have one login, which may end its own connections.

use tokio_postgres::{Client, Error};

/// Ends what waits for its client for longer than any statement of a loader may take (ten seconds, and two to spare).
/// Gives whether there was any. Its loader, should it go on, finds its connection lost, and reads the watermark.
pub(super) async fn end_overdue(client: &Client) -> Result<bool, Error> {
    const END: &str = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity \
         WHERE usename = session_user AND datname = current_database() AND pid <> pg_backend_pid() \
         AND state = 'active' AND wait_event = 'ClientRead' AND query_start < now() - interval '12 s'";
    Ok(client.query_typed_one(END, &[]).await?.get(0))
}
