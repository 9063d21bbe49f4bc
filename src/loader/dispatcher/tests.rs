use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::under_way::DOUBT;
use super::*;
use crate::event::UnixMillis;
use crate::loader::lane::{Kept, Receipt};
use crate::tenant::OrganizationId;

/// What each record takes in memory.
const COST: usize = 300;

fn dispatcher(writers: usize, slow_writers: usize) -> Dispatcher {
    let batch = BatchLimits { rows: 100, bytes: 10_000 };
    let limits =
        DispatcherLimits { batch, lane_bytes: 4 * COST, memory_bytes: 8 * COST, writers, slow_writers };
    let mut dispatcher = Dispatcher::new(limits);
    (0..2).for_each(|partition| dispatcher.begin(Position { generation: 1, partition }, None, 0));
    dispatcher
}

fn lane(partition: i32, organization: u128) -> LaneId {
    LaneId { partition, key: LaneKey::Organization(OrganizationId(Uuid::from_u128(organization))) }
}

fn record(offset: i64) -> Waiting {
    let bytes = Bytes::from_static(&[0; COST - 256]);
    Waiting { offset, record_id: Uuid::from_u128(1), events: 1, received_at: UnixMillis(0), bytes }
}

fn arrive(dispatcher: &mut Dispatcher, lane: LaneId, offset: i64, now: Instant) -> Option<Arrival> {
    dispatcher.arrive(lane, record(offset), now)
}

fn arrive_all(dispatcher: &mut Dispatcher, lane: LaneId, offsets: std::ops::Range<i64>, now: Instant) {
    for offset in offsets {
        arrive(dispatcher, lane, offset, now);
    }
}

fn stored(work: &Work) -> Told {
    let last = work.records.last().expect("a flush has records");
    let to = Watermark::after(last.offset, last.record_id);
    Told::Flushed { receipt: Receipt::committed(work.records.len(), None, to), met_duplicates: false }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_lane_leaves_what_goes_beyond_its_share_and_others_go_on() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    let arrivals: Vec<_> =
        (0..5).filter_map(|offset| arrive(&mut dispatcher, lane(0, 1), offset, now)).collect();
    assert_eq!(arrivals, [Arrival::Waits, Arrival::Waits, Arrival::Waits, Arrival::Waits, Arrival::Left]);
    assert_eq!(arrive(&mut dispatcher, lane(0, 2), 5, now), Some(Arrival::Waits));
    assert_eq!(dispatcher.memory(), 5 * COST);
    assert_eq!(dispatcher.partition(0).map(Partition::low_water), Some(0));
}

#[test]
fn where_all_the_memory_is_taken_a_lane_that_has_nothing_takes_one_record() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    for offset in 0..8 {
        let organization = if offset < 4 { 1 } else { 2 };
        assert_eq!(arrive(&mut dispatcher, lane(0, organization), offset, now), Some(Arrival::Waits));
    }
    let others: Vec<_> = [3, 3, 4, 5]
        .into_iter()
        .zip(8..)
        .filter_map(|(one, at)| arrive(&mut dispatcher, lane(0, one), at, now))
        .collect();
    assert_eq!(others, [Arrival::Waits, Arrival::Left, Arrival::Waits, Arrival::Left]);
    assert_eq!(dispatcher.memory(), 10 * COST, "a quarter beyond at most");
}

#[test]
fn slow_organizations_leave_half_of_the_memory_to_the_others_however_many_they_are() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    let slow = [1, 2, 3, 4].map(|organization| lane(0, organization));
    slow.iter().for_each(|lane| dispatcher.schedule.set_slow(lane.key, true));
    for offset in (0..16).step_by(4) {
        slow.iter().zip(offset..).for_each(|(lane, offset)| {
            arrive(&mut dispatcher, *lane, offset, now);
        });
    }
    assert_eq!(dispatcher.memory(), 4 * COST, "one record each");
    let healthy: Vec<_> =
        (16..20).filter_map(|offset| arrive(&mut dispatcher, lane(0, 9), offset, now)).collect();
    assert_eq!(healthy, [Arrival::Waits; 4], "as much as a lane may have");
    // One that is slow no more has its whole share again.
    slow[1..].iter().for_each(|lane| dispatcher.schedule.set_slow(lane.key, false));
    assert_eq!(lane_bytes(&dispatcher.limits, &dispatcher.schedule, slow[0].key), 4 * COST);
}

