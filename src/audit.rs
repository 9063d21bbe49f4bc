//! The books: what the log says was accepted, against what the schemas hold.
//!
//! The order is what makes it right while the service runs. First the log is read to its ends, then Postgres is looked at
//! in one snapshot; where that snapshot is already ahead of what was read, the log is read on. So everything that the
//! snapshot counts has been read, and what it does not count is in flight.
//!
//! Three questions are asked of each organization: is every id that should be there stored, dead, discarded or held
//! (`missing`); is there an id that should not be (`foreign`); and, where the log is whole, do the totals add up.
//!
//! An id takes 24 bytes here, and a record 16, whatever the events weigh.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::DatabaseUrl;
use crate::log::{PartitionEnds, Readable, ScanError, Scanner, Stretch};
use crate::store;
use crate::store::audit::{Holdings, Snapshot};
use crate::tenant::{Organization, Slug, State};

mod books;
mod ledger;

pub use books::Account;
use books::Books;
use ledger::{Ledger, OpenLedger};

/// What is audited.
#[derive(Debug)]
pub struct Plan {
    /// The administrator's login.
    pub database: DatabaseUrl,
    /// The log.
    pub log: Readable,
    /// Its kind and its name, as `setup` declared them.
    pub log_identity: (&'static str, String),
    /// Only this organization; `None`: all.
    pub only: Option<Slug>,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Reading the log.
    Log {
        /// Offsets passed.
        done: u64,
        /// Offsets to pass.
        all: u64,
    },
    /// Comparing schemas.
    Schemas {
        /// Compared.
        done: u64,
        /// To compare.
        all: u64,
    },
}

/// What an audit found.
#[derive(Debug)]
pub struct Report {
    /// Whether every partition was there from offset 0, so that the totals could be compared too.
    pub log_is_whole: bool,
    /// One for each organization that was not removed, by slug.
    pub accounts: Vec<Account>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Postgres.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] ScanError),
    /// Watermarks speak of offsets that the log does not have.
    #[error(
        "partition {partition} ends at {end}, but a schema is loaded up to {next_offset}: this is not the log that was \
         loaded; if it is meant to be a new one, `rollbook setup --new-generation` says so"
    )]
    AnotherLife {
        /// The partition.
        partition: i32,
        /// Its end.
        end: i64,
        /// The watermark.
        next_offset: i64,
    },
    /// Reading the log was cut short.
    #[error("reading the log was interrupted")]
    Interrupted,
}

/// Compares the log with the schemas.
///
/// # Errors
/// See [`AuditError`]. A difference is no error: it is in the report.
pub async fn audit(
    plan: &Plan,
    progress: impl Fn(Step) + Send + Sync + 'static,
) -> Result<Report, AuditError> {
    let progress = Arc::new(progress);
    let scan = Scan::begin(plan, Arc::clone(&progress)).await?;
    let mut snapshot = Snapshot::open(&plan.database).await?;
    snapshot.refuse_another_log(plan.log_identity.0, &plan.log_identity.1)?;

    let mut found = Vec::new();
    for organization in chosen(snapshot.organizations().await?, plan.only.as_ref())? {
        let holdings = snapshot.holdings(&organization).await?;
        found.push((organization, holdings));
    }

    let anchors = snapshot.anchors().await?;
    let scan = scan.read_on(loaded_up_to(&found, &anchors)).await?;
    let (ledger, log_is_whole) = scan.close();
    let all = found.len() as u64;
    let mut accounts = Vec::with_capacity(found.len());
    for (done, (organization, holdings)) in found.into_iter().enumerate() {
        progress(Step::Schemas { done: done as u64, all });
        accounts.push(account(&mut snapshot, &ledger, &anchors, log_is_whole, organization, holdings).await?);
    }
    Ok(Report { log_is_whole, accounts })
}

/// Removed organizations have no schema; one that is being made has nothing in it, and maybe no schema either.
fn chosen(all: Vec<Organization>, only: Option<&Slug>) -> Result<Vec<Organization>, store::Error> {
    let stands = |one: &Organization| matches!(one.state, State::Active | State::Suspended);
    let Some(slug) = only else { return Ok(all.into_iter().filter(stands).collect()) };
    let found = all.into_iter().find(|one| one.slug == *slug);
    let one = found.ok_or_else(|| store::Error::NoSuchOrganization(slug.clone()))?;
    store::organizations::refuse_unless_standing(&one)?;
    Ok(vec![one])
}

