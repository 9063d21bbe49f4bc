//! Connections that are shared, and recycled by age.

use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bb8::ManageConnection;
use bb8_postgres::PostgresConnectionManager;
use tokio_postgres::{CancelToken, Client};

use super::connect::{NOTHING_ON_THE_PATH, driver_config};
use super::{Error, tls};
use crate::config::DatabaseUrl;

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
    postgres: PostgresConnectionManager<tls::Connector>,
}

impl ManageConnection for Manager {
    type Connection = Link;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Link, Self::Error> {
        let client = self.postgres.connect().await?;
        client.batch_execute(NOTHING_ON_THE_PATH).await?;
        Ok(Link { client, may_be_lent: true })
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), Self::Error> {
        self.postgres.is_valid(&mut link.client).await
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
}

impl Pool {
    /// Makes a pool without connecting: the first [`Pool::get`] does, so that a service can start while Postgres is
    /// away.
    ///
    /// # Errors
    /// Certificates for TLS cannot be loaded.
    pub fn new(url: &DatabaseUrl, settings: PoolSettings) -> Result<Self, Error> {
        let tls = tls::connector(url.tls())?;
        let postgres = PostgresConnectionManager::new(driver_config(url), tls.clone());
        let connections = bb8::Pool::builder()
            .max_size(settings.connections.get())
            .max_lifetime(Some(settings.max_lifetime))
            .connection_timeout(settings.wait)
            .error_sink(Box::new(LogErrors))
            // `get` looks whether the connection is closed; asking the server as well would cost a round trip each time.
            .test_on_check_out(false)
            .build_unchecked(Manager { postgres });
        Ok(Self { connections, tls: Tls(tls) })
    }

    /// Lends a connection, waiting for one at most as long as the settings say.
    ///
    /// # Errors
    /// Postgres is not reachable, or every connection stayed lent.
    pub async fn get(&self) -> Result<PooledClient<'_>, PoolError> {
        loop {
            let link = self.connections.get().await.map_err(PoolError::from)?;
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
            let link = self.connections.get_owned().await.map_err(PoolError::from)?;
            if let Some(client) = PooledClient::lend(link, &self.tls) {
                return Ok(client);
            }
        }
    }

    /// How many connections are open, and how many of them nobody uses.
    pub fn state(&self) -> PoolState {
        let state = self.connections.state();
        PoolState { open: state.connections, idle: state.idle_connections }
    }
}

/// Why the pool has no connection to lend.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Postgres is not reachable, or refuses the login.
    #[error("cannot connect to Postgres")]
    Connect(#[source] tokio_postgres::Error),
    /// None became free, or none could be made, in time; the log says which.
    #[error("no database connection in time")]
    TimedOut,
}

impl From<bb8::RunError<tokio_postgres::Error>> for PoolError {
    fn from(error: bb8::RunError<tokio_postgres::Error>) -> Self {
        match error {
            bb8::RunError::User(source) => Self::Connect(source),
            bb8::RunError::TimedOut => Self::TimedOut,
        }
    }
}

/// The pool's connections, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Open, lent or not.
    pub open: u32,
    /// Open and not lent.
    pub idle: u32,
}

/// The pool retries by itself until a caller's wait is over; this is where the reason is seen.
#[derive(Clone, Copy, Debug)]
struct LogErrors;

impl bb8::ErrorSink<tokio_postgres::Error> for LogErrors {
    fn sink(&self, error: tokio_postgres::Error) {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, cause, "a database connection failed");
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<tokio_postgres::Error>> {
        Box::new(*self)
    }
}
