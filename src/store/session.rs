//! Whether a session is a connection's own, or lent by a pooler to one transaction after the other.
//!
//! An administrator's commands take roles, paths and locks, and what a pooler in transaction mode does to them is nobody's
//! to undo: half of a schema's tables in another one, a lock that no session holds. Neither protocol nor settings tell
//! such a pooler from a server. So the connection puts a mark on its session and looks whether it stays there, while
//! others that it makes for this take and give back sessions around it: poolers lend the one that was used last.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Error, connect};
use crate::config::DatabaseUrl;

/// Other clients of the same pooler come in between: once would be luck, and so would one be against several.
const ROUNDS: usize = 5;
/// How many connections take sessions and give them back.
const OTHERS: usize = 2;
/// A pooler without a session to spare lets a connection wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mark of one connection on its session. Who begins a transaction looks whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

/// Reads the mark, whatever the session's path is.
pub(super) const READ_MARK: &str = "SELECT pg_catalog.current_setting('rollbook.session', true)";

impl Mark {
    /// Marks the session of `client`, and refuses one that others are lent, too.
    ///
    /// # Errors
    /// [`Error::SharedSession`], or Postgres.
    pub(super) async fn put(client: &Client, url: &DatabaseUrl) -> Result<Self, Error> {
        let mark = Self(Uuid::new_v4().to_string());
        client.batch_execute(&format!("SET rollbook.session = '{}'", mark.0)).await?;
        // Where no others are to be had, its own looks have to do.
        let others = join_all((0..OTHERS).map(|_| connect(url))).await;
        let others: Vec<Client> = others.into_iter().filter_map(Result::ok).collect();
        for _ in 0..ROUNDS {
            if mark.is_met_by(&others).await || !mark.is_on(client).await? {
                return Err(Error::SharedSession);
            }
            // What they give back is what is lent next.
            join_all(others.iter().map(|other| other.batch_execute("COMMIT"))).await;
            if !mark.is_on(client).await? {
                return Err(Error::SharedSession);
            }
        }
        Ok(mark)
    }

    /// Whether one of the others, which all take a session and keep it, takes this one.
    async fn is_met_by(&self, others: &[Client]) -> bool {
        let look = async |other: &Client| {
            other.batch_execute("BEGIN").await?;
            self.is_on(other).await
        };
        let mut looks: FuturesUnordered<_> =
            others.iter().map(|other| tokio::time::timeout(PATIENCE, look(other))).collect();
        while let Some(found) = looks.next().await {
            if let Ok(Ok(true)) = found {
                return true;
            }
        }
        false
    }

    async fn is_on(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let row = client.query_typed_one(READ_MARK, &[]).await?;
        Ok(self.is(row.get(0)))
    }

    /// Whether this is what [`READ_MARK`] read.
    pub(super) fn is(&self, found: Option<&str>) -> bool {
        found == Some(self.0.as_str())
    }
}
