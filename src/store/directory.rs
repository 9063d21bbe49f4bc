//! Keeps the in-memory snapshot of organizations and keys in step with the control schema.
//!
//! One connection of its own listens for the control schema's announcements and reads the tables again; it also reads
//! them once a second, should an announcement be lost. A change is in effect well within 2 s. While Postgres is away
//! the last snapshot stays, and [`Directory::taken_at`] tells its age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::poll_fn;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connect::{Driver, NOTHING_ON_THE_PATH, connect, connect_with_driver};
use super::{Backoff, Error, organizations};
use crate::config::DatabaseUrl;
use crate::ops::{Complaints, chain};
use crate::tenant::{Directory, KeyDigest, OrganizationId, Snapshot};

/// How often the tables are read when nothing is announced.
const POLL: Duration = Duration::from_secs(1);
/// Whoever may connect may notify; announcements closer together than this are read as one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// A read that takes longer is given up with its connection: a server that hangs must not look like a quiet one.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose snapshot it is: each login may read what its role needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Organizations and live keys.
    Intake,
    /// Organizations only.
    Loader,
}

/// Follows the control schema until `stop` is cancelled.
///
/// # Cancel safety
/// May be dropped at any time: the directory keeps its last snapshot.
pub async fn follow(url: &DatabaseUrl, view: View, directory: &Directory, stop: &CancellationToken) {
    let mut failures = 0;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let complaints = Complaints::now_and_then();
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = follow_connection(url, view, directory, &mut failures) => ended,
        };
        let Err(error) = ended;
        let error = chain(&error);
        if let Some(unwritten) = complaints.hear_text(&error, Instant::now()) {
            tracing::warn!(
                error,
                failures,
                unwritten,
                "organizations cannot be read; the last snapshot stays"
            );
        }
        directory.not_replaced(error);
        if failures == 0 {
            backoff.reset();
        }
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// Reads it once, on a connection of its own, as a login does that follows it.
///
/// # Errors
/// Postgres is not reachable, refuses the login, or has not what it reads.
pub async fn read_once(url: &DatabaseUrl, view: View) -> Result<Snapshot, Error> {
    let client = connect(url).await?;
    in_time(read(&client, view)).await
}

/// What a connection's life ends with: always an error.
type Ended = Result<std::convert::Infallible, Error>;

/// Follows on one connection until it fails. `failures` goes back to 0 with the first snapshot.
async fn follow_connection(
    url: &DatabaseUrl,
    view: View,
    directory: &Directory,
    failures: &mut u32,
) -> Ended {
    let (client, driver) = connect_with_driver(url).await?;
    let announced = Arc::new(Notify::new());
    // The driver runs inside this future, not in a task: both end together.
    tokio::select! {
        ended = drive(driver, &announced) => ended,
        ended = read_on_announcement(&client, view, directory, &announced, failures) => ended,
    }
}

/// Moves bytes between the client and the server, and passes on that something was announced.
async fn drive(mut driver: Driver, announced: &Notify) -> Ended {
    loop {
        match poll_fn(|context| driver.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => announced.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            // The reader is told by its next query, and says it better.
            None => std::future::pending().await,
        }
    }
}

async fn read_on_announcement(
    client: &Client,
    view: View,
    directory: &Directory,
    announced: &Notify,
    failures: &mut u32,
) -> Ended {
    in_time(listen(client)).await?;
    loop {
        let snapshot = in_time(read(client, view)).await?;
        directory.replace(snapshot);
        if *failures > 0 {
            tracing::info!("organizations can be read again");
            *failures = 0;
        }
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let _ = tokio::time::timeout(POLL - SHORTEST_PAUSE, announced.notified()).await;
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(READ_TIMEOUT, read).await.map_err(|_| Error::ReadTimedOut)?
}

/// Before the first read: what changes in between is then announced. A pooler in transaction mode passes no announcement
/// on; there the poll has to do.
async fn listen(client: &Client) -> Result<(), Error> {
    client.batch_execute(NOTHING_ON_THE_PATH).await?;
    Ok(client.batch_execute("LISTEN rollbook_organization").await?)
}

/// Reads the tables. The statements have no names, for a pooler may lend another server session to each; and they call
/// no function and no operator, for there the path may be anybody's.
async fn read(client: &Client, view: View) -> Result<Snapshot, Error> {
    let taken_at = Instant::now();
    // Keys first: a key made between the two reads then waits for the next snapshot, with its organization.
    let keys = match view {
        View::Intake => {
            let keys = "SELECT digest, organization_id FROM rollbook.write_key WHERE revoked_at IS NULL";
            client.query_typed(keys, &[]).await?.iter().map(read_key).collect::<Result<_, _>>()?
        }
        View::Loader => Vec::new(),
    };
    let rows = format!("SELECT {} FROM rollbook.organization", organizations::COLUMNS);
    let rows = client.query_typed(&rows, &[]).await?;
    let organizations: Vec<_> = rows.iter().map(organizations::read).collect::<Result<_, _>>()?;
    Ok(Snapshot::new(organizations, keys, taken_at))
}

fn read_key(row: &Row) -> Result<(KeyDigest, OrganizationId), Error> {
    let id = OrganizationId(row.get::<_, Uuid>(1));
    let digest = KeyDigest::from_slice(row.get(0));
    let digest = digest.map_err(|bytes| {
        let why = format!("a key's digest has {bytes} bytes");
        Error::UnreadableRow { id, why }
    })?;
    Ok((digest, id))
}
