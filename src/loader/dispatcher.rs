//! All lanes of all partitions, and what writers do next: the part of the loader that decides, without IO or clock.
//!
//! The receive loop tells it what the log brought and what writers found; it answers with work for writers
//! ([`Dispatcher::next`]), with stretches of the log to be read again for lanes that had no room
//! ([`Dispatcher::next_stretch`]), and with how far each partition is safe.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::lane::{Arrival, BatchLimits, First, Refused, Room, Task, Told, Turn, Waiting, Wants};
use super::partition::{LaneKey, Partition};
use super::position::{Position, Watermark};
use super::schedule::{LaneId, Schedule, Side};
use super::trips::Trips;
use outage::Outage;
use patience::Patience;

mod catching_up;
mod outage;
mod patience;
#[cfg(test)]
mod tests;
mod under_way;

use catching_up::Unreadable;
pub(super) use catching_up::{Brought, Stretch};
use under_way::{Doubt, UnderWay};
pub(super) use under_way::{Overdue, TookLong};

/// What the dispatcher keeps to.
#[derive(Clone, Copy, Debug)]
pub(super) struct DispatcherLimits {
    /// What ends a batch.
    pub(super) batch: BatchLimits,
    /// Bytes that one lane may have in memory.
    pub(super) lane_bytes: usize,
    /// Bytes that all of them may have.
    pub(super) memory_bytes: usize,
    /// Transactions at a time.
    pub(super) writers: usize,
    /// Transactions at a time that take long, beside those.
    pub(super) slow_writers: usize,
}

/// One transaction for a writer.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Names it to the dispatcher.
    pub(super) id: u64,
    /// Whose.
    pub(super) lane: LaneId,
    /// Where in the log.
    pub(super) position: Position,
    /// What is to be done.
    pub(super) task: Task,
    /// The records that the task takes.
    pub(super) records: Vec<Waiting>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Dispatcher {
    limits: DispatcherLimits,
    partitions: HashMap<i32, Partition>,
    schedule: Schedule,
    under_way: HashMap<u64, UnderWay>,
    fast: usize,
    slow: usize,
    timers: BTreeSet<(Instant, LaneId)>,
    /// Lanes that left records in the log.
    left: BTreeSet<LaneId>,
    is_reading_again: bool,
    /// Partitions of which the log could not bring a stretch when it was last asked.
    unreadable: HashMap<i32, Unreadable>,
    memory: usize,
    patience: Patience,
    trips: Trips,
    doubts: VecDeque<Doubt>,
    outage: Outage,
    tried_another_at: Option<Instant>,
    turns: Vec<(LaneId, Turn)>,
    last_id: u64,
}

impl Dispatcher {
    pub(super) fn new(limits: DispatcherLimits) -> Self {
        Self {
            limits,
            partitions: HashMap::new(),
            schedule: Schedule::default(),
            under_way: HashMap::new(),
            fast: 0,
            slow: 0,
            timers: BTreeSet::new(),
            left: BTreeSet::new(),
            is_reading_again: false,
            unreadable: HashMap::new(),
            memory: 0,
            patience: Patience::default(),
            trips: Trips::default(),
            doubts: VecDeque::new(),
            outage: Outage::default(),
            tried_another_at: None,
            turns: Vec::new(),
            last_id: 0,
        }
    }

    /// The partition is read from its anchor on, or from the log's `first` record where it has none.
    pub(super) fn begin(&mut self, position: Position, anchor: Option<Watermark>, first: i64) {
        self.end(position.partition);
        let partition = Partition::new(position, self.new_id(), anchor, first);
        self.partitions.insert(position.partition, partition);
    }

