//! One task of a lane, done over one connection.

use std::time::Instant;

use tokio_postgres::Client;

use super::flush::{Committed, FlushError, Flushed, flush};
use super::prepared::{Prepared, Source, Unfit, UnfitRecord};
use super::refusal::Refusal;
use super::statements::Statements;
use super::ways::{Way, WriteError};
use crate::loader::Shared;
use crate::loader::dispatcher::Work;
use crate::loader::holding::{HoldOutcome, Opening, ToHold, Unreadable, drain_some, hold, open, write_down};
use crate::loader::lane::{BatchLimits, Expected, Kept, Nobody, Receipt, Refused, Task, Told};
use crate::loader::outcome::{self, Outcomes};
use crate::loader::overdue::end_overdue;
use crate::loader::owner::{Owner, owner_of};
use crate::loader::partition::LaneKey;
use crate::loader::server::{SYNCHRONOUS, ServerIdentity, Use};
use crate::loader::trail::{Fate, trail};
use crate::tenant::OrganizationId;

/// A batch up to this size is prepared where the task runs: handing it over would cost more.
const SMALL_BYTES: usize = 64 * 1024;

/// What a task came to, and whether the connection is good for another one.
pub(in crate::loader) struct Performed {
    pub(in crate::loader) told: Told,
    pub(in crate::loader) is_connection_good: bool,
}

impl Performed {
    fn well(told: Told) -> Self {
        Self { told, is_connection_good: true }
    }

    fn refused(shared: &Shared, refusal: Refusal) -> Self {
        let refused = match refusal {
            Refusal::Server(reason) => {
                shared.condition.server.lost(Use::Writing, &reason);
                Refused::Server
            }
            Refusal::Again(reason) => Refused::Again(reason),
            Refusal::Schema(reason) => Refused::Schema(reason),
            Refusal::Slow(reason) => Refused::Slow(reason),
        };
        Self { told: Told::Refused(refused), is_connection_good: false }
    }
}

/// Does what the lane asks for.
///
/// # Cancel safety
/// Dropping the future leaves open what was done; the lane finds out by opening its schema again.
pub(in crate::loader) async fn perform(shared: &Shared, work: &Work, client: &mut Client) -> Performed {
    let outcomes = Outcomes::of(shared, work.lane.key);
    let performing = Performing { shared, work, outcomes, begun: Instant::now() };
    if let Task::Open | Task::Flush { expected: Expected::AtLeast(_), .. } = work.task {
        performing.outcomes.begin();
    }
    let performed = match &work.task {
        Task::Hold { reason, .. } => performing.hold(client, reason).await,
        Task::WriteDown { nobody, .. } => performing.write_down(client, *nobody).await,
        Task::Open => performing.open(client).await,
        Task::Flush { expected, look_for_duplicates: true, .. } => {
            performing.flush(client, *expected, Way::AskFirst).await
        }
        Task::Flush { expected, .. } => performing.flush(client, *expected, Way::Direct).await,
        Task::Drain { rows } => performing.drain(client, *rows).await,
    };
    performed.unwrap_or_else(|refusal| Performed::refused(shared, refusal))
}

struct Performing<'a> {
    shared: &'a Shared,
    work: &'a Work,
    outcomes: Outcomes,
    begun: Instant,
}

type Outcome = Result<Performed, Refusal>;

/// The schema that a lane's records belong into.
struct Home {
    organization: OrganizationId,
    statements: Statements,
}

