//! Reads stretches of the log again, beside the consumer, for lanes that had no room.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::dispatcher::{Brought, Stretch};
use super::super::lane::Waiting;
use super::super::partition::LaneKey;
use crate::log::record::RecordView;
use crate::log::{Go, Readable, ScanError, Scanner};
use crate::ops::Complaints;

/// So much of the log is looked through at a time: what is wanted of it may be little.
const MOST_SCANNED_BYTES: usize = 32 * 1024 * 1024;

/// How often it is said that the log does not answer: it is asked several times a second for as long as it is away.
const REPEAT: Duration = Duration::from_secs(10);

/// What reading again came to.
#[derive(Debug)]
pub(super) enum Reread {
    /// The records.
    Brought(Brought),
    /// The log did not answer: to be asked again.
    NotNow {
        /// Which partition.
        partition: i32,
    },
    /// The log does not have the first of them any more.
    Gone {
        /// Which partition.
        partition: i32,
    },
}

/// See the module. Its client is made when it is first needed.
#[derive(Clone)]
pub(super) struct Rereader {
    log: Readable,
    scanner: Arc<Mutex<Option<Scanner>>>,
    complaints: Arc<Complaints>,
}

impl Rereader {
    pub(super) fn new(log: Readable) -> Self {
        Self { log, scanner: Arc::default(), complaints: Arc::new(Complaints::once_in(REPEAT)) }
    }

    /// Reads a stretch again, or the first part of it.
    pub(super) async fn read(self, stretch: Stretch) -> Reread {
        let partition = stretch.partition;
        let complaints = Arc::clone(&self.complaints);
        let reading = tokio::task::spawn_blocking(move || self.read_blocking(stretch));
        match reading.await {
            Ok(Ok(reread)) => reread,
            Ok(Err(error)) => {
                if let Some(unwritten) = complaints.hear("not read again", Instant::now()) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        partition,
                        error,
                        unwritten,
                        "a part of the log could not be read again; trying on"
                    );
                }
                Reread::NotNow { partition }
            }
            Err(_) => Reread::NotNow { partition },
        }
    }

    fn read_blocking(&self, stretch: Stretch) -> Result<Reread, ScanError> {
        let mut scanner = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
        let scanner = match &mut *scanner {
            Some(scanner) => scanner,
            none => none.insert(self.log.scanner()?),
        };
        // Retention may have been quicker; the reader itself would go on with what is left.
        if scanner.ends_of(stretch.partition)?.start > stretch.from {
            return Ok(Reread::Gone { partition: stretch.partition });
        }
        let (mut records, mut wanted_bytes, mut scanned_bytes) = (Vec::new(), 0, 0);
        let part = crate::log::Stretch { partition: stretch.partition, from: stretch.from, to: stretch.to };
        let to = scanner.read_some(part, |offset, bytes| {
            let (key, record) = waiting(offset, Bytes::copy_from_slice(bytes));
            scanned_bytes += bytes.len();
            if stretch.wanted.get(&key).is_some_and(|from| offset >= *from) {
                wanted_bytes += record.cost();
                records.push((key, record));
            }
            match wanted_bytes >= stretch.most_bytes || scanned_bytes >= MOST_SCANNED_BYTES {
                true => Go::NoFurther,
                false => Go::On,
            }
        })?;
        Ok(Reread::Brought(Brought { stretch, records, to }))
    }
}

/// A record as its lane takes it.
pub(in crate::loader) fn waiting(offset: i64, bytes: Bytes) -> (LaneKey, Waiting) {
    match RecordView::parse(&bytes) {
        Ok(view) => {
            let key = LaneKey::Organization(view.organization_id);
            let (record_id, events, received_at) = (view.record_id, view.event_count, view.received_at);
            (key, Waiting { offset, record_id, events, received_at, bytes })
        }
        Err(_) => (LaneKey::Undecodable, Waiting::undecodable(offset, bytes)),
    }
}
