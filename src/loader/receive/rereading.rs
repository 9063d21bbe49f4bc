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
    /// The log does not have the first of them any more, or cannot read it.
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
        let mut seen = Seen::from(stretch.from);
        let read = scanner.read_some(part, |offset, bytes| {
            seen.record(offset);
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
        });
        let to = match read {
            Ok(to) => to,
            // What stands before the damage is as good as ever. The look stops the partition there, once it is loaded.
            Err(ScanError::Damaged { offset, .. }) if offset > stretch.from => offset,
            Err(ScanError::Damaged { .. }) => return Ok(Reread::Gone { partition: stretch.partition }),
            Err(error) => return Err(error),
        };
        let ends = scanner.ends_of(stretch.partition)?;
        // It may have been quicker than we were while we read, too.
        if seen.may_lack(to, ends.start) {
            return Ok(Reread::Gone { partition: stretch.partition });
        }
        // A broker that leads the partition since just now may not have all of it yet, and calls what it has the end.
        if to >= stretch.records_end && seen.next < stretch.records_end {
            return Err(ScanError::Short { partition: stretch.partition, next_offset: seen.next });
        }
        Ok(Reread::Brought(Brought { stretch, records, to }))
    }
}

/// Which offsets of a stretch were no records to its reader. Most are marks of the log's own; but a reader that finds a record
/// gone goes on at the log's new start, and says nothing.
#[derive(Debug)]
struct Seen {
    next: i64,
    first_gap: Option<i64>,
}

impl Seen {
    fn from(offset: i64) -> Self {
        Self { next: offset, first_gap: None }
    }

    fn record(&mut self, offset: i64) {
        if offset > self.next {
            self.first_gap.get_or_insert(self.next);
        }
        self.next = offset + 1;
    }

    /// Whether records up to `to` may be missing, if the log starts here by now.
    fn may_lack(&self, to: i64, start: i64) -> bool {
        let first_gap = self.first_gap.or((self.next < to).then_some(self.next));
        first_gap.is_some_and(|gap| gap < start)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offsets: impl IntoIterator<Item = i64>) -> Seen {
        let mut seen = Seen::from(10);
        offsets.into_iter().for_each(|offset| seen.record(offset));
        seen
    }

    #[test]
    fn what_retention_took_while_it_was_read_is_missed() {
        assert!(seen([14, 15]).may_lack(16, 14), "from the beginning on");
        assert!(seen([10, 11, 14, 15]).may_lack(16, 14), "in the middle");
        assert!(seen([]).may_lack(16, 20) && seen([10, 11]).may_lack(16, 20), "up to the end");
    }

    #[test]
    fn what_was_read_before_retention_took_it_and_what_never_was_a_record_is_not_missed() {
        assert!(!seen(10..16).may_lack(16, 20), "all of it was read");
        assert!(!seen([10, 11, 14, 15]).may_lack(16, 10), "marks of the log's own");
        assert!(!seen([10, 11, 14, 15]).may_lack(18, 12), "which are above what was taken");
        assert!(!seen([10, 11]).may_lack(12, 20), "it was to be read no further");
    }
}
