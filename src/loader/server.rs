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
    /// When one was last spoken of: a server that is lost and answers again in turn is not spoken of each time.
    said_at: Mutex<Option<Instant>>,
}

/// What a connection was wanted for. A server that is read-only, or whose disk is full, answers readers as ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To look at something.
    Reading,
    /// To store, hold, write down or move something: it waits until that can be done.
    Writing,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    reason: String,
    is_said: bool,
    /// A writer met it, and waits: only a write ends it.
    is_of_writing: bool,
    /// A reader has had an answer since it was met last.
    has_answered: bool,
}

impl Server {
    /// It could not be used.
    pub(super) fn lost(&self, what_for: Use, reason: &str) {
        let now = Instant::now();
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = outage.get_or_insert_with(|| Outage {
            since: now,
            reason: reason.to_owned(),
            is_said: false,
            is_of_writing: false,
            has_answered: false,
        });
        outage.is_of_writing |= what_for == Use::Writing;
        outage.has_answered = false;
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        if said_at.is_some_and(|at| now.duration_since(at) < REPEAT) {
            return;
        }
        *said_at = Some(now);
        outage.is_said = true;
        reason.clone_into(&mut outage.reason);
        let elapsed_s = now.duration_since(outage.since).as_secs();
        tracing::warn!(reason, elapsed_s, "Postgres cannot be used; the loader waits and loses nothing");
    }

    /// A transaction went through.
    pub(super) fn answered(&self, what_for: Use) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *outage {
            Some(outage) if outage.is_of_writing && what_for == Use::Reading => outage.has_answered = true,
            _ => end(&mut outage),
        }
    }

    /// No writer waits any more: what it waited for is another loader's, or done. Then a reader's answer is as good.
    pub(super) fn nothing_waits(&self) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *outage {
            Some(Outage { has_answered: true, .. }) => end(&mut outage),
            Some(outage) => outage.is_of_writing = false,
            None => {}
        }
    }

    /// Why Postgres cannot be used; `None`: it can, or nobody tried.
    pub(super) fn trouble(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.as_ref().map(|outage| outage.reason.clone())
    }
}

fn end(outage: &mut Option<Outage>) {
    if let Some(outage) = outage.take().filter(|outage| outage.is_said) {
        let elapsed_s = outage.since.elapsed().as_secs();
        tracing::info!(elapsed_s, "Postgres answers again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_a_reader_met_ends_with_any_answer() {
        for answer in [Use::Reading, Use::Writing] {
            let server = Server::default();
            server.lost(Use::Reading, "gone");
            assert_eq!(server.trouble().as_deref(), Some("gone"));
            server.answered(answer);
            assert_eq!(server.trouble(), None, "{answer:?}");
        }
    }

    #[test]
    fn an_outage_that_a_writer_met_ends_with_a_write_or_once_nothing_waits_to_be_written() {
        let server = Server::default();
        server.lost(Use::Writing, "read-only");
        server.answered(Use::Reading);
        assert!(server.trouble().is_some(), "a standby answers readers, too");
        server.nothing_waits();
        assert_eq!(server.trouble(), None);

        server.lost(Use::Writing, "gone");
        server.nothing_waits();
        assert!(server.trouble().is_some(), "nobody has answered yet");
        server.answered(Use::Reading);
        assert_eq!(server.trouble(), None);

        server.lost(Use::Writing, "read-only");
        server.answered(Use::Writing);
        assert_eq!(server.trouble(), None);
    }
}
