use bytes::Bytes;
use uuid::Uuid;

use super::*;

const ALL: BatchLimits = BatchLimits { rows: usize::MAX, bytes: usize::MAX };
const DRAIN: Task = Task::Drain { rows: usize::MAX };

fn record(offset: i64) -> Waiting {
    let record_id = Uuid::from_u128(offset.unsigned_abs().into());
    Waiting { offset, record_id, events: 1, received_at: UnixMillis(0), bytes: Bytes::from_static(b"record") }
}

fn watermark(next_offset: i64) -> Watermark {
    Watermark::after(next_offset - 1, Uuid::from_u128(next_offset.unsigned_abs().into()))
}

fn lane_with(offsets: &[i64]) -> Lane {
    let mut lane = Lane::new();
    for offset in offsets {
        assert_eq!(lane.arrive(record(*offset), Room::Free), Arrival::Waits);
    }
    lane
}

/// A lane that has stored all below this offset.
fn live_at(next_offset: i64) -> Lane {
    let mut lane = lane_with(&[next_offset - 1]);
    lane.begin(ALL, First::Pending);
    let receipt = Receipt::committed(1, None, watermark(next_offset));
    lane.told(Told::Flushed { receipt, met_duplicates: false }, Instant::now());
    lane
}

fn leave(lane: &mut Lane, offsets: [i64; 2]) {
    for offset in offsets {
        assert_eq!(lane.arrive(record(offset), Room::None), Arrival::Left);
    }
}

fn refused(refused: fn(String) -> Refused) -> Told {
    Told::Refused(refused("because".to_owned()))
}

fn offsets(lane: &Lane) -> Vec<i64> {
    lane.first(usize::MAX).map(|record| record.offset).collect()
}

#[test]
fn records_leave_a_lane_only_against_a_receipt() {
    for told in [
        Told::Unconfirmed,
        Told::PutBack,
        Told::Found(None),
        Told::FoundHeld,
        Told::Refused(Refused::Server),
        Told::Refused(Refused::NotYet),
        refused(Refused::Again),
        refused(Refused::Schema),
        Told::Gone(Nobody::Removed),
    ] {
        let mut lane = lane_with(&[3, 4]);
        lane.begin(ALL, First::Pending);
        lane.told(told.clone(), Instant::now());
        assert_eq!((offsets(&lane), lane.low_water()), (vec![3, 4], Some(3)), "{told:?}");
    }
}

#[test]
fn a_receipt_for_some_of_the_batch_leaves_the_others() {
    let mut lane = lane_with(&[3, 4, 5]);
    lane.begin(ALL, First::Pending);
    let receipt = Receipt::committed(2, None, watermark(5));
    lane.told(Told::Flushed { receipt, met_duplicates: false }, Instant::now());
    assert_eq!((offsets(&lane), lane.low_water()), (vec![5], Some(5)));
}

#[test]
fn a_lost_answer_is_settled_by_opening_again_and_passing_over_what_is_covered() {
    let mut lane = live_at(3);
    lane.arrive(record(3), Room::Free);
    lane.arrive(record(4), Room::Free);
    lane.begin(BatchLimits { rows: 1, ..ALL }, First::Pending);
    lane.told(Told::Unconfirmed, Instant::now());
    let expected = Expected::AtLeast(Some(watermark(3)));
    assert_eq!(
        lane.begin(ALL, First::Pending),
        Task::Flush { records: 2, expected, look_for_duplicates: true }
    );
    lane.told(Told::Found(Some(watermark(4))), Instant::now());
    assert_eq!(offsets(&lane), [4]);
}

#[test]
fn a_record_that_the_schema_has_does_not_wait() {
    let mut lane = live_at(5);
    assert_eq!(lane.arrive(record(4), Room::None), Arrival::Stored);
    assert_eq!(lane.low_water(), None);
}

#[test]
fn a_watermark_lower_than_one_that_was_confirmed_stops_the_lane() {
    let (mut lane, now) = (live_at(5), Instant::now());
    lane.arrive(record(5), Room::Free);
    lane.begin(ALL, First::Pending);
    assert_eq!(lane.told(Told::Found(Some(watermark(4))), now), Some(Turn::WentBack));
    assert_eq!((lane.wants(now), lane.low_water()), (Wants::Nothing, Some(5)));
}

