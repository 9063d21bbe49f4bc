//! Whether the partitions that we read are still the log that was loaded: asked when they are assigned, before the first
//! record goes to a lane, and now and then afterwards.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::Client;

use super::Shared;
use super::anchor;
use super::ask::ask;
use super::position::Watermark;
use super::server::Use;
use crate::log::{Discontinuity, PartitionEnds, Readable, Remembered, ScanError, Scanner};
use crate::store::Backoff;

/// A broker that has just come back may for a moment know less than it has: what is wrong must be wrong twice.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Where one assigned partition begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) partition: i32,
    /// Its anchor; `None`: it was never loaded, and begins at the log's first record.
    pub(super) anchor: Option<Watermark>,
    /// The first record that the log has.
    pub(super) first: i64,
    /// Why it must not be read.
    pub(super) discontinuity: Option<Discontinuity>,
}

/// Where assigned partitions begin.
#[derive(Debug)]
pub(super) enum Beginnings {
    /// Here.
    Known(Vec<Beginning>),
    /// The database is another server than the one that the loader began with: nothing is known.
    OtherServer,
}

/// Asks until both Postgres and the log have answered.
pub(super) async fn beginnings(shared: &Shared, log: &Readable, partitions: &[i32]) -> Beginnings {
    let mut backoff = Backoff::for_server();
    let anchors = loop {
        let read = async |client: &mut Client| anchor::read(client, shared.generation, partitions).await;
        match ask(&shared.pool, &shared.condition, Use::Reading, read).await {
            Ok(anchors) => break anchors,
            Err(_) => tokio::time::sleep(backoff.next()).await,
        }
    };
    if anchors.server != shared.identity {
        return Beginnings::OtherServer;
    }
    let remembered: Vec<Remembered> = partitions
        .iter()
        .map(|partition| {
            let anchor = anchors.places.get(partition).copied();
            Remembered {
                partition: *partition,
                next_offset: anchor.map(|anchor| anchor.next_offset),
                anchor: anchor.and_then(Watermark::anchor),
            }
        })
        .collect();
    let ends = ends(log, partitions).await;
    let found = look(log, remembered).await;
    let beginning = |partition: &i32| Beginning {
        partition: *partition,
        anchor: anchors.places.get(partition).copied(),
        first: ends.get(partition).map_or(0, |ends| ends.start),
        discontinuity: found.get(partition).copied(),
    };
    Beginnings::Known(partitions.iter().map(beginning).collect())
}

/// Looks whether the partitions are still what is remembered of them, until the log has answered.
pub(super) async fn look(log: &Readable, remembered: Vec<Remembered>) -> HashMap<i32, Discontinuity> {
    let found = verify(log, &remembered).await;
    if found.is_empty() {
        return found;
    }
    tokio::time::sleep(SECOND_LOOK).await;
    verify(log, &remembered).await
}

async fn ends(log: &Readable, partitions: &[i32]) -> HashMap<i32, PartitionEnds> {
    let partitions = partitions.to_vec();
    until_answered(log, move |scanner: &Scanner| {
        partitions.iter().map(|partition| Ok((*partition, scanner.ends_of(*partition)?))).collect()
    })
    .await
}

async fn verify(log: &Readable, remembered: &[Remembered]) -> HashMap<i32, Discontinuity> {
    let remembered = remembered.to_vec();
    until_answered(log, move |scanner: &Scanner| scanner.verify(&remembered)).await
}

async fn until_answered<T: Send + 'static>(
    log: &Readable,
    question: impl Fn(&Scanner) -> Result<T, ScanError> + Clone + Send + 'static,
) -> T {
    let mut backoff = Backoff::for_server();
    loop {
        match log.ask(question.clone()).await {
            Ok(answer) => return answer,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the log could not be compared with what was loaded; asking again");
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
