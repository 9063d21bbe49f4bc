//! How far the loaders are behind the log, as the log itself tells it.

use rdkafka::error::KafkaError;

use super::consumer::PartitionEnds;
use super::scan::{ScanError, Scanner};
use crate::config::log::LogSettings;

/// Records of each partition that the group has not committed yet, in the order of the partitions.
///
/// # Errors
/// Kafka does not answer, or there is no such topic.
pub async fn lag_by_partition(settings: &LogSettings, group: &str) -> Result<Vec<u64>, ScanError> {
    let (settings, group) = (settings.clone(), group.to_owned());
    let asking = tokio::task::spawn_blocking(move || ask(&settings, &group));
    asking.await.unwrap_or(Err(KafkaError::Canceled.into()))
}

fn ask(settings: &LogSettings, group: &str) -> Result<Vec<u64>, ScanError> {
    let scanner = Scanner::new(settings, group)?;
    let mut ends = scanner.ends()?;
    ends.sort_unstable_by_key(|(partition, _)| *partition);
    let partitions: Vec<i32> = ends.iter().map(|(partition, _)| *partition).collect();
    let committed = scanner.committed(&partitions)?;
    let lag = |(partition, ends): &(i32, PartitionEnds)| {
        let next = committed.get(partition).copied().unwrap_or(ends.start);
        (ends.end - next).max(0).unsigned_abs()
    };
    Ok(ends.iter().map(lag).collect())
}