#[test]
fn a_lost_race_is_run_again_five_times_and_then_the_records_are_held() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    for _ in 0..5 {
        lane.begin(ALL, First::Pending);
        assert_eq!(lane.told(refused(Refused::Again), now), None);
        assert!(matches!(lane.wants(now), Wants::NotBefore(at) if at > now));
    }
    lane.begin(ALL, First::Pending);
    assert_eq!(lane.told(refused(Refused::Again), now), Some(Turn::Held("because".to_owned())));
    assert!(matches!(lane.begin(ALL, First::Pending), Task::Hold { records: 1, .. }));
}

#[test]
fn a_held_lane_that_is_given_up_holds_all_that_it_has_and_drains_afterwards() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    lane.begin(ALL, First::Pending);
    lane.told(Told::FoundHeld, now);
    lane.arrive(record(1), Room::Free);
    assert!(matches!(lane.begin(ALL, First::Pending), Task::Hold { records: 2, .. }));
    lane.told(Told::Held(Kept::confirmed()), now);
    assert_eq!(
        (lane.low_water(), lane.wants(now), lane.begin(ALL, First::Pending)),
        (None, Wants::Writer, DRAIN)
    );
    assert_eq!(lane.told(Told::NoneHeld, now), Some(Turn::Drained));
}

#[test]
fn a_drain_that_is_due_goes_before_what_is_pending_and_one_that_is_not_does_not() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    lane.begin(ALL, First::DueDrain(now));
    lane.told(refused(Refused::Schema), now);
    assert!(matches!(lane.begin(ALL, First::DueDrain(now)), Task::Hold { records: 1, .. }));
    lane.told(Told::Held(Kept::confirmed()), now);
    lane.arrive(record(1), Room::Free);
    let Wants::Writer = lane.wants(now) else { panic!("a record is pending") };
    assert!(matches!(lane.begin(ALL, First::DueDrain(now)), Task::Hold { records: 1, .. }), "not due yet");
    lane.told(Told::PutBack, now);
    assert_eq!(lane.begin(ALL, First::DueDrain(now)), DRAIN, "a hold in doubt is found by the next drain");
    lane.told(Told::Drained { bytes: 0 }, now);
    assert_eq!(lane.begin(ALL, First::DueDrain(now)), DRAIN, "there may be more");
    lane.told(Told::NoneHeld, now);
    assert!(matches!(lane.begin(ALL, First::DueDrain(now)), Task::Flush { records: 1, .. }));
}

/// Its turn may come late: behind many others that are refused as well, the drain is due by then.
#[test]
fn what_is_refused_is_held_before_a_drain_is_tried_however_late_its_turn_comes() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    let late = First::DueDrain(now + LONGEST_PROBE);
    lane.begin(ALL, late);
    lane.told(refused(Refused::Schema), now);
    assert!(matches!(lane.begin(ALL, late), Task::Hold { records: 1, .. }));
    lane.told(Told::Held(Kept::confirmed()), now);
    lane.arrive(record(1), Room::Free);
    assert_eq!(lane.begin(ALL, late), DRAIN);
    lane.told(refused(Refused::Slow), now);
    assert!(matches!(lane.begin(ALL, late), Task::Hold { records: 1, .. }), "the drain has had its turn");
}

#[test]
fn what_is_pending_is_held_after_some_drains_however_much_there_is_to_drain() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    lane.begin(ALL, First::DueDrain(now));
    lane.told(Told::FoundHeld, now);
    for _ in 0..2 {
        for _ in 0..DRAINS_IN_A_ROW {
            assert_eq!(lane.begin(ALL, First::DueDrain(now)), DRAIN);
            lane.told(Told::Drained { bytes: 0 }, now);
        }
        assert!(matches!(lane.begin(ALL, First::DueDrain(now)), Task::Hold { records: 1, .. }));
        lane.told(Told::Held(Kept::confirmed()), now);
        assert_eq!(lane.low_water(), None);
        lane.arrive(record(1), Room::Free);
    }
}

