//! Records of one partition that cannot be decoded: nobody's, so that no lane has them. They are written down beside the
//! lanes, in order and many at a time, by one task: however many somebody puts into the log, they take one connection, and
//! the lanes never wait behind them for theirs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::outcome;
use super::position::Position;
use super::progress::Progress;
use super::unreadable::{self, MOST_RECORDS, Unreadable};
use crate::log::LogRecord;

/// See the module.
pub(super) struct Undecodable {
    pub(super) shared: Arc<Shared>,
    pub(super) position: Position,
    pub(super) progress: Arc<Mutex<Progress>>,
    /// Set when the partition is taken away or the process ends: one last statement, and out.
    pub(super) stop: CancellationToken,
    pub(super) incoming: UnboundedReceiver<LogRecord>,
}

impl Undecodable {
    /// Lives until stopped, or no longer sent to.
    pub(super) async fn run(mut self) {
        loop {
            let first = tokio::select! {
                biased;
                first = self.incoming.recv() => first,
                () = self.stop.cancelled() => None,
            };
            let Some(first) = first else { return };
            let records = self.with_what_came_meanwhile(first);
            let unreadable: Vec<_> = records.iter().map(|record| self.unreadable(record)).collect();
            if unreadable::write_until_done(&self.shared, &unreadable, &self.stop).await.is_break() {
                return;
            }
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            for record in &records {
                outcome::unreadable();
                progress.finish(record.offset);
            }
            drop(progress);
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    /// As much as one statement should take.
    fn with_what_came_meanwhile(&mut self, first: LogRecord) -> Vec<LogRecord> {
        let mut bytes = first.bytes.len();
        let mut records = vec![first];
        while records.len() < MOST_RECORDS
            && bytes < self.shared.settings.hold_bytes()
            && let Ok(more) = self.incoming.try_recv()
        {
            bytes += more.bytes.len();
            records.push(more);
        }
        records
    }

    fn unreadable<'a>(&self, record: &'a LogRecord) -> Unreadable<'a> {
        Unreadable {
            position: self.position,
            offset: record.offset,
            organization: None,
            events: None,
            reason: "it cannot be decoded",
            record: Some(&record.bytes),
        }
    }
}
