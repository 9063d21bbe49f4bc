//! Whether the log is still the one that was loaded.
//!
//! Offsets mean something only within one life of a log, and one that was deleted and made anew shows it neither
//! to a consumer nor in its offsets. So whoever loaded a record remembers its id and offset, and looks here whether it
//! still stands there.

use std::collections::HashMap;

use uuid::Uuid;

use super::PartitionEnds;
use super::scan::{ScanError, Scanner, Stretch};
use crate::log::record::RecordView;

/// A place up to which a partition was loaded, and the record just below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The next offset after the record.
    pub next_offset: i64,
    /// The record's own id.
    pub record_id: Uuid,
}

/// What is remembered of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The partition.
    pub partition: i32,
    /// From here on it is still to be read; `None`: from the first record that it has.
    pub next_offset: Option<i64>,
    /// The highest place that was loaded; `None`: nothing was.
    pub anchor: Option<Anchor>,
}

/// Why a partition must not be read on. Each wants a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discontinuity {
    /// What was loaded is not there any more.
    #[error(
        "the log ends at offset {end}, below {next_offset}, up to which it was loaded: this is another log, or it lost \
         records; if it is a new one, `rollbook setup --new-generation` says so"
    )]
    EndsBelow {
        /// Its end.
        end: i64,
        /// Up to where it was loaded or read.
        next_offset: i64,
    },
    /// Another record stands where one was loaded.
    #[error(
        "the record at offset {offset} is not the one that was loaded from there: this is another log; if it is a new \
         one, `rollbook setup --new-generation` says so"
    )]
    AnotherRecord {
        /// Where.
        offset: i64,
    },
    /// The next record cannot be read any more, nor can what is missing be made up.
    #[error(
        "the log is damaged at offset {offset}: what was written there cannot be read; bring its files back from a copy, or \
         stop and give up what is damaged with `rollbook setup --new-generation`, which reads on behind it"
    )]
    Damaged {
        /// Where.
        offset: i64,
    },
    /// Retention was faster than loading.
    #[error(
        "the log starts at offset {start}, and records from {next_offset} on were not loaded: its retention took them; \
         `rollbook setup --new-generation` goes on with what is left"
    )]
    RecordsGone {
        /// Its first offset.
        start: i64,
        /// The first one that was not loaded.
        next_offset: i64,
    },
}

impl Discontinuity {
    /// Whether what was loaded is not of this log, as far as is known, so that nothing that it holds counts as loaded.
    #[must_use]
    pub fn is_another_log(self) -> bool {
        match self {
            Self::EndsBelow { .. } | Self::AnotherRecord { .. } => true,
            Self::Damaged { .. } | Self::RecordsGone { .. } => false,
        }
    }
}

impl Scanner {
    /// Looks whether each partition is still the one that is remembered, and gives those that are not.
    ///
    /// What is remembered has to be older than this call: ends only grow.
    ///
    /// # Errors
    /// The log does not answer, or does not have the partition.
    pub fn verify(&self, remembered: &[Remembered]) -> Result<HashMap<i32, Discontinuity>, ScanError> {
        let mut found = HashMap::new();
        let mut anchors = HashMap::new();
        for one in remembered {
            let ends = self.ends_of(one.partition)?;
            let next_offset = one.next_offset.unwrap_or(ends.start);
            if let Some(discontinuity) = one.compare(ends) {
                found.insert(one.partition, discontinuity);
            } else if self.damage_at(one.partition, next_offset)? {
                found.insert(one.partition, Discontinuity::Damaged { offset: next_offset });
            } else if let Some(anchor) = one.anchor.filter(|anchor| anchor.next_offset > ends.start)
                // It was loaded while it could be read.
                && !self.damage_at(one.partition, anchor.next_offset - 1)?
            {
                anchors.insert(one.partition, anchor);
            }
        }
        let stretches: Vec<Stretch> = anchors
            .iter()
            .map(|(partition, anchor)| Stretch {
                partition: *partition,
                from: anchor.next_offset - 1,
                to: anchor.next_offset,
            })
            .collect();
        let mut ids = HashMap::new();
        self.read(&stretches, |partition, offset, bytes| {
            ids.insert((partition, offset), RecordView::parse(bytes).ok().map(|record| record.record_id));
        })?;
        for (partition, anchor) in anchors {
            let offset = anchor.next_offset - 1;
            if ids.get(&(partition, offset)) != Some(&Some(anchor.record_id)) {
                found.insert(partition, Discontinuity::AnotherRecord { offset });
            }
        }
        Ok(found)
    }
}

impl Remembered {
    /// What the ends alone tell.
    fn compare(&self, ends: PartitionEnds) -> Option<Discontinuity> {
        let loaded_up_to = self.anchor.map(|anchor| anchor.next_offset);
        let reached = self.next_offset.max(loaded_up_to);
        let has_gap_from = self.next_offset.or(loaded_up_to);
        if let Some(next_offset) = reached.filter(|next_offset| *next_offset > ends.end) {
            return Some(Discontinuity::EndsBelow { end: ends.end, next_offset });
        }
        let next_offset = has_gap_from.filter(|next_offset| *next_offset < ends.start)?;
        Some(Discontinuity::RecordsGone { start: ends.start, next_offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(next_offset: Option<i64>, loaded_up_to: Option<i64>) -> Option<Discontinuity> {
        let anchor = loaded_up_to.map(|next_offset| Anchor { next_offset, record_id: Uuid::nil() });
        Remembered { partition: 0, next_offset, anchor }.compare(PartitionEnds { start: 10, end: 20 })
    }

    #[test]
    fn a_log_that_holds_all_that_is_remembered_is_the_same() {
        for (next_offset, loaded_up_to) in [
            (None, None),
            (Some(10), None),
            (Some(20), Some(20)),
            (None, Some(10)),
            // The organizations of the last records were removed, or are held: no watermark moved.
            (Some(15), Some(3)),
        ] {
            assert_eq!(compare(next_offset, loaded_up_to), None, "{next_offset:?} {loaded_up_to:?}");
        }
    }

    #[test]
    fn an_end_below_what_was_reached_is_another_log() {
        for (next_offset, loaded_up_to) in [(Some(21), None), (Some(12), Some(21)), (None, Some(21))] {
            let found = compare(next_offset, loaded_up_to);
            assert_eq!(found, Some(Discontinuity::EndsBelow { end: 20, next_offset: 21 }));
        }
    }

    #[test]
    fn a_start_above_what_was_loaded_is_a_gap() {
        for (next_offset, loaded_up_to) in [(Some(9), None), (Some(9), Some(15)), (None, Some(9))] {
            let found = compare(next_offset, loaded_up_to);
            assert_eq!(found, Some(Discontinuity::RecordsGone { start: 10, next_offset: 9 }));
        }
    }
}
