//! How the loaders stand in the log, as the log itself tells it.

use std::collections::HashMap;

use super::consumer::PartitionEnds;
use super::continuity::{Anchor, Discontinuity, Remembered};
use super::scan::{ScanError, Scanner};
use crate::config::log::LogSettings;

/// How the group stands in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStanding {
    /// Records that the group has not committed yet.
    pub lag_records: u64,
    /// Why it must not be read on; `None`: it may.
    pub stopped: Option<Discontinuity>,
}

/// How the group stands in each partition, in their order. `anchors` are the highest places that any schema was loaded
/// up to, by partition.
///
/// # Errors
/// Kafka does not answer, or there is no such topic.
pub async fn standings(
    settings: &LogSettings,
    group: &str,
    generation: i32,
    anchors: HashMap<i32, Anchor>,
) -> Result<Vec<PartitionStanding>, ScanError> {
    Scanner::ask(settings, group, move |scanner| stand(scanner, generation, &anchors)).await
}

fn stand(
    scanner: &Scanner,
    generation: i32,
    anchors: &HashMap<i32, Anchor>,
) -> Result<Vec<PartitionStanding>, ScanError> {
    let mut ends = scanner.ends()?;
    ends.sort_unstable_by_key(|(partition, _)| *partition);
    let partitions: Vec<i32> = ends.iter().map(|(partition, _)| *partition).collect();
    let committed = scanner.committed(&partitions)?;
    let next_offset = |partition| committed.get(&partition).and_then(|one| one.in_generation(generation));
    let remembered: Vec<Remembered> = partitions
        .iter()
        .map(|partition| Remembered {
            partition: *partition,
            next_offset: next_offset(*partition),
            anchor: anchors.get(partition).copied(),
        })
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
        let next =
            next_records.get(&partition).copied().or_else(|| next_offset(partition)).unwrap_or(ends.start);
        PartitionStanding {
            lag_records: (ends.end - next).max(0).unsigned_abs(),
            stopped: discontinuities.get(&partition).copied(),
        }
    };
    Ok(ends.into_iter().map(standing).collect())
}
