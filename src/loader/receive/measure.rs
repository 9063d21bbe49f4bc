//! How the loader is doing, for metrics and health.

use std::time::Instant;

use metrics::gauge;

use super::super::partition::Partition;
use super::ReceiveLoop;
use crate::event::UnixMillis;
use crate::ops::metrics::catalogue::{
    DB_CONNECTIONS, LOADER_LAG_RECORDS, LOADER_LAG_SECONDS, LOADER_LANES, LOADER_PARTITIONS,
};

/// When a partition's low-water mark last moved, or had no reason to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    low_water: Option<i64>,
    at: Instant,
}

impl Moving {
    pub(super) fn new() -> Self {
        Self { low_water: None, at: Instant::now() }
    }
}

impl ReceiveLoop<'_> {
    pub(super) fn tell_condition(&self) {
        self.shared.condition.set_joined(self.consumer.is_member());
        let running = self.dispatcher.partitions().count();
        gauge!(LOADER_PARTITIONS, "state" => "running").set(count(running));
        gauge!(LOADER_PARTITIONS, "state" => "stopped").set(count(self.stopped.len()));
    }

    /// How far behind the log each partition is, and whether it moves.
    pub(super) fn measure(&mut self) {
        self.tell_condition();
        let ends = self.consumer.ends();
        // What waits for Postgres or for the log does not stand still.
        let is_waiting = self.shared.condition.is_waiting(&self.shared.directory);
        let (mut moved_at, mut at_rest) = (Instant::now(), Vec::new());
        for (number, moving) in &mut self.moving {
            let Some(ends) = ends.get(number) else { continue };
            let partition = self.dispatcher.partition(*number);
            let low_water = partition.map(Partition::low_water);
            let stopped = self.stopped.get(number);
            let is_another_log = stopped.is_some_and(|stopped| stopped.is_another_log);
            let anchor = self.anchoring.next_offset(*number).filter(|_| !is_another_log);
            let safe = low_water.or(anchor).unwrap_or(ends.start);
            let records = (ends.end - safe).max(0);
            // What a partition that is not read has unread is as old as that, at least.
            let unread_since = stopped.map(|stopped| stopped.since).filter(|_| records > 0);
            let seconds = partition.and_then(Partition::oldest_received_at).map_or_else(
                || unread_since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
                seconds_since,
            );
            report_lag(*number, records, seconds);
            if let Some(partition) = partition.filter(|partition| records > 0 && partition.is_at_rest())
                && moving.low_water == Some(partition.next_offset())
            {
                at_rest.push((*number, partition.next_offset()));
            }
            let is_idle = records == 0 || is_waiting || partition.is_none();
            if is_idle || low_water != moving.low_water {
                *moving = Moving { low_water, at: Instant::now() };
            }
            moved_at = moved_at.min(moving.at);
        }
        self.heartbeats.moves.beat_as_of(moved_at);
        self.look_for_gaps(at_rest);
        self.report_lanes();
        let connections = self.shared.pool.state();
        gauge!(DB_CONNECTIONS, "state" => "idle").set(f64::from(connections.idle));
        gauge!(DB_CONNECTIONS, "state" => "busy").set(f64::from(connections.open - connections.idle));
    }

    fn report_lanes(&self) {
        let lanes = self.dispatcher.partitions().flat_map(|(_, partition)| partition.lanes());
        let (mut live, mut held) = (0, 0);
        for (_, lane) in lanes {
            match lane.is_held() {
                Some(true) => held += 1,
                Some(false) => live += 1,
                None => {}
            }
        }
        gauge!(LOADER_LANES, "state" => "live").set(count(live));
        gauge!(LOADER_LANES, "state" => "held").set(count(held));
    }
}

/// The partition is the next owner's from now on, who would be contradicted by what was measured last.
pub(super) fn forget(partition: i32) {
    report_lag(partition, 0, 0.0);
}

fn report_lag(partition: i32, records: i64, seconds: f64) {
    let label = partition.to_string();
    gauge!(LOADER_LAG_RECORDS, "partition" => label.clone()).set(records as f64);
    gauge!(LOADER_LAG_SECONDS, "partition" => label).set(seconds);
}

fn seconds_since(at: UnixMillis) -> f64 {
    let age_ms = UnixMillis::now().0.saturating_sub(at.0).max(0);
    std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64()
}

fn count(items: usize) -> f64 {
    f64::from(u32::try_from(items).unwrap_or(u32::MAX))
}