#[test]
fn what_was_left_in_the_log_is_taken_again_once_there_is_room() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    arrive_all(&mut dispatcher, lane(0, 1), 0..6, now);
    assert_eq!(dispatcher.next_stretch(), None, "its memory is full");
    let work = dispatcher.next(now).expect("it waits for a writer");
    dispatcher.told(work.id, stored(&work), now);
    let stretch = dispatcher.next_stretch().expect("there is room");
    assert_eq!((stretch.partition, stretch.from, stretch.to), (0, 4, 6));
    let records = [4, 5].map(|offset| (lane(0, 1).key, record(offset))).to_vec();
    dispatcher.brought(Brought { stretch, records, to: 6 }, now);
    let work = dispatcher.next(now).expect("it waits for a writer");
    assert_eq!(work.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [4, 5]);
    dispatcher.told(work.id, stored(&work), now);
    assert_eq!((dispatcher.partition(0).map(Partition::low_water), dispatcher.memory()), (Some(6), 0));
}

/// Found by the simulator: what had come behind the stretch filled the lane, which was never given the stretch.
#[test]
fn a_lane_is_not_stuck_with_what_came_while_the_log_did_not_answer() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    arrive_all(&mut dispatcher, lane(0, 1), 0..5, now);
    let work = dispatcher.next(now).expect("it waits for a writer");
    dispatcher.told(work.id, stored(&work), now);
    assert!(dispatcher.next_stretch().is_some());
    arrive_all(&mut dispatcher, lane(0, 1), 5..9, now);
    dispatcher.brought_nothing(0, now);
    assert_eq!((dispatcher.memory(), dispatcher.next_stretch()), (0, None), "not at once");
    let later = dispatcher.asks_again_at().expect("it is asked again");
    assert!(dispatcher.next(later).is_none());
    assert_eq!(dispatcher.next_stretch().map(|stretch| (stretch.from, stretch.to)), Some((4, 9)));
}

#[test]
fn a_partition_that_is_closing_or_cannot_be_read_keeps_no_other_from_catching_up() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    for partition in 0..2 {
        arrive_all(&mut dispatcher, lane(partition, 1), 0..5, now);
    }
    while let Some(work) = dispatcher.next(now) {
        dispatcher.told(work.id, stored(&work), now);
    }
    assert_eq!(dispatcher.next_stretch().map(|stretch| stretch.partition), Some(0));
    dispatcher.brought_nothing(0, now);
    assert_eq!(dispatcher.next_stretch().map(|stretch| stretch.partition), Some(1));
    dispatcher.brought_nothing(1, now);
    assert!(dispatcher.next(now + millis(300)).is_none());
    dispatcher.partition_mut(0).expect("it was begun").begin_close();
    assert_eq!(dispatcher.next_stretch().map(|stretch| stretch.partition), Some(1));
}

