//! Partitions come and go: they begin at their anchors, are stopped where the log is not what was loaded, and are given up
//! once they have written what they had.

use std::time::{Duration, Instant};

use super::super::continuity::Beginning;
use super::super::partition::Partition;
use super::super::position::Position;
use super::measure::{self, Moving};
use super::{Ended, ReceiveLoop, Stopped};
use crate::log::{Assignment, Discontinuity, Revocation, Start};

/// How long giving partitions up waits for transactions in flight when the loader stops. Each statement is bounded to ten
/// seconds. Less than the consumer waits for us.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The same when they go to another loader: the partitions that stay are not read meanwhile.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

impl ReceiveLoop<'_> {
    pub(super) fn begin(&mut self, assignment: &Assignment, beginnings: &[Beginning]) {
        // Another log has nothing below the anchor that was loaded: it may forget none of it.
        let is_of_this_log = |one: &Beginning| !one.discontinuity.is_some_and(Discontinuity::is_another_log);
        let start = |one: &Beginning| Start {
            partition: one.partition,
            next_offset: one.anchor.filter(|_| is_of_this_log(one)).map(|anchor| anchor.next_offset),
        };
        self.consumer.start_at(assignment, &beginnings.iter().map(start).collect::<Vec<_>>());
        for one in beginnings {
            self.shared.condition.forget(one.partition);
            self.stopped.remove(&one.partition);
            self.damaged.remove(&one.partition);
            self.moving.insert(one.partition, Moving::new());
            self.anchoring.begin(one.partition, one.anchor);
            match &one.discontinuity {
                Some(discontinuity) => self.stop(one.partition, discontinuity),
                None => {
                    let position = Position { generation: self.shared.generation, partition: one.partition };
                    self.dispatcher.begin(position, one.anchor, one.first);
                    self.anchoring.remind(&mut self.dispatcher, one.partition);
                }
            }
        }
        let (assigned, all) = (beginnings.len(), self.dispatcher.partitions().count());
        tracing::info!(assigned, all, "partitions were assigned");
        self.look_for_held();
        self.tell_condition();
    }

    /// A partition is not the log that was loaded, or a part of it is missing: it is not read any more.
    pub(super) fn stop(&mut self, partition: i32, discontinuity: &Discontinuity) {
        tracing::error!(partition, reason = %discontinuity, "a partition is stopped");
        self.dispatcher.end(partition);
        let stopped = Stopped { since: Instant::now(), is_another_log: discontinuity.is_another_log() };
        self.stopped.insert(partition, stopped);
        self.consumer.stop_reading(partition);
        self.shared.condition.stopped(partition, discontinuity.to_string());
        self.tell_condition();
    }

    /// What stands before the damage is as good as ever: it is written, and its anchor too, as far as it has a place.
    pub(super) fn stop_at_damage(&mut self) {
        if self.anchoring.is_writing() {
            return;
        }
        let damaged: Vec<(i32, i64)> =
            self.damaged.iter().map(|(partition, offset)| (*partition, *offset)).collect();
        for (partition, offset) in damaged {
            let is_loaded =
                self.dispatcher.partition(partition).is_none_or(|read| read.low_water() >= offset);
            if is_loaded && self.anchoring.moves(&mut self.dispatcher, Some(&[partition])).is_empty() {
                self.damaged.remove(&partition);
                self.stop(partition, &Discontinuity::Damaged { offset });
            }
        }
    }

    pub(super) fn revoked(&mut self, revocation: Revocation) {
        for partition in &revocation.partitions {
            if let Some(partition) = self.dispatcher.partition_mut(*partition) {
                partition.begin_close();
            }
        }
        let grace = if self.ending.is_some() { STOP_GRACE } else { CLOSE_GRACE };
        self.closing.add(revocation, Instant::now() + grace);
    }

    /// Gives partitions back that have written what they had, or may not be waited for any longer.
    pub(super) fn release_what_is_closed(&mut self) {
        let (dispatcher, is_lost) = (&self.dispatcher, self.ending == Some(Ended::Rewound));
        let is_closed =
            |partition: &i32| dispatcher.partition(*partition).is_none_or(Partition::has_written_all);
        if self.anchoring.is_writing() {
            return;
        }
        let Some(revocation) =
            self.closing.next_closed(Instant::now(), |partition| is_lost || is_closed(partition))
        else {
            return;
        };
        let moves = match is_lost {
            true => Vec::new(),
            false => self.anchoring.moves(&mut self.dispatcher, Some(&revocation.partitions)),
        };
        for partition in &revocation.partitions {
            self.anchoring.keep_in_mind(&self.dispatcher, *partition);
            self.dispatcher.end(*partition);
            self.stopped.remove(partition);
            self.damaged.remove(partition);
            self.moving.remove(partition);
            self.shared.condition.forget(*partition);
            measure::forget(*partition);
        }
        let (revoked, kept) = (revocation.partitions.len(), self.dispatcher.partitions().count());
        tracing::info!(revoked, kept, "partitions are given up");
        self.write_anchors(moves, Some(revocation));
        self.tell_condition();
    }
}
