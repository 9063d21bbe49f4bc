//! The loader's protocol, explored: [`Lane`](super::lane::Lane) and [`Partition`](super::partition::Partition) themselves,
//! driven through every interleaving of a few records, two loaders, and a few things that go wrong.
//!
//! A step is what happens between two moments at which somebody else could come in between ([`step::What`]). The
//! database is in [`database`], with what each function stands for; the receive loop is in [`step`] and [`writer`]:
//!
//! | step | in `src/loader/` |
//! | --- | --- |
//! | `Begins`, `Revoked` | `receive.rs`: `begin`; `revoked` and what becomes of writers that are not waited for |
//! | `Arrives`, `ReadsAgain`, `Brought`, `FindsHeld` | `dispatcher.rs`: `arrive`, `found_held`; `dispatcher/catching_up.rs` |
//! | `WritesAll`, `WritesOne` | `Dispatcher::next`, with a batch of all that is pending, or of one record; then `writer/perform.rs` up to its first wait |
//! | `DrainsFirst`, `DrainsOneFirst` | the same of a held lane whose drain is due though records are pending |
//! | `Locks`, `Commits` | `writer/flush.rs` and `held_record.rs`: the watermark's lock, and what follows; the commit |
//! | `MovesAnchor` | `receive/anchors.rs` and `anchor.rs` |
//! | `BeginsAgain` | `receive.rs`: `Ended::Rewound` |
//! | `LateHoldLands`, `OrphanCommits` and their opposites | a statement that reached the server, whose client is gone |
//!
//! It is harsher than the real thing: a lane drains and tries again whenever it likes, two drains are at it at once, a
//! loader that lost its partition goes on for as long as it likes and moves anchors, too. It leaves out rows, dead letters
//! and time, which the [simulator](super::simulator) has.

pub(super) mod database;
mod explore;
pub(super) mod rule;
mod state;
mod step;
mod writer;

use std::time::Instant;

use super::lane::Rule as OfLane;
use database::Violation;
use explore::{Explored, explore};
use rule::{Rule, without};
use state::{Config, Faults, Log};

const NONE: Faults = Faults {
    moves: 0,
    crashes: 0,
    lost_answers: 0,
    breaks: 0,
    removals: 0,
    no_room: 0,
    rewinds: 0,
    drains: 0,
};
/// Three records of one organization.
const ONE: [usize; 3] = [0, 0, 0];
/// Two organizations.
const TWO: [usize; 3] = [0, 1, 0];

/// Explores, and shows what came of it.
fn look_at(name: &str, config: &Config) -> Explored {
    let begun = Instant::now();
    let explored = explore(config);
    eprintln!("{name}: {} states in {:.1} s", explored.states, begun.elapsed().as_secs_f32());
    if let Some((violation, trace)) = &explored.violation {
        eprintln!("{violation:?}, in {} steps:", trace.len());
        trace.iter().for_each(|step| eprintln!("  {step}"));
    }
    explored
}

fn assert_holds(log: [usize; 3], faults: Faults) {
    assert_config_holds(&Config { log: Log::of(&log), faults, has_pooler: false });
}

fn assert_holds_behind_a_pooler(log: [usize; 3], faults: Faults) {
    assert_config_holds(&Config { log: Log::of(&log), faults, has_pooler: true });
}

fn assert_config_holds(config: &Config) {
    let name = format!("{:?}", config.faults);
    let explored = look_at(&name, config);
    assert_eq!(explored.violation.map(|(violation, _)| violation), None, "{name}");
}

