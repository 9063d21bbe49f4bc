//! One connection to Postgres, outside any pool.

use std::time::Duration;

use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket, Transaction};

use super::login::log_in;
use super::{Error, tls};
use crate::config::DatabaseUrl;

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
    let tls = tls::connector(url.tls())?;
    let by = |config: Config| {
        let tls = tls.clone();
        async move {
            let (client, driver) = config.connect(tls).await?;
            // Not awaited by anyone: it ends with the client, and whatever ends it early is what the client's next call says.
            tokio::spawn(driver);
            client.batch_execute(NOTHING_ON_THE_PATH).await?;
            Ok(client)
        }
    };
    log_in(url, by).await
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
    let tls = tls::connector(url.tls())?;
    let by = |config: Config| {
        let tls = tls.clone();
        async move { config.connect(tls).await }
    };
    log_in(url, by).await
}
