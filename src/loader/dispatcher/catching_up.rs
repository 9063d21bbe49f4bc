//! Lanes that had no room, and take from the log again what they left there.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::super::lane::{Room, Rule, Waiting, keeps};
use super::super::partition::LaneKey;
use super::super::schedule::LaneId;
use super::{Dispatcher, lane_bytes, memory_of, room};

/// How long a partition is let alone of which the log could not bring a stretch; doubled each time, so that one that does not
/// answer takes little of the others' time.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(200);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A partition of which the log could not bring a stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable {
    /// Until then it is let alone; `None`: no longer.
    pub(super) until: Option<Instant>,
    pause: Duration,
}

/// A part of a partition that is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::loader) struct Stretch {
    /// Of which partition.
    pub(in crate::loader) partition: i32,
    reading: u64,
    /// The first offset to read.
    pub(in crate::loader) from: i64,
    /// The first offset not to read.
    pub(in crate::loader) to: i64,
    /// Right behind the last record that the log brought before: that one it brings again, or it has not been read.
    pub(in crate::loader) records_end: i64,
    /// Whose records are wanted, and from which offset on.
    pub(in crate::loader) wanted: BTreeMap<LaneKey, i64>,
    /// Bytes of wanted records after which it is enough.
    pub(in crate::loader) most_bytes: usize,
}

/// What was read again.
#[derive(Debug)]
pub(in crate::loader) struct Brought {
    /// What was asked for.
    pub(in crate::loader) stretch: Stretch,
    /// All wanted records up to `to`, in order.
    pub(in crate::loader) records: Vec<(LaneKey, Waiting)>,
    /// How far was read.
    pub(in crate::loader) to: i64,
}

impl Dispatcher {
    /// The next stretch to be read again, for the lane that has the least in memory, and room for what it left. One at a
    /// time: [`Dispatcher::brought`] or [`Dispatcher::brought_nothing`] ends it.
    pub(in crate::loader) fn next_stretch(&mut self) -> Option<Stretch> {
        if self.is_reading_again {
            return None;
        }
        let lane_bytes = |key| lane_bytes(&self.limits, &self.schedule, key);
        let (pending, _, from, id) = self
            .left
            .iter()
            .filter_map(|id| {
                let partition = self.partitions.get(&id.partition)?;
                let is_readable = !partition.is_closing() && !self.is_let_alone(id.partition);
                let lane = partition.lane(id.key).filter(|_| is_readable)?;
                let pending = lane.bytes();
                let most = lane_bytes(id.key);
                let room = room(&self.limits, most, self.memory, pending, lane.left_cost());
                let has_room = pending <= most / 2 && room == Room::Free;
                let left_from = lane.left_from()?;
                // Which is the oldest of its partition, and of several the one that is furthest behind.
                has_room.then_some((pending, left_from - partition.next_offset(), left_from, id))
            })
            .min()?;
        let partition = self.partitions.get(&id.partition)?;
        let lanes = self.left.iter().filter(|other| other.partition == id.partition);
        let wanted = lanes.filter_map(|other| Some((other.key, partition.lane(other.key)?.left_from()?)));
        let is_wanted = |left_from: i64| left_from >= from || !keeps(Rule::CatchUpWithoutGap);
        let stretch = Stretch {
            partition: id.partition,
            reading: partition.reading(),
            from,
            to: partition.next_offset(),
            records_end: partition.records_end(),
            wanted: wanted.filter(|(_, left_from)| is_wanted(*left_from)).collect(),
            most_bytes: lane_bytes(id.key).saturating_sub(pending),
        };
        let partition = self.partitions.get_mut(&stretch.partition)?;
        for key in stretch.wanted.keys() {
            if let Some(lane) = partition.lane_mut(*key) {
                let before = lane.bytes();
                lane.begin_to_catch_up(stretch.to);
                self.memory -= before - lane.bytes();
            }
        }
        self.is_reading_again = true;
        Some(stretch)
    }

    fn is_let_alone(&self, partition: i32) -> bool {
        self.unreadable.get(&partition).is_some_and(|unreadable| unreadable.until.is_some())
    }

    /// Partitions that were let alone long enough may be asked for again.
    pub(super) fn let_alone_until(&mut self, now: Instant) {
        let over = self.unreadable.values_mut().filter(|one| one.until.is_some_and(|until| until <= now));
        over.for_each(|one| one.until = None);
    }