#[test]
fn after_a_time_out_half_as_much_is_tried_down_to_one_record_and_more_again_once_some_passed() {
    let limits = BatchLimits { rows: 100, ..ALL };
    let (mut lane, now) = (lane_with(&[0, 1, 2, 3]), Instant::now());
    assert!(matches!(lane.begin(limits, First::Pending), Task::Flush { records: 4, .. }));
    lane.told(refused(Refused::Slow), now);
    lane.begin(limits, First::Pending);
    lane.told(Told::Held(Kept::confirmed()), now);
    let mut rows_of_next = |told: Told| {
        let Task::Drain { rows } = lane.begin(limits, First::Pending) else { panic!("all are held") };
        lane.told(told, now);
        rows
    };
    let slow = || refused(Refused::Slow);
    assert_eq!([slow(), slow(), slow()].map(&mut rows_of_next), [2, 1, 1]);
    let passed: Vec<usize> = (0..60).map(|_| rows_of_next(Told::Drained { bytes: 0 })).collect();
    assert_eq!((passed[0], passed[8], passed[16], passed[59]), (1, 2, 4, 100));
    assert_eq!(rows_of_next(Told::Cleared), 100, "that one was in its way before");
    assert_eq!([refused(Refused::Schema), slow(), slow()].map(&mut rows_of_next), [100, 100, 12]);
    rows_of_next(Told::NoneHeld);
    for offset in 4..40 {
        lane.arrive(record(offset), Room::Free);
    }
    assert!(matches!(lane.begin(limits, First::Pending), Task::Flush { records: 1, .. }), "its flushes, too");
}

#[test]
fn a_drain_that_another_keeps_from_its_turn_does_not_change_why_records_are_held() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    lane.begin(ALL, First::Pending);
    lane.told(refused(Refused::Schema), now);
    lane.begin(ALL, First::Pending);
    lane.told(Told::Held(Kept::confirmed()), now);
    lane.arrive(record(1), Room::Free);
    assert_eq!(lane.begin(ALL, First::DueDrain(now + LONGEST_PROBE)), DRAIN);
    lane.told(Told::Refused(Refused::Again("another drains".to_owned())), now);
    let Task::Hold { reason, .. } = lane.begin(ALL, First::DueDrain(now)) else { panic!("not due") };
    assert_eq!(reason, "because");
}

#[test]
fn pauses_between_drains_are_doubled_up_to_half_a_minute_and_begin_anew_with_one_that_stores() {
    let (mut lane, now) = (lane_with(&[0]), Instant::now());
    lane.begin(ALL, First::Pending);
    lane.told(refused(Refused::Schema), now);
    lane.begin(ALL, First::Pending);
    lane.told(Told::Held(Kept::confirmed()), now);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let Wants::NotBefore(at) = lane.wants(now) else { panic!("it waits") };
        pauses.push(at.duration_since(now).as_millis());
        assert_eq!((lane.wants(at), lane.begin(ALL, First::Pending)), (Wants::Writer, DRAIN));
        lane.told(refused(Refused::Schema), now);
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    lane.begin(ALL, First::Pending);
    lane.told(Told::Drained { bytes: 0 }, now);
    assert_eq!(lane.wants(now), Wants::Writer, "there may be more");
}

/// Opened again, found by the simulator: the database had gone back behind a pooler, and no watermark showed it.
#[test]
fn a_record_that_does_not_decode_leaves_alone_and_the_schema_is_opened_again() {
    let mut lane = live_at(1);
    lane.arrive(record(1), Room::Free);
    lane.arrive(record(2), Room::Free);
    lane.begin(ALL, First::Pending);
    lane.told(Told::Undecodable(Kept::confirmed()), Instant::now());
    assert_eq!((offsets(&lane), lane.low_water()), (vec![2], Some(2)));
    let expected = Expected::AtLeast(Some(watermark(1)));
    assert!(
        matches!(lane.begin(ALL, First::Pending), Task::Flush { expected: asked, .. } if asked == expected)
    );
}

