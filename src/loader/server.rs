//! Which server Postgres is, and whether it answers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::GenericClient;

/// How often trouble that goes on is said again.
const REPEAT: Duration = Duration::from_secs(10);

/// Which server, in which of its lives: a copy of it, a standby that was promoted and a server that was started again are
/// others, and may have forgotten what this one has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerIdentity(String);

impl ServerIdentity {
    /// The cluster's identifier, its timeline, and when it was started. A standby has no timeline of its own: promoted, it
    /// is another server.
    pub(super) const SQL: &str = "SELECT pg_catalog.concat_ws('/', \
         (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
         CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' \
             ELSE pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END, \
         pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()))";

    /// A server that is none.
    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Asks the server.
    pub(super) async fn of(client: &impl GenericClient) -> Result<Self, tokio_postgres::Error> {
        Ok(Self(client.query_typed_one(Self::SQL, &[]).await?.get(0)))
    }
}

/// Inside a transaction: its commit is one that a crash does not forget, also where the server's default is to forget. What
/// is below a watermark or an anchor is never read again.
pub(super) const SYNCHRONOUS: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
     WHERE pg_catalog.current_setting('synchronous_commit') = 'off'";

/// Shared by all lanes, so that one outage is one line in the log and one reason in health.
#[derive(Debug, Default)]
pub(super) struct Server {
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    reason: String,
    said_at: Instant,
}

impl Server {
    /// A lane could not get at it.
    pub(super) fn lost(&self, reason: &str) {
        let now = Instant::now();
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = match &mut *outage {
            Some(outage) if now.duration_since(outage.said_at) < REPEAT => return,
            Some(outage) => outage,
            none => none.insert(Outage { since: now, reason: String::new(), said_at: now }),
        };
        reason.clone_into(&mut outage.reason);
        outage.said_at = now;
        let elapsed_s = now.duration_since(outage.since).as_secs();
        tracing::warn!(reason, elapsed_s, "Postgres cannot be used; the loader waits and loses nothing");
    }

    /// A transaction went through.
    pub(super) fn answered(&self) {
        if let Some(outage) = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let elapsed_s = outage.since.elapsed().as_secs();
            tracing::info!(elapsed_s, "Postgres answers again");
        }
    }

    /// Why Postgres cannot be used; `None`: it can, or nobody tried.
    pub(super) fn trouble(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_ref().map(|outage| outage.reason.clone())
    }
}
