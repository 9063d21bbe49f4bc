//! A lane whose schema takes records.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::arrived::Arrived;
use super::super::owner::has_usable_schema;
use super::super::position::Watermark;
use super::super::unreadable::{self, Unreadable};
use super::super::writer::{
    Expected, FlushError, Flushed, Limits, Prepared, Refusal, Source, Statements, Unfit, UnfitRecord, Way,
    flush,
};
use super::spill::Spill;
use super::{Heard, Home, IDLE, Lane, Next};
use crate::store::Backoff;

/// A lost race is run again this often before it counts as the schema's trouble.
const MOST_RACES: u32 = 5;
/// Why records are held whose lane has no room for them.
const NO_ROOM: &str = "more records wait than the organization has memory for";

/// What waiting for records came to.
enum Collected {
    /// A batch is due.
    Batch,
    /// A batch is due, and it is the last one.
    LastBatch,
    /// Nothing came for a long time, or nothing will.
    Nothing,
    /// Records of this lane are held, and come first.
    FoundHeld,
}

/// What flushing came to.
enum Step {
    /// Committed; the watermark is here now.
    Moved(Watermark),
    /// Something else has to be done first.
    Leave(Next),
}

impl Lane {
    pub(super) async fn live(&mut self, statements: &Statements, mut watermark: Option<Watermark>) -> Next {
        let _counted = self.home.outcomes.count_lane("live");
        self.pass_over_covered(watermark);
        loop {
            let collected = self.collect(watermark).await;
            match collected {
                Collected::Nothing => return Next::End,
                Collected::FoundHeld => return Next::Reopen,
                Collected::Batch | Collected::LastBatch => {}
            }
            // A migration may have come by since the lane opened: whether it is held must not depend on when that was.
            if !has_usable_schema(&self.home.shared, self.home.organization) {
                return Next::Reopen;
            }
            match self.flush_pending(statements, watermark).await {
                Step::Moved(moved) => watermark = Some(moved),
                Step::Leave(next) => return next,
            }
            // A batch ends before a record that is unfit; asked to stop, the lane leaves what comes behind to the next owner.
            let is_done = self.pending.is_empty() || self.home.stop.is_cancelled();
            if matches!(collected, Collected::LastBatch) && is_done {
                return Next::End;
            }
        }
    }

    /// Waits until the pending records make a batch by rows, bytes or age.
    async fn collect(&mut self, watermark: Option<Watermark>) -> Collected {
        let add =
            |(rows, bytes), arrived: &Arrived| (rows + arrived.events, bytes + arrived.record.bytes.len());
        let mut size = self.pending.iter().fold((0, 0), add);
        loop {
            let settings = &self.home.shared.settings;
            if size.0 >= settings.batch_rows || size.1 >= settings.batch_bytes {
                return Collected::Batch;
            }
            let due = self.pending.front().map(|oldest| oldest.at + settings.batch_age);
            match self.hear(due.unwrap_or_else(|| Instant::now() + IDLE)).await {
                Heard::Nothing if due.is_some() => return Collected::LastBatch,
                Heard::Nothing => return Collected::Nothing,
                Heard::FoundHeld => return Collected::FoundHeld,
                Heard::Due if due.is_some() => return Collected::Batch,
                // Closed, the channel still gives what was sent before; the router opens another lane for the rest.
                Heard::Due => self.incoming.close(),
                Heard::Record(arrived) if Watermark::covers(watermark.as_ref(), arrived.record.offset) => {
                    self.home.finish(&arrived);
                }
                Heard::Record(arrived) => {
                    size = add(size, &arrived);
                    self.pending.push_back(arrived);
                }
            }
        }
    }

    /// Stores one batch from the front of `pending`, waiting for as long as the server is away.
    async fn flush_pending(&mut self, statements: &Statements, watermark: Option<Watermark>) -> Step {
        let mut backoff = Backoff::for_server();
        let mut races = 0;
        loop {
            let refused = match self.try_flush(statements, watermark).await {
                Ok(step) => return step,
                Err(refused) => refused,
            };
            match self.home.judge(refused).await {
                Refusal::Schema(reason) | Refusal::Slow(reason) => return Step::Leave(Next::Hold(reason)),
                Refusal::Again(reason) => {
                    races += 1;
                    if races > MOST_RACES {
                        return Step::Leave(Next::Hold(reason));
                    }
                }
                Refusal::Server(reason) => {
                    self.home.shared.condition.server.lost(&reason);
                    if self.home.wait(backoff.next()).await.is_break() {
                        return Step::Leave(Next::End);
                    }
                }
            }
        }
    }