/// What is drained was charged as nothing, and a hundred drains went before each flush of the others.
#[test]
fn who_drains_much_waits_as_long_as_who_sends_much() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    let (draining, healthy) = (lane(0, 1), lane(1, 2));
    arrive(&mut dispatcher, draining, 0, now);
    let open = dispatcher.next(now).expect("it opens its schema");
    dispatcher.told(open.id, Told::FoundHeld, now);
    let mut drains = 0;
    for offset in 0..20 {
        arrive(&mut dispatcher, healthy, offset, now);
        loop {
            let work = dispatcher.next(now).expect("both have something to do");
            match work.task {
                Task::Flush { .. } => {
                    dispatcher.told(work.id, stored(&work), now);
                    break;
                }
                Task::Drain { .. } => {
                    drains += 1;
                    dispatcher.told(work.id, Told::Drained { bytes: 8 << 20 }, now);
                }
                _ => dispatcher.told(work.id, Told::Held(Kept::confirmed()), now),
            }
            assert!(drains <= 3, "{drains} drains of 8 MiB before {offset} small flushes");
        }
    }
}

#[test]
fn work_of_a_reading_that_has_ended_is_not_listened_to() {
    let (mut dispatcher, now) = (dispatcher(1, 1), Instant::now());
    arrive(&mut dispatcher, lane(0, 1), 0, now);
    let work = dispatcher.next(now).expect("it waits for a writer");
    dispatcher.begin(Position { generation: 1, partition: 0 }, None, 0);
    arrive(&mut dispatcher, lane(0, 1), 0, now);
    dispatcher.told(work.id, stored(&work), now);
    assert_eq!((dispatcher.partition(0).map(Partition::low_water), dispatcher.memory()), (Some(0), COST));
}

#[test]
fn slow_work_moves_aside_and_is_given_up_where_there_is_no_room_for_it() {
    let (mut dispatcher, now) = (dispatcher(2, 1), Instant::now());
    (0..3).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, now));
    let works: Vec<Work> = std::iter::from_fn(|| dispatcher.next(now)).collect();
    assert_eq!(works.len(), 2);
    let later = now + millis(200);
    assert_eq!(dispatcher.overdue(later).overdue[..], [Overdue::Moved(works[0].id)]);
    let third = dispatcher.next(later).expect("a writer is free");
    dispatcher.told(third.id, stored(&third), later);
    (3..5).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, later));
    assert!(dispatcher.next(later).is_some(), "now both are busy, and another waits");
    assert_eq!(
        dispatcher.overdue(later + millis(200)).overdue[..],
        [Overdue::GiveUp(works[1].id)],
        "others pass"
    );
}

/// Found by the simulator: all writers were at slow schemas, and so nothing could pass that would have shown it.
#[test]
fn one_writer_goes_on_trying_others_where_all_are_slow() {
    let (mut dispatcher, mut now) = (dispatcher(2, 1), Instant::now());
    (1..=3).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, now));
    while dispatcher.next(now).is_some() {}
    now += millis(200);
    assert!(
        matches!(dispatcher.overdue(now).overdue[..], [Overdue::Moved(_)]),
        "the slow side is full with it"
    );
    assert!(dispatcher.next(now).is_some());
    arrive(&mut dispatcher, lane(0, 4), 4, now);
    assert!(dispatcher.next(now).is_none(), "all writers are at slow schemas");
    let given_up = dispatcher.overdue(now + millis(200)).overdue;
    assert!(matches!(given_up[..], [Overdue::GiveUp(_)]), "one, and not both: {given_up:?}");
    assert_eq!(dispatcher.next(now + millis(200)).map(|work| work.lane), Some(lane(0, 4)));
}

/// Found by the simulator: the one that was to find out whether the database is back waited for a slow schema.
#[test]
fn after_a_lost_connection_nobody_waits_for_a_slow_schema_to_say_that_the_database_is_there() {
    let (mut dispatcher, now) = (dispatcher(3, 1), Instant::now());
    (1..=2).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, now));
    let works: Vec<Work> = std::iter::from_fn(|| dispatcher.next(now)).collect();
    dispatcher.told(works[1].id, Told::Refused(Refused::Server), now);
    assert!(dispatcher.next(now).is_none(), "not at once");
    let later = dispatcher.asks_again_at().expect("when to ask");
    let asks = dispatcher.next(later).expect("one asks, though another is still at it");
    assert_eq!(asks.lane, lane(0, 2));
    arrive(&mut dispatcher, lane(0, 3), 2, later);
    assert!(dispatcher.next(later).is_none(), "one at a time");
    let work = dispatcher.next(later + millis(100)).expect("the next, since the first has no answer");
    dispatcher.told(work.id, stored(&work), later + millis(101));
    arrive(&mut dispatcher, lane(0, 4), 3, later + millis(101));
    assert!(dispatcher.next(later + millis(101)).is_some(), "it is there");
}