    /// A stretch was read again, or the first part of it.
    pub(in crate::loader) fn brought(&mut self, brought: Brought, now: Instant) {
        self.is_reading_again = false;
        let Brought { stretch, records, to } = brought;
        self.unreadable.remove(&stretch.partition);
        let Some(partition) = self.partitions.get_mut(&stretch.partition) else { return };
        if partition.reading() != stretch.reading {
            return;
        }
        let mut by_lane: HashMap<LaneKey, Vec<Waiting>> = HashMap::new();
        for (key, record) in records {
            by_lane.entry(key).or_default().push(record);
        }
        let mut woken = Vec::new();
        for key in stretch.wanted.into_keys() {
            let Some(lane) = partition.lane_mut(key) else { continue };
            let (limits, mut memory) = (self.limits, self.memory);
            let most = lane_bytes(&limits, &self.schedule, key);
            let before = lane.bytes();
            let records = by_lane.remove(&key).unwrap_or_default();
            lane.catch_up(stretch.from, records, to, |bytes, record| {
                let room = room(&limits, most, memory, bytes, record.cost());
                if room == Room::Free {
                    memory += record.cost();
                }
                room
            });
            self.memory = self.memory + lane.bytes() - before;
            let id = LaneId { partition: stretch.partition, key };
            if lane.left_from().is_none() {
                self.left.remove(&id);
            }
            partition.forget_if_nowhere(key);
            woken.push(id);
        }
        debug_assert_eq!(self.memory, self.partitions.values().map(memory_of).sum::<usize>());
        woken.into_iter().for_each(|id| self.look_at(id, now));
    }

    /// The stretch could not be read: another partition's may be asked for, and this one's after a while.
    pub(in crate::loader) fn brought_nothing(&mut self, partition: i32, now: Instant) {
        self.is_reading_again = false;
        let pause = self.unreadable.get(&partition).map_or(UNREADABLE_PAUSE, |before| before.pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        self.unreadable.insert(partition, Unreadable { until: Some(now + pause), pause });
        let Some(partition) = self.partitions.get_mut(&partition) else { return };
        for lane in partition.lanes_mut() {
            let before = lane.bytes();
            lane.stop_catching_up();
            self.memory -= before - lane.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::DispatcherLimits;
    use super::*;
    use crate::event::UnixMillis;
    use crate::loader::lane::{Arrival, BatchLimits, Refused, Told};
    use crate::loader::position::{Position, Watermark};
    use crate::tenant::OrganizationId;

    const POSITION: Position = Position { generation: 1, partition: 0 };

    fn lane(n: u128) -> LaneId {
        LaneId { partition: 0, key: LaneKey::Organization(OrganizationId(Uuid::from_u128(n))) }
    }

    fn waiting(offset: i64, bytes: usize) -> Waiting {
        Waiting {
            offset,
            record_id: Uuid::nil(),
            events: 1,
            received_at: UnixMillis(0),
            bytes: Bytes::from(vec![0; bytes]),
        }
    }

    fn dispatcher(memory_bytes: usize) -> Dispatcher {
        let mut dispatcher = Dispatcher::new(DispatcherLimits {
            batch: BatchLimits { rows: 1_000, bytes: 1_000_000 },
            lane_bytes: memory_bytes,
            memory_bytes,
            writers: 2,
            slow_writers: 2,
        });
        dispatcher.begin(POSITION, None, 0);
        dispatcher
    }

    /// What would be read again finds the memory full of what waits for the database: however long that takes, the log is
    /// not asked for it.
    #[test]
    fn a_stretch_for_which_there_is_no_room_is_not_read_again_before_there_is_more() {
        let (mut dispatcher, now) = (dispatcher(10_000), Instant::now());
        dispatcher.arrive(lane(1), waiting(0, 6_000), now);
        dispatcher.arrive(lane(2), waiting(1, 3_000), now);
        let work = dispatcher.next(now).expect("work");
        assert_eq!(dispatcher.arrive(lane(2), waiting(2, 3_000), now), Some(Arrival::Left));
        assert_eq!(
            dispatcher.next_stretch(),
            None,
            "the lane has little in memory, but the others have much"
        );

        dispatcher.told(work.id, Told::Refused(Refused::Server), now);
        assert_eq!(dispatcher.next_stretch(), None, "nothing has changed");
        let work = dispatcher.next(now + std::time::Duration::from_secs(1)).expect("the same once more");
        dispatcher.told(work.id, Told::Found(Some(Watermark::after(1, Uuid::nil()))), now);
        assert!(dispatcher.next_stretch().is_some(), "there is room now");
    }

    /// However large: alone it passes, or it would stand in the partition's way for ever.
    #[test]
    fn a_record_beyond_all_limits_is_taken_when_there_is_nothing_else() {
        let (mut dispatcher, now) = (dispatcher(10_000), Instant::now());
        assert_eq!(dispatcher.arrive(lane(1), waiting(0, 50_000), now), Some(Arrival::Waits));
        assert_eq!(dispatcher.arrive(lane(2), waiting(1, 50_000), now), Some(Arrival::Left));
    }
}
