//! A lane whose schema takes records.

use std::time::{Duration, Instant};

use super::super::arrived::Arrived;
use super::super::backoff::Backoff;
use super::super::flush::{FlushError, Flushed, SealedBatch, flush};
use super::super::position::Watermark;
use super::super::record_rows::rows_of;
use super::super::refusal::Refusal;
use super::super::statements::Statements;
use super::super::unreadable::{self, Unreadable};
use super::{Lane, Next, finish};
use crate::log::record::RecordView;

/// A lost race is run again this often before it counts as the schema's trouble.
const MOST_RACES: u32 = 5;
/// A lane that hears nothing for so long ends; the next record opens it anew.
const IDLE: Duration = Duration::from_secs(60);

/// What waiting for records came to.
enum Collected {
    /// A batch is due.
    Batch,
    /// A batch is due, and it is the last one.
    LastBatch,
    /// Nothing came for a long time, or nothing will.
    Nothing,
}

/// What flushing came to.
enum Step {
    /// Committed; the watermark is here now.
    Moved(Watermark),
    /// Something else has to be done first.
    Leave(Next),
}

/// A batch, and how many of the pending records are in it.
struct Cut<'a> {
    records: usize,
    rows: usize,
    batch: SealedBatch<'a>,
}

/// The pending record at this place does not decode.
struct Undecodable {
    at: usize,
}

impl Lane {
    pub(super) async fn live(&mut self, statements: &Statements, mut watermark: Option<Watermark>) -> Next {
        let _counted = self.outcomes.count_lane("live");
        self.pass_over_covered(watermark);
        loop {
            let collected = self.collect(watermark).await;
            if matches!(collected, Collected::Nothing) {
                return Next::End;
            }
            match self.flush_pending(statements, watermark).await {
                Step::Moved(moved) => {
                    self.see(moved);
                    watermark = Some(moved);
                }
                Step::Leave(next) => return next,
            }
            if matches!(collected, Collected::LastBatch) {
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
            let settings = &self.shared.settings;
            if size.0 >= settings.batch_rows || size.1 >= settings.batch_bytes {
                return Collected::Batch;
            }
            let due = self.pending.front().map(|oldest| oldest.at + settings.batch_age);
            let wait_until = due.unwrap_or_else(|| Instant::now() + IDLE);
            let last = if due.is_some() { Collected::LastBatch } else { Collected::Nothing };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return last,
                arrived = self.incoming.recv() => match arrived {
                    None => return last,
                    Some(arrived) if Watermark::covers(watermark.as_ref(), arrived.record.offset) => {
                        finish(&self.progress, arrived.record.offset);
                    }
                    Some(arrived) => {
                        size = add(size, &arrived);
                        self.pending.push_back(arrived);
                    }
                },
                () = tokio::time::sleep_until(wait_until.into()) => {
                    if due.is_some() {
                        return Collected::Batch;
                    }
                    // Closed, the channel still gives what was sent before; the router opens another lane for the rest.
                    self.incoming.close();
                }
            }
        }
    }

    /// Stores one batch from the front of `pending`, waiting for as long as the server is away.
    async fn flush_pending(&mut self, statements: &Statements, watermark: Option<Watermark>) -> Step {
        let mut backoff = Backoff::for_server();
        let mut races = 0;
        loop {
            match self.try_flush(statements, watermark).await {
                Ok(step) => return step,
                Err(Refusal::Schema(reason)) => return Step::Leave(Next::Hold(reason)),
                Err(Refusal::Again(reason)) => {
                    races += 1;
                    if races > MOST_RACES {
                        return Step::Leave(Next::Hold(reason));
                    }
                }
                Err(Refusal::Server(reason)) => {
                    self.shared.condition.server.lost(&reason);
                    if self.wait(backoff.next()).await.is_break() {
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
        let cut = match self.cut() {
            Ok(cut) => cut,
            Err(Undecodable { at }) => {
                self.write_down_undecodable(at).await?;
                return Ok(Step::Leave(Next::Reopen));
            }
        };
        let (records, rows, next) = (cut.records, cut.rows, cut.batch.next);
        let mut client = self.shared.pool.get().await?;
        let flushed = flush(&mut client, statements, watermark, cut.batch).await;
        drop(client);
        match flushed {
            Ok(Flushed::Committed(fates)) => {
                self.shared.condition.server.answered();
                self.outcomes.flushed(&fates, rows, started.elapsed());
                self.outcomes.visible(self.pending.iter().take(records));
                self.finish_first(records);
                Ok(Step::Moved(next))
            }
            Ok(Flushed::Stale) => {
                tracing::info!(organization.id = %self.organization, partition = self.position.partition,
                    "the watermark was moved by another loader; reading it again");
                Ok(Step::Leave(Next::Reopen))
            }
            Err(FlushError::Refused(error)) => Err(error.into()),
            Err(FlushError::Commit(error)) => match Refusal::from(error) {
                // Refused by the schema at the commit: it is not stored, and would be refused again.
                Refusal::Schema(reason) => Ok(Step::Leave(Next::Hold(reason))),
                // Stored or not: the watermark tells.
                Refusal::Server(reason) | Refusal::Again(reason) => {
                    tracing::warn!(organization.id = %self.organization, partition = self.position.partition, reason,
                        "the answer to a commit was lost; the watermark settles it");
                    Ok(Step::Leave(Next::Reopen))
                }
            },
        }
    }

    /// Cuts a batch from the front of `pending`, within the limits but for the last record of it.
    fn cut(&self) -> Result<Cut<'_>, Undecodable> {
        let settings = &self.shared.settings;
        let (mut rows, mut bytes, mut records, mut next) = (Vec::new(), 0, 0, None);
        for (at, arrived) in self.pending.iter().enumerate() {
            if rows.len() >= settings.batch_rows || bytes >= settings.batch_bytes {
                break;
            }
            let record = &arrived.record;
            let view = RecordView::parse(&record.bytes).map_err(|_| Undecodable { at })?;
            rows_of(&view, record.offset, &mut rows).map_err(|_| Undecodable { at })?;
            bytes += record.bytes.len();
            records += 1;
            next = Some(Watermark::after(record.offset, view.record_id));
        }
        // `pending` is not empty here; were it, the batch would be too, and this record's place is as good as any.
        let next = next.ok_or(Undecodable { at: 0 })?;
        let (organization, position) = (self.organization, self.position);
        Ok(Cut { records, rows: rows.len(), batch: SealedBatch { organization, position, rows, next } })
    }

    /// A header that reads and events that do not: nothing intake wrote. It must not stand in the way of the others.
    async fn write_down_undecodable(&mut self, at: usize) -> Result<(), Refusal> {
        let Some(arrived) = self.pending.get(at) else { return Ok(()) };
        let unreadable = Unreadable {
            position: self.position,
            offset: arrived.record.offset,
            organization: Some(self.organization),
            events: i32::try_from(arrived.events).ok(),
            reason: "its events cannot be decoded",
            record: Some(&arrived.record.bytes),
        };
        unreadable::try_write(&self.shared, &unreadable).await?;
        self.outcomes.unreadable();
        if let Some(arrived) = self.pending.remove(at) {
            finish(&self.progress, arrived.record.offset);
        }
        Ok(())
    }
}
