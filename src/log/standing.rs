//! How far the loaders are behind the log.

use super::PartitionEnds;
use super::continuity::{Discontinuity, Remembered};
use super::scan::{Readable, ScanError, Scanner};

/// How the loaders stand in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStanding {
    /// Records that are not safe yet.
    pub lag_records: u64,
    /// Why it must not be read on; `None`: it may.
    pub stopped: Option<Discontinuity>,
}

/// How the loaders stand in each partition, in their order, by what is remembered of those that were ever loaded.
///
/// # Errors
/// The log does not answer, or is not there.
pub async fn standings(
    log: &Readable,
    remembered: Vec<Remembered>,
) -> Result<Vec<PartitionStanding>, ScanError> {
    log.ask(move |scanner| stand(scanner, &remembered)).await
}

fn stand(scanner: &Scanner, remembered: &[Remembered]) -> Result<Vec<PartitionStanding>, ScanError> {
    let mut ends = scanner.ends()?;
    ends.sort_unstable_by_key(|(partition, _)| *partition);
    let next_offset = |partition| remembered.iter().find(|one| one.partition == partition)?.next_offset;
    let remembered: Vec<Remembered> = remembered
        .iter()
        .filter(|one| ends.iter().any(|(partition, _)| *partition == one.partition))
        .copied()
        .collect();
    let discontinuities = scanner.verify(&remembered)?;
    // Offsets before the next record are not behind: a loader has nothing to do for them.
    let behind: Vec<(i32, i64)> = ends
        .iter()
        .map(|(partition, ends)| (*partition, next_offset(*partition).unwrap_or(ends.start), ends.end))
        .filter(|(partition, next, end)| next < end && !discontinuities.contains_key(partition))
        .map(|(partition, next, _)| (partition, next))
        .collect();
    let next_records = scanner.next_records(&behind)?;
    let standing = |(partition, ends): (i32, PartitionEnds)| {
        // Of another log nothing was loaded.
        let is_this_log = !discontinuities.get(&partition).is_some_and(|found| found.is_another_log());
        let remembered = next_offset(partition).filter(|_| is_this_log);
        let next = next_records.get(&partition).copied().or(remembered).unwrap_or(ends.start);
        PartitionStanding {
            lag_records: (ends.end - next).max(0).unsigned_abs(),
            stopped: discontinuities.get(&partition).copied(),
        }
    };
    Ok(ends.into_iter().map(standing).collect())
}