    /// The lane has one before it that was confirmed so much: only to tell people if it finds less.
    pub(super) fn remind(&mut self, partition: i32, key: LaneKey, before: Watermark) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.remind(key, before);
        }
    }

    /// The partition is another's, or must not be read: what is under way for it is not listened to any more.
    pub(super) fn end(&mut self, partition: i32) {
        self.memory -= self.partitions.remove(&partition).as_ref().map_or(0, memory_of);
        self.left.retain(|lane| lane.partition != partition);
        self.unreadable.remove(&partition);
    }

    /// The log brings a record of a partition that was begun.
    pub(super) fn arrive(&mut self, lane: LaneId, record: Waiting, now: Instant) -> Option<Arrival> {
        let cost = record.cost();
        let partition = self.partitions.get_mut(&lane.partition)?;
        let pending = partition.lane_or_new(lane.key).bytes();
        let lane_bytes = lane_bytes(&self.limits, &self.schedule, lane.key);
        let room = room(&self.limits, lane_bytes, self.memory, pending, cost);
        let arrival = partition.arrive(lane.key, record, room);
        match arrival {
            Arrival::Waits => {
                self.memory += cost;
                self.look_at(lane, now);
            }
            Arrival::Left => {
                self.left.insert(lane);
            }
            Arrival::Stored => {}
        }
        Some(arrival)
    }

    /// The log has no record of the partition below this offset that it did not bring.
    pub(super) fn reach(&mut self, partition: i32, next_offset: i64) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.reach(next_offset);
        }
    }

    /// An onlooker found records of the lane held.
    pub(super) fn found_held(&mut self, lane: LaneId, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&lane.partition) else { return };
        partition.lane_or_new(lane.key).found_held();
        self.look_at(lane, now);
    }

    /// The next work for a writer, if there is any for which one is free.
    pub(super) fn next(&mut self, now: Instant) -> Option<Work> {
        while let Some((at, lane)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, lane));
            self.look_at(lane, now);
        }
        self.let_alone_until(now);
        loop {
            let side = self.free_side(now)?;
            let lane = self.schedule.next(side)?;
            if let Some(work) = self.start(lane, side, now) {
                return Some(work);
            }
        }
    }

    /// What a writer's work came to.
    pub(super) fn told(&mut self, work: u64, told: Told, now: Instant) {
        if let Told::Refused(Refused::Slow(reason)) = told {
            return self.doubt(work, reason, now);
        }
        self.settle(work, told, now);
    }

    /// The same, beyond doubt.
    fn settle(&mut self, work: u64, told: Told, now: Instant) {
        let Some(under_way) = self.finish(work, &told, now) else { return };
        let is_same = |partition: &&mut Partition| partition.reading() == under_way.reading;
        let Some(partition) = self.partitions.get_mut(&under_way.lane.partition).filter(is_same) else {
            return;
        };
        let Some(lane) = partition.lane_mut(under_way.lane.key) else { return };
        let before = lane.bytes();
        self.turns.extend(lane.told(told, now).map(|turn| (under_way.lane, turn)));
        self.memory -= before - lane.bytes();
        partition.forget_if_nowhere(under_way.lane.key);
        self.look_at(under_way.lane, now);
    }

    /// When the dispatcher is to be asked again, though nothing happens.
    pub(super) fn asks_again_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let is_watched = |one: &&UnderWay| one.side == Some(Side::Fast);
        let overdue = self.under_way.values().filter(is_watched).map(|one| self.patience_ends(one)).min();
        let outage = self.outage.until().filter(|_| self.side_with_room().is_some());
        let doubt = self.doubts.front().map(|doubt| doubt.until);
        let unreadable = self.unreadable.values().filter_map(|one| one.until).min();
        timer.into_iter().chain(overdue).chain(outage).chain(doubt).chain(unreadable).min()
    }

    /// The partitions, by number.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (i32, &Partition)> {
        self.partitions.iter().map(|(number, partition)| (*number, partition))
    }

    pub(super) fn partition(&self, partition: i32) -> Option<&Partition> {
        self.partitions.get(&partition)
    }

    pub(super) fn partition_mut(&mut self, partition: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(&partition)
    }

    /// What waits in memory, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// What became of lanes since this was last asked, for people.
    pub(super) fn take_turns(&mut self) -> Vec<(LaneId, Turn)> {
        std::mem::take(&mut self.turns)
    }

    /// Looks at what the lane wants.
    fn look_at(&mut self, lane: LaneId, now: Instant) {
        let Some(partition) = self.partitions.get(&lane.partition) else { return };
        let Some(state) = partition.lane(lane.key) else { return };
        match state.wants(now) {
            Wants::Writer => self.schedule.enqueue(lane),
            Wants::NotBefore(at) => {
                self.timers.insert((at, lane));
            }
            Wants::Nothing => {}
        }
    }

    /// A side that has both a free writer and something to do.
    fn free_side(&self, now: Instant) -> Option<Side> {
        self.side_with_room().filter(|_| self.outage.allows(now))
    }

    /// The same, whether the database answers or not.
    fn side_with_room(&self) -> Option<Side> {
        let is_free = |side: &Side| match side {
            Side::Fast => self.fast < self.limits.writers,
            Side::Slow => self.slow < self.limits.slow_writers,
        };
        [Side::Fast, Side::Slow].into_iter().find(|side| is_free(side) && self.schedule.has_waiting(*side))
    }

    fn start(&mut self, id: LaneId, side: Side, now: Instant) -> Option<Work> {
        let partition = self.partitions.get_mut(&id.partition)?;
        let (position, reading, is_closing) =
            (partition.position(), partition.reading(), partition.is_closing());
        let lane = partition.lane_mut(id.key)?;
        match lane.wants(now) {
            // Giving up a partition, only what is in memory is written.
            Wants::Writer if is_closing && lane.has_nothing_to_write() => return None,
            Wants::Writer => {}
            Wants::NotBefore(at) => {
                self.timers.insert((at, id));
                return None;
            }
            Wants::Nothing => return None,
        }
        let first = if is_closing { First::Pending } else { First::DueDrain(now) };
        let task = lane.begin(self.limits.batch, first);
        let records: Vec<Waiting> = lane.first(task.records()).cloned().collect();
        let under_way = UnderWay {
            lane: id,
            reading,
            side: Some(side),
            begun: now,
            rows: records.iter().map(|record| record.events).sum(),
            bytes: records.iter().map(|record| record.bytes.len()).sum(),
            is_measured: matches!(task, Task::Flush { .. }),
            left_until: None,
        };
        match side {
            Side::Fast => self.fast += 1,
            Side::Slow => self.slow += 1,
        }
        let number = self.new_id();
        self.outage.begun(number, now);
        self.under_way.insert(number, under_way);
        Some(Work { id: number, lane: id, position, task, records })
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// What a lane may have in memory. The slow ones have half of it all together: however many they are, there is room for
/// the others.
fn lane_bytes(limits: &DispatcherLimits, schedule: &Schedule, key: LaneKey) -> usize {
    match schedule.is_slow(key) {
        true => (limits.memory_bytes / 2 / schedule.slow_organizations().max(1)).min(limits.lane_bytes),
        false => limits.lane_bytes,
    }
}

/// Whether a lane with so much in memory may take a record. Where all the memory is taken, a lane that has nothing may
/// still take one, up to a quarter beyond; and a record for which there would never be room is taken alone.
fn room(limits: &DispatcherLimits, lane_bytes: usize, memory: usize, pending: usize, cost: usize) -> Room {
    let has_room = match memory + cost <= limits.memory_bytes {
        true => pending == 0 || pending + cost <= lane_bytes,
        false => pending == 0 && memory + cost <= limits.memory_bytes + limits.memory_bytes / 4,
    };
    if has_room || memory == 0 { Room::Free } else { Room::None }
}

fn memory_of(partition: &Partition) -> usize {
    partition.lanes().map(|(_, lane)| lane.bytes()).sum()
}