#[test]
fn a_database_that_is_away_is_asked_less_and_less_often() {
    let (mut dispatcher, mut now) = (dispatcher(2, 1), Instant::now());
    (1..=2).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, now));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let work = dispatcher.next(now).expect("one asks");
        dispatcher.told(work.id, Told::Refused(Refused::Server), now);
        let again = dispatcher.asks_again_at().expect("when to ask");
        pauses.push(again.duration_since(now).as_millis());
        now = again;
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
}

#[test]
fn a_time_out_is_the_schemas_once_the_others_do_not_say_so_too() {
    let (mut dispatcher, now) = (dispatcher(2, 1), Instant::now());
    arrive(&mut dispatcher, lane(0, 1), 0, now);
    let work = dispatcher.next(now).expect("it waits for a writer");
    dispatcher.told(work.id, Told::Refused(Refused::Slow("lock timeout".to_owned())), now);
    assert!(dispatcher.take_turns().is_empty(), "it may be the server");
    dispatcher.overdue(now + DOUBT);
    assert_eq!(dispatcher.take_turns(), [(lane(0, 1), Turn::Held("lock timeout".to_owned()))]);
}

/// Ten organizations lock their tables on a server that is well, as another's transactions show all along.
#[test]
fn most_organizations_that_time_out_are_the_servers_trouble_which_is_said_and_are_held_after_a_while() {
    let (mut dispatcher, begun) = (dispatcher(11, 11), Instant::now());
    dispatcher.limits.memory_bytes = 100 * COST;
    (0..10).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, begun));
    let mut now = begun;
    let mut held = Vec::new();
    for offset in 1.. {
        arrive(&mut dispatcher, lane(0, 100), offset, now);
        while let Some(work) = dispatcher.next(now) {
            let told = match work.lane == lane(0, 100) {
                true => stored(&work),
                false if matches!(work.task, Task::Flush { .. }) => {
                    Told::Refused(Refused::Slow("lock timeout".to_owned()))
                }
                false => break,
            };
            dispatcher.told(work.id, told, now);
        }
        now += DOUBT;
        let is_servers = dispatcher.overdue(now).is_servers;
        held.extend(dispatcher.take_turns());
        if !held.is_empty() {
            break;
        }
        assert_eq!(is_servers.as_deref(), Some("lock timeout"), "after {:?}", now - begun);
        assert!(now < begun + millis(60_000), "for ever");
        now += millis(2_000);
    }
    assert!(now > begun + millis(30_000), "{:?}", now - begun);
    let is_held = |(_, turn): &(LaneId, Turn)| *turn == Turn::Held("lock timeout".to_owned());
    assert!(held.len() == 10 && held.iter().all(is_held), "{held:?}");
}

/// What was cancelled has heard nothing of the server.
#[test]
fn work_that_is_put_back_says_nothing_about_the_server() {
    let (mut dispatcher, now) = (dispatcher(2, 1), Instant::now());
    (1..=3).for_each(|one| arrive_all(&mut dispatcher, lane(0, one), 0..1, now));
    let works: Vec<Work> = std::iter::from_fn(|| dispatcher.next(now)).collect();
    dispatcher.told(works[0].id, Told::Refused(Refused::Server), now);
    dispatcher.told(works[1].id, Told::PutBack, now);
    assert!(dispatcher.next(now).is_none(), "it is away still");
}
