//! What a loader reads: what its consumer has, what it left in the log, what was held before it.

use super::log::{ORGANIZATIONS, PARTITIONS, Place, lane_key};
use super::process::HELD_PERIOD_MS;
use super::world::{OfProcess, World};
use crate::loader::dispatcher::{Brought, Stretch};
use crate::loader::lane::Arrival;
use crate::loader::partition::Partition;
use crate::loader::receive::Ended;
use crate::loader::schedule::LaneId;

/// A consumer hands over so many records at a time.
const RECORDS_AT_ONCE: usize = 16;
/// The log's reader looks through so many bytes at a time.
const MOST_SCANNED_BYTES: usize = 2_500;

impl World {
    pub(super) fn looks_for_held(&mut self, process: usize) {
        self.of_process(process, HELD_PERIOD_MS, OfProcess::LooksForHeld);
        if self.server.is_away || self.processes[process].ending.is_some() {
            return;
        }
        if !self.is_known_server(process) {
            return self.end(process, Ended::Rewound);
        }
        let (generation, now) = (self.processes[process].generation, self.instant());
        for partition in 0..PARTITIONS {
            let keys: Vec<usize> = self.server.with_held(Place { generation, partition }).collect();
            for key in keys {
                let lane = LaneId { partition: i32::try_from(partition).unwrap_or(0), key: lane_key(key) };
                self.processes[process].dispatcher.found_held(lane, now);
            }
        }
        for place in Place::all().filter(|place| place.generation < generation) {
            for key in 0..ORGANIZATIONS {
                let drained = self.server.drain(&self.log, place, key);
                self.must(drained, || format!("organization {key} was drained after its generation"));
            }
        }
    }

    /// What the log has between records is none.
    pub(super) fn looks_for_gaps(&mut self, process: usize) {
        for partition in 0..PARTITIONS {
            let place = Place { generation: self.processes[process].generation, partition };
            let number = i32::try_from(partition).unwrap_or(0);
            let dispatcher = &mut self.processes[process].dispatcher;
            let at_rest = dispatcher.partition(number).filter(|partition| partition.is_at_rest());
            if let Some(next) = at_rest.map(Partition::next_offset) {
                let is_record = |offset: &i64| self.log.record(place, *offset).is_some();
                let end = self.log.end(place);
                dispatcher.reach(number, (next..end).find(is_record).unwrap_or(end.max(next)));
            }
        }
    }

    /// The consumer has something for the loader.
    pub(super) fn wake_reader(&mut self, process: usize, partition: usize) {
        let state = &mut self.processes[process];
        if state.is_running && state.reads[partition].is_some() && !state.is_polling {
            state.is_polling = true;
            self.of_process(process, 1, OfProcess::Polls);
        }
    }

    pub(super) fn polls(&mut self, process: usize) {
        self.processes[process].is_polling = false;
        let now = self.instant();
        let mut taken = 0;
        for partition in 0..PARTITIONS {
            let place = Place { generation: self.processes[process].generation, partition };
            while let Some(offset) = self.processes[process].reads[partition] {
                if offset >= self.log.end(place) {
                    break;
                }
                if taken == RECORDS_AT_ONCE {
                    return self.wake_reader(process, partition);
                }
                taken += 1;
                self.processes[process].reads[partition] = Some(offset + 1);
                let Some((key, record)) = self.log.waiting(place, offset) else { continue };
                let lane = LaneId { partition: i32::try_from(partition).unwrap_or(0), key };
                let arrival = self.processes[process].dispatcher.arrive(lane, record, now);
                if arrival == Some(Arrival::Left) {
                    self.say(|_| format!("loader {process} leaves {partition}/{offset} in the log"));
                }
            }
        }
    }

    /// Reading the same again and again, because there is no room for it, keeps the log busy for nothing.
    fn counts_rereads(&mut self, process: usize, partition: i32, from: i64) {
        const MOST_IN_VAIN: u32 = 10;
        let state = &mut self.processes[process];
        state.rereads = match state.last_reread == (partition, from) {
            true => state.rereads + 1,
            false => 1,
        };
        state.last_reread = (partition, from);
        if state.rereads > MOST_IN_VAIN {
            self.fail(format!("loader {process} reads {partition}/{from} again and again"));
        }
    }

    pub(super) fn rereads(&mut self, process: usize, stretch: Stretch) {
        if !self.is_healed && self.random.percent(self.plan.lost_answers) {
            self.say(|_| format!("loader {process}: the log does not answer"));
            let now = self.instant();
            return self.processes[process].dispatcher.brought_nothing(stretch.partition, now);
        }
        let place = self.place(process, stretch.partition);
        let (mut records, mut wanted, mut scanned, mut to) = (Vec::new(), 0, 0, stretch.to);
        for offset in stretch.from..stretch.to {
            let Some((key, record)) = self.log.waiting(place, offset) else { continue };
            scanned += record.bytes.len();
            if stretch.wanted.get(&key).is_some_and(|from| offset >= *from) {
                wanted += record.cost();
                records.push((key, record));
            }
            if wanted >= stretch.most_bytes || scanned >= MOST_SCANNED_BYTES {
                to = offset + 1;
                break;
            }
        }
        self.counts_rereads(process, stretch.partition, stretch.from);
        let (from, now) = (stretch.from, self.instant());
        self.say(|_| format!("loader {process} reads {}/{from}..{to} again", stretch.partition));
        self.processes[process].dispatcher.brought(Brought { stretch, records, to }, now);
    }
}