#[test]
fn a_lane_whose_organization_is_gone_has_nothing_left_to_look_for() {
    let mut lane = Lane::new();
    lane.found_held();
    assert_eq!((lane.wants(Instant::now()), lane.begin(ALL, First::Pending)), (Wants::Writer, Task::Open));
    lane.told(Told::Gone(Nobody::Removed), Instant::now());
    assert!(lane.is_nowhere() && lane.is_empty(), "it can be forgotten");
}

#[test]
fn a_lane_that_left_a_record_leaves_what_comes_behind_it() {
    let mut lane = lane_with(&[0]);
    assert_eq!(lane.arrive(record(1), Room::None), Arrival::Left);
    assert_eq!(lane.arrive(record(2), Room::Free), Arrival::Left);
    assert_eq!((offsets(&lane), lane.left_from(), lane.low_water()), (vec![0], Some(1), Some(0)));
}

#[test]
fn a_lane_that_left_everything_in_the_log_is_as_late_as_that() {
    let received = |offset: i64| Waiting { received_at: UnixMillis(10 * offset), ..record(offset) };
    let mut lane = Lane::new();
    for offset in 3..6 {
        assert_eq!(lane.arrive(received(offset), Room::None), Arrival::Left);
    }
    assert_eq!(lane.oldest_received_at(), Some(UnixMillis(30)));
    lane.begin_to_catch_up(6);
    lane.catch_up(3, [3, 4].map(received), 5, |_, _| Room::Free);
    assert_eq!(lane.oldest_received_at(), Some(UnixMillis(30)), "in memory now");
    lane.begin(ALL, First::Pending);
    let receipt = Receipt::committed(2, None, watermark(5));
    lane.told(Told::Flushed { receipt, met_duplicates: false }, Instant::now());
    assert_eq!(
        (lane.left_from(), lane.oldest_received_at()),
        (Some(5), Some(UnixMillis(40))),
        "no later than the next"
    );
}

#[test]
fn a_lane_that_catches_up_takes_what_it_left_and_then_what_came_meanwhile() {
    let mut lane = lane_with(&[0]);
    leave(&mut lane, [1, 2]);
    lane.begin_to_catch_up(3);
    assert_eq!(lane.arrive(record(3), Room::Free), Arrival::Waits);
    lane.catch_up(0, [0, 1, 2].map(record), 3, |_, _| Room::Free);
    assert_eq!((offsets(&lane), lane.left_from()), (vec![0, 1, 2, 3], None));
}

#[test]
fn a_lane_without_room_for_all_that_it_left_leaves_the_rest_and_what_came_meanwhile() {
    let mut lane = lane_with(&[0]);
    leave(&mut lane, [1, 2]);
    lane.begin_to_catch_up(3);
    lane.arrive(record(3), Room::Free);
    lane.catch_up(
        1,
        [1, 2].map(record),
        3,
        |_, record| if record.offset < 2 { Room::Free } else { Room::None },
    );
    assert_eq!((offsets(&lane), lane.left_from()), (vec![0, 1], Some(2)));
    assert_eq!(lane.bytes(), 2 * record(0).cost());
}

#[test]
fn a_stretch_that_ends_early_is_gone_on_with_from_its_end() {
    let mut lane = lane_with(&[]);
    leave(&mut lane, [1, 2]);
    lane.begin_to_catch_up(3);
    lane.catch_up(1, [record(1)], 2, |_, _| Room::Free);
    assert_eq!((offsets(&lane), lane.left_from()), (vec![1], Some(2)));
}

/// Found by the model: rows were stored a second time, and the watermark moved back.
#[test]
fn what_came_while_a_lane_caught_up_is_passed_over_where_another_loader_has_stored_it() {
    let (mut lane, now) = (live_at(1), Instant::now());
    lane.arrive(record(1), Room::Free);
    lane.arrive(record(2), Room::None);
    lane.begin_to_catch_up(3);
    lane.arrive(record(3), Room::Free);
    lane.begin(ALL, First::Pending);
    lane.told(Told::Found(Some(watermark(5))), now);
    lane.catch_up(2, [record(2)], 3, |_, _| Room::Free);
    assert_eq!((offsets(&lane), lane.low_water(), lane.bytes()), (vec![], None, 0));
}