fn assert_caught(rule: Rule, faults: Faults, has_pooler: bool, expected: Violation) {
    let _without = without(Some(rule));
    let config = Config { log: Log::of(&TWO), faults, has_pooler };
    let explored = look_at(&format!("without {rule:?}"), &config);
    assert_eq!(explored.violation.map(|(violation, _)| violation), Some(expected), "without {rule:?}");
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_loader_is_a_zombie_and_one_crashes() {
    assert_holds(ONE, Faults { moves: 1, crashes: 1, ..NONE });
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_loader_is_a_zombie_and_an_answer_is_lost() {
    assert_holds(ONE, Faults { moves: 1, lost_answers: 1, ..NONE });
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_partition_moves_twice() {
    assert_holds(ONE, Faults { moves: 2, ..NONE });
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_schema_breaks_an_answer_is_lost_and_a_loader_crashes() {
    assert_holds(ONE, Faults { crashes: 1, lost_answers: 1, breaks: 1, ..NONE });
    assert_holds(ONE, Faults { breaks: 1, drains: 1, ..NONE });
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_lanes_leave_records_in_the_log() {
    assert_holds(TWO, Faults { no_room: 2, ..NONE });
    assert_holds(TWO, Faults { no_room: 1, breaks: 1, ..NONE });
    assert_holds(ONE, Faults { no_room: 2, crashes: 1, ..NONE });
}

/// Found by the model: another loader stored what had come behind the records that were read again.
#[test]
fn what_came_while_a_lane_caught_up_is_passed_over_where_another_loader_has_stored_it() {
    assert_holds(ONE, Faults { moves: 1, no_room: 1, ..NONE });
}

#[test]
fn nothing_is_held_for_an_organization_that_is_removed_in_the_middle() {
    assert_holds(ONE, Faults { moves: 1, removals: 1, ..NONE });
    assert_holds(ONE, Faults { crashes: 1, lost_answers: 1, removals: 1, no_room: 1, ..NONE });
    assert_holds(TWO, Faults { breaks: 1, removals: 1, ..NONE });
}

#[test]
fn nothing_is_lost_when_the_database_goes_back() {
    assert_holds(TWO, Faults { rewinds: 2, crashes: 1, ..NONE });
    assert_holds(ONE, Faults { rewinds: 1, moves: 1, ..NONE });
    assert_holds(ONE, Faults { rewinds: 1, breaks: 1, no_room: 1, ..NONE });
}

#[test]
fn nothing_is_lost_when_the_database_goes_back_and_a_pooler_hides_it() {
    assert_holds_behind_a_pooler(TWO, Faults { rewinds: 2, ..NONE });
    assert_holds_behind_a_pooler(TWO, Faults { rewinds: 1, lost_answers: 1, ..NONE });
    assert_holds_behind_a_pooler(ONE, Faults { rewinds: 1, breaks: 1, ..NONE });
}

#[test]
#[ignore = "half an hour without optimization: for changes of the protocol, with --release"]
fn nothing_is_lost_doubled_or_skipped_when_much_of_it_happens_at_once() {
    let zombie = Faults { moves: 1, ..NONE };
    let all_of_it = [
        Faults { crashes: 1, ..zombie },
        Faults { breaks: 1, ..zombie },
        Faults { crashes: 1, lost_answers: 1, ..zombie },
        Faults { no_room: 2, ..zombie },
        Faults { no_room: 1, lost_answers: 1, ..zombie },
        Faults { lost_answers: 1, removals: 1, ..zombie },
        Faults { no_room: 1, rewinds: 1, ..zombie },
        Faults { crashes: 1, breaks: 1, lost_answers: 1, no_room: 1, ..NONE },
        Faults { crashes: 1, lost_answers: 1, removals: 1, breaks: 1, no_room: 1, ..NONE },
        Faults { rewinds: 2, lost_answers: 1, breaks: 1, ..NONE },
        Faults { moves: 2, no_room: 1, ..NONE },
    ];
    for faults in all_of_it {
        assert_holds(ONE, faults);
        // Two loaders that hold for the whole time have too many ways for two organizations.
        if faults.moves == 0 || faults.breaks == 0 {
            assert_holds(TWO, faults);
            assert_holds_behind_a_pooler(TWO, faults);
        }
    }
}

#[test]
fn a_lane_that_does_not_pass_over_what_is_covered_doubles_rows() {
    let rule = Rule::OfLane(OfLane::PassOverCovered);
    assert_caught(rule, Faults { moves: 1, ..NONE }, false, Violation::Doubled);
}

#[test]
fn a_lane_that_opens_without_looking_for_held_records_skips_them() {
    let rule = Rule::OfLane(OfLane::OpenByReadingHeld);
    assert_caught(rule, Faults { breaks: 1, crashes: 1, ..NONE }, false, Violation::Skipped);
}

#[test]
fn a_lost_answer_that_is_taken_for_a_yes_loses_records() {
    let rule = Rule::OfLane(OfLane::LostAnswerIsRead);
    assert_caught(rule, Faults { lost_answers: 1, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn a_watermark_that_went_back_and_is_built_upon_skips_records() {
    let rule = Rule::OfLane(OfLane::WatermarksNeverGoBack);
    assert_caught(rule, Faults { rewinds: 1, ..NONE }, true, Violation::Skipped);
}

#[test]
fn a_low_water_mark_past_what_is_left_in_the_log_is_too_high() {
    let rule = Rule::OfLane(OfLane::WhatIsLeftIsNotSafe);
    assert_caught(rule, Faults { no_room: 1, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn a_lane_that_catches_up_from_behind_what_it_left_loses_records() {
    let rule = Rule::OfLane(OfLane::CatchUpWithoutGap);
    assert_caught(rule, Faults { no_room: 2, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn without_comparing_the_watermark_rows_are_doubled() {
    assert_caught(Rule::CompareWatermark, Faults { moves: 1, ..NONE }, false, Violation::Doubled);
}

#[test]
fn a_hold_that_moves_the_watermark_skips_records() {
    assert_caught(Rule::HoldLeavesWatermark, Faults { breaks: 1, ..NONE }, false, Violation::Skipped);
}

#[test]
fn a_low_water_mark_that_passes_records_before_they_are_held_is_too_high() {
    assert_caught(Rule::HoldBeforeOffset, Faults { breaks: 1, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn a_hold_that_does_not_ask_for_the_removal_holds_for_nobody() {
    let faults = Faults { breaks: 1, removals: 1, ..NONE };
    assert_caught(Rule::HoldAsksForRemoval, faults, false, Violation::HeldForNobody);
}

#[test]
fn a_drain_out_of_order_skips_records() {
    assert_caught(Rule::DrainInOrder, Faults { breaks: 1, ..NONE }, false, Violation::Skipped);
}

#[test]
fn a_drain_that_writes_what_is_covered_doubles_rows() {
    let faults = Faults { breaks: 1, moves: 1, ..NONE };
    assert_caught(Rule::DrainSkipsCovered, faults, false, Violation::Doubled);
}

#[test]
fn a_drain_that_deletes_before_it_stores_lets_go_of_records() {
    assert_caught(
        Rule::DrainDeletesWithRows,
        Faults { breaks: 1, ..NONE },
        false,
        Violation::LowWaterTooHigh,
    );
}

#[test]
fn a_loader_that_begins_where_the_group_has_committed_loses_what_the_database_forgot() {
    assert_caught(Rule::BeginAtAnchor, Faults { rewinds: 1, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn a_loader_that_remembers_what_another_server_confirmed_loses_records() {
    let rule = Rule::IdentityGoesWithConnection;
    assert_caught(rule, Faults { rewinds: 1, ..NONE }, false, Violation::LowWaterTooHigh);
}

#[test]
fn an_anchor_that_is_written_without_asking_which_server_this_is_loses_records() {
    assert_caught(Rule::AnchorReadsIdentity, Faults { rewinds: 1, ..NONE }, true, Violation::Lost);
}

#[test]
fn a_lane_that_opens_without_asking_which_server_this_is_skips_records() {
    let faults = Faults { rewinds: 1, crashes: 1, ..NONE };
    assert_caught(Rule::OpeningReadsIdentity, faults, true, Violation::Skipped);
}
