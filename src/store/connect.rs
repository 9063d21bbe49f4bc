//! One connection to Postgres, outside any pool.

use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Connection, Socket, Transaction};

use super::{Error, tls};
use crate::config::DatabaseUrl;

/// How long a login may take when the URL says nothing about it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that vanished without a word is given up after this long, whether we wait for it or it for us.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a lock in one organization's schema is waited for by those who ask all of them. A migration that takes it has
/// it for less.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// What every connection says first. Functions, operators and tables are then found by their full names or in
/// `pg_catalog`: whoever may create in a schema that the database puts on the path must never have theirs called by a
/// login of ours. Not a start-up option, because poolers refuse those. Behind a pooler in transaction mode it does not
/// stay with the connection: there each transaction says it again, and what stands outside of one calls nothing.
pub(super) const NOTHING_ON_THE_PATH: &str = "SET search_path = ''";

/// The half of a connection that talks to the server, and must be polled for the other half to work.
pub(super) type Driver = Connection<Socket, <tls::Connector as MakeTlsConnect<Socket>>::Stream>;

/// Logs in, and leaves the connection to a task of its own that ends when the client is dropped.
///
/// # Errors
/// Postgres is not reachable, or refuses the login.
pub async fn connect(url: &DatabaseUrl) -> Result<Client, Error> {
    let (client, driver) = connect_with_driver(url).await?;
    // Not awaited by anyone: it ends with the client, and whatever ends it early is what the client's next call says.
    tokio::spawn(driver);
    client.batch_execute(NOTHING_ON_THE_PATH).await.map_err(|source| cannot_log_in(url, source))?;
    Ok(client)
}

/// Begins a transaction that only looks, with nothing on its path, whoever's session it is in: a pooler may lend another
/// one to each transaction.
///
/// # Errors
/// Postgres.
pub async fn look(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute("SET LOCAL search_path = ''").await?;
    Ok(transaction)
}

/// [`look`] for those who look at one organization after another: what somebody has locked is not waited for beyond
/// `patience`.
///
/// # Errors
/// Postgres.
pub(super) async fn look_briefly(
    client: &mut Client,
    patience: Duration,
) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = look(client).await?;
    transaction.batch_execute(&no_longer_than(patience)).await?;
    Ok(transaction)
}

/// Within a transaction: a lock is waited for no longer.
pub(super) fn no_longer_than(patience: Duration) -> String {
    format!("SET LOCAL lock_timeout = {}", patience.as_millis())
}

/// Logs in, and hands over the connection's driver to someone who wants to see its notifications, and who says
/// [`NOTHING_ON_THE_PATH`] once it is polled.
pub(super) async fn connect_with_driver(url: &DatabaseUrl) -> Result<(Client, Driver), Error> {
    let connector = tls::connector(url.tls())?;
    driver_config(url).connect(connector).await.map_err(|source| cannot_log_in(url, source))
}

fn cannot_log_in(url: &DatabaseUrl, source: tokio_postgres::Error) -> Error {
    Error::Connect { login: url.user().to_owned(), source }
}

/// The URL with what every connection of ours has.
pub(super) fn driver_config(url: &DatabaseUrl) -> tokio_postgres::Config {
    let mut config = url.config().clone();
    if config.get_application_name().is_none() {
        config.application_name("rollbook");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE_TIMEOUT).keepalives_idle(SILENCE_TIMEOUT);
    }
    config
}