/// How far any schema is loaded, any record held, or all of it safe, by partition.
fn loaded_up_to(found: &[(Organization, Holdings)], anchors: &HashMap<i32, i64>) -> HashMap<i32, i64> {
    let mut up_to = anchors.clone();
    for (_, holdings) in found {
        let watermarks =
            holdings.watermarks.iter().map(|(partition, totals)| (*partition, totals.next_offset));
        let held = holdings.held.keys().map(|(partition, offset)| (*partition, offset + 1));
        for (partition, next_offset) in watermarks.chain(held) {
            let known = up_to.entry(partition).or_default();
            *known = next_offset.max(*known);
        }
    }
    up_to
}

async fn account(
    snapshot: &mut Snapshot,
    ledger: &Ledger,
    anchors: &HashMap<i32, i64>,
    log_is_whole: bool,
    organization: Organization,
    holdings: Holdings,
) -> Result<Account, AuditError> {
    let unreadable = holdings.unreadable.clone();
    let mut books = Books::open(ledger, organization, holdings, anchors, log_is_whole);
    if unreadable.is_none() {
        let schema = books.schema().to_owned();
        snapshot.event_ids(&schema, |id: Uuid| books.stored(id)).await?;
    }
    Ok(books.close())
}

/// The log as far as it has been read.
struct Scan<P> {
    scanner: Scanner,
    ledger: OpenLedger,
    ends: Vec<(i32, PartitionEnds)>,
    log_is_whole: bool,
    progress: Arc<P>,
}

impl<P: Fn(Step) + Send + Sync + 'static> Scan<P> {
    /// Reads from the first offset that is kept to the ends as they are now.
    async fn begin(plan: &Plan, progress: Arc<P>) -> Result<Self, AuditError> {
        let log = plan.log.clone();
        off_thread(move || {
            let scanner = log.scanner()?;
            let ends = scanner.ends()?;
            let stretches: Vec<Stretch> = ends
                .iter()
                .map(|(partition, ends)| Stretch { partition: *partition, from: ends.start, to: ends.end })
                .collect();
            let ledger = OpenLedger::default();
            let mut scan = Self { scanner, ledger, ends, log_is_whole: false, progress };
            scan.read(&stretches)?;
            Ok(scan)
        })
        .await
    }

    /// Reads on to where Postgres is, and looks whether the log is still whole.
    async fn read_on(mut self, up_to: HashMap<i32, i64>) -> Result<Self, AuditError> {
        off_thread(move || {
            let ends_now: HashMap<i32, PartitionEnds> = self.scanner.ends()?.into_iter().collect();
            for (partition, next_offset) in &up_to {
                let end = ends_now.get(partition).map_or(0, |ends| ends.end);
                if end < *next_offset {
                    let (partition, next_offset) = (*partition, *next_offset);
                    return Err(AuditError::AnotherLife { partition, end, next_offset });
                }
            }
            let read: HashMap<i32, i64> =
                self.ends.iter().map(|(partition, ends)| (*partition, ends.end)).collect();
            let stretches: Vec<Stretch> = up_to
                .into_iter()
                .map(|(partition, to)| Stretch {
                    partition,
                    from: read.get(&partition).copied().unwrap_or_default(),
                    to,
                })
                .collect();
            self.read(&stretches)?;
            self.log_is_whole = ends_now.values().all(|ends| ends.start == 0);
            Ok(self)
        })
        .await
    }

    /// What was read, and whether it begins at offset 0. The log is let go of: its process may wait to be started.
    fn close(self) -> (Ledger, bool) {
        (self.ledger.close(), self.log_is_whole)
    }

    fn read(&mut self, stretches: &[Stretch]) -> Result<(), AuditError> {
        let all = stretches.iter().map(|stretch| (stretch.to - stretch.from).max(0).unsigned_abs()).sum();
        let Self { scanner, ledger, progress, .. } = self;
        let mut done = 0;
        scanner.read(stretches, |partition, offset, bytes| {
            ledger.write(partition, offset, bytes);
            done += 1;
            if done % 1000 == 0 {
                progress(Step::Log { done, all });
            }
        })?;
        Ok(())
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(AuditError::Interrupted))
}
