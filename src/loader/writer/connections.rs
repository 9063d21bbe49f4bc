//! The loader's connections, and the tasks that writers do over them.
//!
//! Each place beside the others keeps its connection from task to task, and an organization is given the same place where
//! that is free: a backend remembers every table that it touched, and so each remembers a part of them only. A connection
//! that is at something slow takes no place; a fresh one does, for whoever is next.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Refusal;
use super::perform::{Performed, perform};
use crate::loader::Shared;
use crate::loader::ask::in_time;
use crate::loader::dispatcher::Work;
use crate::loader::lane::{Refused, Told};
use crate::loader::partition::LaneKey;
use crate::loader::server::{ServerIdentity, Use};
use crate::store::PooledClient;

/// How long a statement that is to be cancelled is waited for; then its connection is closed, and Postgres ends it by
/// its own time-outs.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// A connection is closed after so long: a backend remembers every table that it touched.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// See the module.
pub(in crate::loader) struct Connections {
    shared: Arc<Shared>,
    places: Vec<Option<Connection>>,
    at_work: JoinSet<Finished>,
    given_up: HashMap<u64, CancellationToken>,
}

/// One connection to the server that the loader began with.
struct Connection {
    client: PooledClient<'static>,
    taken_at: Instant,
}

/// A task that is done.
pub(in crate::loader) struct Finished {
    /// Which.
    pub(in crate::loader) work: u64,
    /// What it came to.
    pub(in crate::loader) told: Told,
    /// Set where the database is another server than the one that the loader began with.
    pub(in crate::loader) other_server: Option<ServerIdentity>,
    connection: Option<Connection>,
}

impl Connections {
    /// None is made before there is something to do.
    pub(in crate::loader) fn new(shared: &Arc<Shared>) -> Self {
        let places = (0..shared.settings.connections.get()).map(|_| None).collect();
        Self { shared: Arc::clone(shared), places, at_work: JoinSet::new(), given_up: HashMap::new() }
    }

    /// Begins a task.
    pub(in crate::loader) fn begin(&mut self, work: Work) {
        let connection = self.take(work.lane.key);
        let give_up = CancellationToken::new();
        self.given_up.insert(work.id, give_up.clone());
        self.at_work.spawn(at_work(Arc::clone(&self.shared), work, connection, give_up));
    }

    /// Cancels a task: its transaction is to come to nothing.
    pub(in crate::loader) fn give_up(&self, work: u64) {
        if let Some(give_up) = self.given_up.get(&work) {
            give_up.cancel();
        }
    }

    /// The next task that is done; never, while there is none.
    ///
    /// # Errors
    /// A task panicked: a bug, and what it did is unknown. The process should end and read again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(in crate::loader) async fn next_finished(&mut self) -> anyhow::Result<Finished> {
        let Some(finished) = self.at_work.join_next().await else { return std::future::pending().await };
        let mut finished = finished.map_err(|error| anyhow::Error::new(error).context("a writer failed"))?;
        self.given_up.remove(&finished.work);
        if let Some(connection) = finished.connection.take() {
            self.put_back(connection);
        }
        Ok(finished)
    }

    /// A connection that is free, best the one that this lane's organization had.
    fn take(&mut self, key: LaneKey) -> Option<Connection> {
        let home = home(key, self.places.len());
        let place = self.places.get_mut(home)?;
        let is_young = |connection: &Connection| connection.taken_at.elapsed() < LIFETIME;
        place.take().or_else(|| self.places.iter_mut().find_map(Option::take)).filter(is_young)
    }

    /// Gives a connection a place, or gives it back where all are taken.
    fn put_back(&mut self, connection: Connection) {
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(connection),
            None => connection.client.give_back(),
        }
    }
}

/// The place of an organization.
fn home(key: LaneKey, places: usize) -> usize {
    let mut hasher = std::hash::DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % places.max(1) as u64).unwrap_or_default()
}

async fn at_work(
    shared: Arc<Shared>,
    work: Work,
    connection: Option<Connection>,
    give_up: CancellationToken,
) -> Finished {
    let number = work.id;
    let finished = |told, connection, other_server| Finished { work: number, told, other_server, connection };
    let mut connection = match connected(&shared, connection).await {
        Ok(connection) => connection,
        Err(NotConnected::Lost) => return finished(Told::Refused(Refused::Server), None, None),
        Err(NotConnected::Other(server)) => {
            return finished(Told::Refused(Refused::Server), None, Some(server));
        }
    };
    let performed = perform_unless(&shared, &work, &mut connection.client, give_up).await;
    let Performed { told, is_connection_good } = performed;
    if is_connection_good {
        shared.condition.server.answered(Use::Writing);
    }
    finished(told, is_connection_good.then_some(connection), None)
}

/// Does the work, or cancels it when it is given up.
async fn perform_unless(
    shared: &Shared,
    work: &Work,
    client: &mut PooledClient<'static>,
    give_up: CancellationToken,
) -> Performed {
    let canceller = client.canceller();
    let performing = perform(shared, work, client);
    tokio::pin!(performing);
    tokio::select! {
        performed = &mut performing => return performed,
        // Its own connection may come to nothing where the server says nothing; what is cancelled is told by its end alone.
        () = give_up.cancelled() => drop(tokio::time::timeout(CANCEL_GRACE, canceller.cancel()).await),
    }
    match tokio::time::timeout(CANCEL_GRACE, performing).await {
        // It was quicker than its cancelling, which is under way and would hit what the connection does next.
        Ok(Performed { told: told @ (Told::Flushed { .. } | Told::Drained { .. }), .. }) => {
            Performed { told, is_connection_good: false }
        }
        Ok(_) | Err(_) => Performed { told: Told::PutBack, is_connection_good: false },
    }
}

/// Why there is no connection.
enum NotConnected {
    Lost,
    Other(ServerIdentity),
}

/// The connection, or a fresh one: to the server that the loader began with, or none.
async fn connected(shared: &Shared, connection: Option<Connection>) -> Result<Connection, NotConnected> {
    if let Some(connection) = connection.filter(|connection| !connection.client.is_closed()) {
        return Ok(connection);
    }
    let lost = |refusal: Refusal| {
        shared.condition.server.lost(Use::Writing, refusal.reason());
        NotConnected::Lost
    };
    let client = shared.pool.get_owned().await.map_err(|error| lost(error.into()))?;
    let identity = in_time(ServerIdentity::of(&*client)).await.map_err(lost)?;
    if identity != shared.identity {
        return Err(NotConnected::Other(identity));
    }
    Ok(Connection { client, taken_at: Instant::now() })
}
