//! Connections that are shared, and recycled by age.

use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bb8::ManageConnection;
use bb8_postgres::PostgresConnectionManager;
use tokio_postgres::{CancelToken, Client};

use super::connect::NOTHING_ON_THE_PATH;
use super::login::log_in;
use super::{Error, tls};
use crate::config::DatabaseUrl;
use crate::ops::{Complaints, chain};

/// All pools of this process: they say the same.
static COMPLAINTS: Complaints = Complaints::now_and_then();

/// A connection lent by the pool; dereferences to `tokio_postgres::Client`.
///
/// Silence means failure: one that is dropped without [`PooledClient::give_back`] is closed, because what was being done
/// with it did not end well. It may still be busy, or out of step: after a COPY that Postgres refuses at its start,
/// tokio-postgres takes each answer for the one to the next question (rust-postgres #789).
#[derive(Debug)]
#[must_use = "a connection that is not given back is closed"]
pub struct PooledClient<'a> {
    link: bb8::PooledConnection<'a, Manager>,
    tls: Tls,
}

impl<'a> PooledClient<'a> {
    /// One that died while idle is closed as it goes back; the next may be alive.
    fn lend(mut link: bb8::PooledConnection<'a, Manager>, tls: &Tls) -> Option<Self> {
        if link.client.is_closed() {
            return None;
        }
        link.may_be_lent = false;
        Some(Self { link, tls: tls.clone() })
    }

    /// Cancels what is being done with it at the time, from anywhere.
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.link.client.cancel_token(), tls: self.tls.clone() }
    }

    /// All that was asked of it was answered, and nothing is left to do: others may have it.
    pub fn give_back(mut self) {
        self.link.may_be_lent = true;
    }
}

/// See [`PooledClient::canceller`].
pub struct Canceller {
    token: CancelToken,
    tls: Tls,
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canceller")
    }
}

impl Canceller {
    /// Asks the server to cancel the statement that is under way. It may be too late, or not be heard: what was being done
    /// tells.
    pub async fn cancel(self) {
        if let Err(error) = self.token.cancel_query(self.tls.0).await {
            tracing::debug!(%error, "a statement could not be cancelled");
        }
    }
}

impl Deref for PooledClient<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.link.client
    }
}

impl DerefMut for PooledClient<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.link.client
    }
}

/// How connections are made, for those that cancel.
#[derive(Clone)]
struct Tls(tls::Connector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// A connection as the pool keeps it.
#[derive(Debug)]
struct Link {
    client: Client,
    may_be_lent: bool,
}

/// Makes connections, and tells which are of no further use.
#[derive(Debug)]
struct Manager {
    url: DatabaseUrl,
    tls: Tls,
    failure: LastFailure,
}

impl ManageConnection for Manager {
    type Connection = Link;
    type Error = Error;

    async fn connect(&self) -> Result<Link, Error> {
        let by = |config| {
            let postgres = PostgresConnectionManager::new(config, self.tls.0.clone());
            async move {
                let client = postgres.connect().await?;
                client.batch_execute(NOTHING_ON_THE_PATH).await?;
                Ok(Link { client, may_be_lent: true })
            }
        };
        let link = log_in(&self.url, by).await?;
        self.failure.set(None);
        Ok(link)
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), Error> {
        Ok(link.client.check_connection().await?)
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        !link.may_be_lent || link.client.is_closed()
    }
}

/// How a pool behaves.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Most connections at a time; each is a process in Postgres.
    pub connections: NonZeroU32,
    /// A connection older than this is closed when it comes back. A backend remembers every table that it touched
    /// (62 kB an organization, see `docs/size.md`), and only its end makes it forget.
    pub max_lifetime: Duration,
    /// How long to wait for a connection before giving up.
    pub wait: Duration,
}

/// Connections of one login. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    connections: bb8::Pool<Manager>,
    tls: Tls,
    failure: LastFailure,
}

impl Pool {
    /// Makes a pool without connecting: the first [`Pool::get`] does, so that a service can start while Postgres is
    /// away.
    ///
    /// # Errors
    /// Certificates for TLS cannot be loaded.
    pub fn new(url: &DatabaseUrl, settings: PoolSettings) -> Result<Self, Error> {
        let (tls, failure) = (Tls(tls::connector(url.tls())?), LastFailure::default());
        let manager = Manager { url: url.clone(), tls: tls.clone(), failure: failure.clone() };
        let connections = bb8::Pool::builder()
            .max_size(settings.connections.get())
            .max_lifetime(Some(settings.max_lifetime))
            .connection_timeout(settings.wait)
            .error_sink(Box::new(failure.clone()))
            // `get` looks whether the connection is closed; asking the server as well would cost a round trip each time.
            .test_on_check_out(false)
            .build_unchecked(manager);
        Ok(Self { connections, tls, failure })
    }

    /// Lends a connection, waiting for one at most as long as the settings say.
    ///
    /// # Errors
    /// Postgres is not reachable, or every connection stayed lent.
    pub async fn get(&self) -> Result<PooledClient<'_>, PoolError> {
        loop {
            let link = self.connections.get().await.map_err(|error| self.reason(error))?;
            if let Some(client) = PooledClient::lend(link, &self.tls) {
                return Ok(client);
            }
        }
    }

    /// The same, lent for as long as it is wanted.
    ///
    /// # Errors
    /// Likewise.
    pub async fn get_owned(&self) -> Result<PooledClient<'static>, PoolError> {
        loop {
            let link = self.connections.get_owned().await.map_err(|error| self.reason(error))?;
            if let Some(client) = PooledClient::lend(link, &self.tls) {
                return Ok(client);
            }
        }
    }

    fn reason(&self, error: bb8::RunError<Error>) -> PoolError {
        let failure = match error {
            bb8::RunError::User(error) => Some(chain(&error)),
            bb8::RunError::TimedOut => self.failure.get(),
        };
        failure.map_or(PoolError::TimedOut, PoolError::Connect)
    }

    /// How many connections are open, and how many of them nobody uses.
    pub fn state(&self) -> PoolState {
        let state = self.connections.state();
        PoolState { open: state.connections, idle: state.idle_connections }
    }
}

/// Why the pool has no connection to lend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// None could be made in time: why not when it was tried last.
    #[error("{0}")]
    Connect(String),
    /// None became free in time.
    #[error("no database connection in time")]
    TimedOut,
}

/// The pool's connections, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Open, lent or not.
    pub open: u32,
    /// Open and not lent.
    pub idle: u32,
}

/// Why no connection could be made when it was tried last; none once one was made. The pool tries again by itself until a
/// caller's wait is over: this is where it says what came of it.
#[derive(Clone, Debug, Default)]
struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl bb8::ErrorSink<Error> for LastFailure {
    fn sink(&self, error: Error) {
        let error = chain(&error);
        if let Some(unwritten) = COMPLAINTS.hear_text(&error, Instant::now()) {
            tracing::warn!(error, unwritten, "a database connection failed");
        }
        self.set(Some(error));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<Error>> {
        Box::new(self.clone())
    }
}