impl Performing<'_> {
    /// The organization that the lane is of; a lane of records that cannot be decoded asks for no schema.
    fn organization(&self) -> Option<OrganizationId> {
        match self.work.lane.key {
            LaneKey::Organization(id) => Some(id),
            LaneKey::Undecodable => None,
        }
    }

    /// Where the lane's records belong, or what the lane is told instead.
    async fn home(&self, client: &Client) -> Result<Result<Home, Told>, Refusal> {
        let Some(organization) = self.organization() else {
            return Ok(Err(Told::Gone(Nobody::Undecodable)));
        };
        Ok(match owner_of(self.shared, client, organization).await? {
            Owner::Schema(statements) => Ok(Home { organization, statements: *statements }),
            Owner::Unusable(reason) => Err(Told::Refused(Refused::Schema(reason))),
            Owner::NotYetKnown => Err(Told::Refused(Refused::NotYet)),
            Owner::Nobody(nobody) => Err(Told::Gone(nobody)),
        })
    }

    async fn open(&self, client: &mut Client) -> Outcome {
        let Home { organization, statements } = match self.home(client).await? {
            Ok(home) => home,
            Err(told) => return Ok(Performed::well(told)),
        };
        let Opening { watermark, any_held } =
            open(client, &statements, organization, self.work.position).await?;
        let told = if any_held { Told::FoundHeld } else { Told::Found(watermark) };
        Ok(Performed::well(told))
    }

    async fn flush(&self, client: &mut Client, expected: Expected, way: Way) -> Outcome {
        let Home { organization, statements } = match self.home(client).await? {
            Ok(home) => home,
            Err(told) => return Ok(Performed::well(told)),
        };
        let begun = Instant::now();
        let prepared = match self.prepare(organization).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Ok(Performed::well(Told::Refused(Refused::NotYet))),
            Err(UnfitRecord { why: Unfit::Undecodable, .. }) => return self.undecodable(client).await,
            Err(unfit @ UnfitRecord { why: Unfit::Foreign { .. }, .. }) => {
                tracing::error!(organization.id = %organization, partition = self.work.position.partition,
                    offset = unfit.offset, reason = %unfit, "a record is in another organization's lane");
                return Ok(Performed::well(Told::Refused(Refused::Schema(unfit.to_string()))));
            }
            Err(unfit @ UnfitRecord { why: Unfit::Newer { .. }, .. }) => {
                return Ok(Performed::well(Told::Refused(Refused::Schema(unfit.to_string()))));
            }
        };
        match flush(client, &statements, expected, &prepared, way).await {
            Ok(Flushed::Committed(Committed { fates, from, to, has_met_duplicates })) => {
                let records = prepared.records();
                self.outcomes.flushed(&fates, prepared.events(), begun.elapsed());
                self.outcomes.visible(&self.work.records[..records]);
                self.trail(records, Fate::Loaded(fates));
                let receipt = Receipt::committed(records, from, to);
                Ok(Performed::well(Told::Flushed { receipt, met_duplicates: has_met_duplicates }))
            }
            Ok(Flushed::Stale { found }) => {
                if let Expected::Watermark(_) = expected {
                    tracing::info!(organization.id = %organization, partition = self.work.position.partition,
                        "the watermark was moved by another loader; its lane goes on from there");
                }
                Ok(Performed::well(Told::Found(found)))
            }
            Ok(Flushed::Held) => Ok(Performed::well(Told::FoundHeld)),
            Err(FlushError::Refused(error)) => Err(error.into()),
            Err(FlushError::Commit(error)) => match Refusal::from(error) {
                // Refused by the schema at the commit: it is not stored, and would be refused again.
                refusal @ (Refusal::Schema(_) | Refusal::Slow(_)) => Err(refusal),
                Refusal::Server(reason) | Refusal::Again(reason) => {
                    tracing::warn!(organization.id = %organization, partition = self.work.position.partition,
                        reason, "the answer to a commit was lost; the watermark settles it");
                    Ok(Performed { told: Told::Unconfirmed, is_connection_good: false })
                }
            },
        }
    }

    /// Record bytes become COPY bytes: off the async threads where that takes long.
    async fn prepare(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<Prepared<bytes::Bytes>>, UnfitRecord> {
        let position = self.work.position;
        let sources: Vec<Source<bytes::Bytes>> = self
            .work
            .records
            .iter()
            .map(|record| Source { offset: record.offset, bytes: record.bytes.clone() })
            .collect();
        if sources.iter().map(|source| source.bytes.len()).sum::<usize>() <= SMALL_BYTES {
            return Prepared::take(organization, position, sources);
        }
        let preparing = tokio::task::spawn_blocking(move || Prepared::take(organization, position, sources));
        match preparing.await {
            Ok(prepared) => prepared,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Ok(None),
            },
        }
    }

    async fn drain(&self, client: &mut Client, rows: usize) -> Outcome {
        let Home { organization, statements } = match self.home(client).await? {
            Ok(home) => home,
            Err(told) => return Ok(Performed::well(told)),
        };
        let limits = BatchLimits { rows, bytes: self.shared.settings.transaction.hold_bytes() };
        let begun = Instant::now();
        match drain_some(client, &statements, organization, self.work.position, limits).await {
            Ok(None) => Ok(Performed::well(Told::NoneHeld)),
            Ok(Some(drained)) => {
                self.outcomes.drained(&drained, begun.elapsed());
                Ok(Performed::well(Told::Drained { bytes: drained.bytes }))
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                // A lock, or the drain's own, may be with a loader that will never go on.
                let may_be_stuck = matches!(refusal, Refusal::Slow(_) | Refusal::Again(_));
                if may_be_stuck && self.has_ended_overdue().await? {
                    return Ok(Performed { told: Told::Cleared, is_connection_good: false });
                }
                Err(refusal)
            }
        }
    }

    /// Whether a loader that stopped in the middle of something was in the way, and is no more.
    async fn has_ended_overdue(&self) -> Result<bool, Refusal> {
        let client = self.shared.pool.get().await?;
        // Where PUBLIC has lost the right to end connections, what is in the way stays there.
        let Ok(has_ended) = end_overdue(&client).await else { return Ok(false) };
        client.give_back();
        if has_ended {
            tracing::warn!(organization.id = ?self.organization(), partition = self.work.position.partition,
                "ended a connection of a loader that had stopped in the middle of a COPY");
        }
        Ok(has_ended)
    }

    /// The control schema refuses nothing for an organization's sake: whatever it says, the same is tried again.
    async fn hold(&self, client: &mut Client, reason: &str) -> Outcome {
        let Some(organization) = self.organization() else {
            return Ok(Performed::well(Told::Gone(Nobody::Undecodable)));
        };
        let records: Vec<ToHold<'_>> = self
            .work
            .records
            .iter()
            .map(|record| ToHold {
                offset: record.offset,
                bytes: &record.bytes,
                events: i32::try_from(record.events).unwrap_or(i32::MAX),
            })
            .collect();
        let held = self.hold_here(client, organization, &records, reason).await;
        match held.map_err(|refusal| Refusal::Server(refusal.reason().to_owned()))? {
            HoldOutcome::Held => {
                self.outcomes.held(self.work.records.iter().map(|record| record.events).sum());
                self.trail(self.work.records.len(), Fate::Held);
                Ok(Performed::well(Told::Held(Kept::confirmed())))
            }
            HoldOutcome::OrganizationRemoved => Ok(Performed::well(Told::Gone(Nobody::Removed))),
            // The snapshot of organizations is another server's, or older. Their bytes are kept.
            HoldOutcome::OrganizationUnknown => Ok(Performed::well(Told::Gone(Nobody::Unknown))),
        }
    }

    /// What was confirmed before these records is not there on another server: nothing is held ahead of it.
    async fn hold_here(
        &self,
        client: &mut Client,
        organization: OrganizationId,
        records: &[ToHold<'_>],
        reason: &str,
    ) -> Result<HoldOutcome, Refusal> {
        let transaction = client.transaction().await?;
        transaction.batch_execute(SYNCHRONOUS).await?;
        if ServerIdentity::of(&transaction).await? != self.shared.identity {
            return Err(WriteError::OtherServer.into());
        }
        let held = hold(transaction.client(), organization, self.work.position, records, reason).await?;
        transaction.commit().await?;
        Ok(held)
    }

    /// What became of the first records.
    fn trail(&self, records: usize, fate: Fate) {
        let records = self.work.records[..records].iter();
        let records = records.map(|record| (record.offset, &record.bytes[..]));
        trail(self.work.position, records, fate, self.begun);
    }

    async fn write_down(&self, client: &mut Client, nobody: Nobody) -> Outcome {
        let (reason, keeps_bytes) = match nobody {
            Nobody::Removed => ("the organization was removed", false),
            Nobody::Unknown => ("no organization ever had this id", true),
            Nobody::Undecodable => ("it cannot be decoded", true),
        };
        self.keep(client, self.work.records.len(), reason, keeps_bytes).await?;
        self.trail(self.work.records.len(), Fate::WrittenDown(reason));
        match nobody {
            Nobody::Removed => {
                self.outcomes.unattributed(self.work.records.iter().map(|record| record.events).sum());
            }
            Nobody::Unknown | Nobody::Undecodable => {
                self.work.records.iter().for_each(|_| outcome::unreadable());
            }
        }
        Ok(Performed::well(Told::WrittenDown(Kept::confirmed())))
    }

    /// A header that reads and events that do not: nothing that intake wrote. It must not stand in the way of the others.
    async fn undecodable(&self, client: &mut Client) -> Outcome {
        self.keep(client, 1, Unfit::UNDECODABLE, true).await?;
        self.trail(1, Fate::WrittenDown(Unfit::UNDECODABLE));
        outcome::unreadable();
        Ok(Performed::well(Told::Undecodable(Kept::confirmed())))
    }

    async fn keep(
        &self,
        client: &mut Client,
        records: usize,
        reason: &str,
        keeps_bytes: bool,
    ) -> Result<(), Refusal> {
        let is_decodable = self.organization().is_some();
        let unreadable: Vec<Unreadable<'_>> = self.work.records[..records]
            .iter()
            .map(|record| Unreadable {
                position: self.work.position,
                offset: record.offset,
                organization: self.organization(),
                events: i32::try_from(record.events).ok().filter(|_| is_decodable),
                reason,
                record: keeps_bytes.then_some(&record.bytes[..]),
            })
            .collect();
        let kept = async {
            let transaction = client.transaction().await?;
            transaction.batch_execute(SYNCHRONOUS).await?;
            write_down(&transaction, &unreadable).await?;
            transaction.commit().await
        };
        kept.await.map_err(|error| Refusal::Server(Refusal::from(error).reason().to_owned()))
    }
}