    async fn try_flush(
        &mut self,
        statements: &Statements,
        watermark: Option<Watermark>,
    ) -> Result<Step, Refusal> {
        let started = Instant::now();
        let batch = match self.home.prepare(&self.pending) {
            // `pending` is not empty here; were it, there would be nothing to store.
            Ok(None) => return Ok(Step::Leave(Next::Reopen)),
            Ok(Some(batch)) => batch,
            Err(UnfitRecord { why: Unfit::Undecodable, .. }) => {
                self.write_down_undecodable().await?;
                return Ok(Step::Leave(Next::Reopen));
            }
            Err(unfit @ UnfitRecord { why: Unfit::Foreign { .. }, .. }) => {
                tracing::error!(organization.id = %self.home.organization, partition = self.home.position.partition,
                    "{unfit}; its lane's records are held");
                return Err(Refusal::Schema(unfit.to_string()));
            }
        };
        let (records, rows, next) = (batch.records(), batch.events(), batch.next());
        let home = &self.home;
        let flushing = async {
            let mut client = home.shared.pool.get().await?;
            let expected = Expected::Known(watermark);
            let flushed = flush(&mut client, statements, expected, &batch, Way::AskFirst).await;
            if flushed.is_ok() {
                client.give_back();
            }
            Ok::<_, Refusal>(flushed)
        };
        let mut spill = Spill::default();
        let flushed = tokio::select! {
            flushed = flushing => flushed,
            never = spill.run(home, &self.pending, &mut self.incoming, NO_ROOM) => match never {},
        };
        self.pending.extend(spill.records);
        let step = flushed.and_then(|flushed| self.settle(flushed, records, rows, next, started.elapsed()));
        if spill.has_begun {
            // Whatever came of the flush: what is held now comes before everything new.
            return Ok(Step::Leave(Next::Hold(NO_ROOM.to_owned())));
        }
        step
    }

    /// Draws the consequences of a flush of the first pending records.
    fn settle(
        &mut self,
        flushed: Result<Flushed, FlushError>,
        records: usize,
        rows: usize,
        next: Watermark,
        took: Duration,
    ) -> Result<Step, Refusal> {
        let home = &self.home;
        match flushed {
            Ok(Flushed::Committed(committed)) => {
                home.shared.condition.server.answered();
                home.shared.trips.passed(home.organization);
                home.see(next);
                home.outcomes.flushed(&committed.fates, rows, took);
                home.outcomes.visible(self.pending.iter().take(records));
                self.finish_first(records);
                Ok(Step::Moved(next))
            }
            Ok(Flushed::Stale { .. }) => {
                tracing::info!(organization.id = %home.organization, partition = home.position.partition,
                    "the watermark was moved by another loader; reading it again");
                Ok(Step::Leave(Next::Reopen))
            }
            Ok(Flushed::Held) => Ok(Step::Leave(Next::Reopen)),
            Err(FlushError::Refused(error)) => Err(error.into()),
            Err(FlushError::Commit(error)) => match Refusal::from(error) {
                // Refused by the schema at the commit: it is not stored, and would be refused again.
                Refusal::Schema(reason) | Refusal::Slow(reason) => Ok(Step::Leave(Next::Hold(reason))),
                // Stored or not: the watermark tells.
                Refusal::Server(reason) | Refusal::Again(reason) => {
                    tracing::warn!(organization.id = %home.organization, partition = home.position.partition, reason,
                        "the answer to a commit was lost; the watermark settles it");
                    Ok(Step::Leave(Next::Reopen))
                }
            },
        }
    }

    /// A header that reads and events that do not: nothing intake wrote. It must not stand in the way of the others.
    async fn write_down_undecodable(&mut self) -> Result<(), Refusal> {
        let Some(arrived) = self.pending.front() else { return Ok(()) };
        let unreadable = Unreadable {
            position: self.home.position,
            offset: arrived.record.offset,
            organization: Some(self.home.organization),
            events: i32::try_from(arrived.events).ok(),
            reason: "its events cannot be decoded",
            record: Some(&arrived.record.bytes),
        };
        unreadable::try_write(&self.home.shared, &[unreadable]).await?;
        self.home.outcomes.unreadable();
        if let Some(arrived) = self.pending.pop_front() {
            self.home.finish(&arrived);
        }
        Ok(())
    }
}

impl Home {
    /// Makes a batch of the front of what is pending.
    fn prepare<'a>(&self, pending: &'a VecDeque<Arrived>) -> Result<Option<Prepared<&'a [u8]>>, UnfitRecord> {
        let settings = &self.shared.settings;
        let limits = Limits { rows: settings.batch_rows, bytes: settings.batch_bytes };
        let sources = pending
            .iter()
            .map(|arrived| Source { offset: arrived.record.offset, bytes: arrived.record.bytes.as_slice() });
        Prepared::take(self.organization, self.position, sources, limits)
    }
}
