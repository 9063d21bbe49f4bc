//! The loader's protocol, explored: every interleaving of one organization's three records, two loaders, and a few things
//! that go wrong. No server is needed: this is the design alone, with a switch for each of its rules.
//!
//! A step is what the real code does between two moments at which somebody else could come in between. What stands for
//! what ([`step::What`]):
//!
//! | step | in `src/loader/`, unless said otherwise |
//! | --- | --- |
//! | `Assigned`, `Revoked`, `Lost` | `log/kafka/consumer/group.rs`: `assign`; `revoke`, with and without the last commit; `Partition::close` |
//! | `Route`, `OpenLaneWithHeld` | `Partition::route` and `start_lane`; `ReceiveLoop::look_for_held` and `Partition::drain_lane` |
//! | `CommitOffset` | `ReceiveLoop::commit_and_measure`: what `Progress::next_offset` says |
//! | `Open` | `Lane::in_schema` and `held_record::open`; then `Lane::pass_over_covered` |
//! | `Flush`, `FlushIsStale` | `Home::prepare` and `writer::flush`: the watermark locked and compared, rows written, watermark moved |
//! | `Commit`, `CommitAnswerLost`, `Disconnected` | the end of `flush::flush` or `drain_some`, and what `Lane::settle` makes of it |
//! | `Refused`, `SchemaGone` | `Refusal::Schema` or `Slow`: to `Lane::held` |
//! | `SpillCopies`, `Spill`, `SpillCutOff` | `Spill::run` beside the flush of `Lane::try_flush`: `Home::hold_copies`, `Home::hold`, and that dropped in the middle |
//! | `Hold`, `HoldAnswerLost` | `Home::hold` and `held_record::hold`, in `Lane::held`: also beside a probe, but for the last |
//! | `DrainReads`, `DrainFindsNone`, `DrainWrites` | `Home::probe` and `held_record::drain_some`: its lock and first query; the rest up to its commit |
//! | `DrainedByAnother` | `drain::drain_partition`, for a person or for `former::drain_former_generations` |
//! | `FoundHeld`, `FoundHeldBefore` | the same look, and `Home::found_held`: a live lane opens again; it may be told late |
//! | `WriteDown` | `Lane::write_down_first` |
//! | `Idle` | `Lane::collect`, after a minute without records |
//! | `Removed` | `store/removal.rs` |
//! | `OrphanCommits`, `LateHoldLands` and their opposites | a statement that reached the server, whose client is gone |
//!
//! It is harsher than the real thing in some ways: Kafka fences the offsets of a loader that lost its partition, here they
//! count; a lane probes and idles whenever it likes, spills with any amount of memory, and probes before it has held what it
//! has. It leaves out what is below it: rows, dead letters, retention; and the copies of a spill that land late.

mod explore;
mod rule;
mod state;
mod step;

use std::time::Instant;

use explore::{Explored, explore};
use rule::{Rule, Rules};
use state::Faults;
use step::Violation;

const NONE: Faults = Faults { moves: 0, crashes: 0, lost_answers: 0, breaks: 0, removals: 0, spills: 0 };

/// Explores, and shows what came of it.
fn look_at(name: &str, faults: Faults, rules: Rules) -> Explored {
    let begun = Instant::now();
    let explored = explore(faults, rules);
    eprintln!("{name}: {} states in {:.1} s", explored.states, begun.elapsed().as_secs_f32());
    if let Some((violation, trace)) = &explored.violation {
        eprintln!("{violation:?}, in {} steps:", trace.len());
        trace.iter().for_each(|step| eprintln!("  {step}"));
    }
    explored
}

fn assert_holds(name: &str, faults: Faults, rules: Rules) {
    let explored = look_at(name, faults, rules);
    assert_eq!(explored.violation.map(|(violation, _)| violation), None, "{name}");
}

fn assert_caught(rule: Rule, expected: Violation) {
    let faults = Faults { moves: 1, crashes: 1, lost_answers: 1, breaks: 1, removals: 0, spills: 1 };
    let explored = look_at(&format!("without {rule:?}"), faults, Rules::without(rule));
    assert_eq!(explored.violation.map(|(violation, _)| violation), Some(expected), "without {rule:?}");
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_loader_is_a_zombie_and_one_crashes() {
    assert_holds("a crash", Faults { moves: 1, crashes: 1, ..NONE }, Rules::ALL);
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_loader_is_a_zombie_and_an_answer_is_lost() {
    assert_holds("a lost answer", Faults { moves: 1, lost_answers: 1, ..NONE }, Rules::ALL);
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_partition_moves_twice() {
    assert_holds("two moves", Faults { moves: 2, ..NONE }, Rules::ALL);
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_lane_spills_beside_a_zombie() {
    assert_holds("a zombie and a spill", Faults { moves: 1, spills: 1, ..NONE }, Rules::ALL);
}

#[test]
fn nothing_is_lost_doubled_or_skipped_when_a_lane_spills_a_schema_breaks_an_answer_is_lost_and_a_loader_crashes()
 {
    let faults = Faults { crashes: 1, lost_answers: 1, breaks: 1, spills: 2, ..NONE };
    assert_holds("two spills, a lost answer and a crash", faults, Rules::ALL);
}

#[test]
fn nothing_is_held_for_an_organization_that_is_removed_in_the_middle() {
    assert_holds("a zombie and a removal", Faults { moves: 1, removals: 1, ..NONE }, Rules::ALL);
    let faults = Faults { crashes: 1, lost_answers: 1, removals: 1, spills: 1, ..NONE };
    assert_holds("a spill and a removal", faults, Rules::ALL);
}

#[test]
#[ignore = "some minutes and 850 MB: for changes of the protocol"]
fn nothing_is_lost_doubled_or_skipped_when_much_of_it_happens_at_once() {
    let zombie = Faults { moves: 1, ..NONE };
    let all_of_it = [
        Faults { crashes: 1, lost_answers: 1, breaks: 1, ..zombie },
        Faults { lost_answers: 1, spills: 1, ..zombie },
        Faults { crashes: 1, spills: 1, ..zombie },
        Faults { breaks: 1, spills: 1, ..zombie },
        Faults { lost_answers: 1, removals: 1, ..zombie },
        Faults { removals: 1, spills: 1, ..zombie },
        Faults { moves: 2, breaks: 1, ..NONE },
        Faults { moves: 2, spills: 1, ..NONE },
    ];
    all_of_it.into_iter().for_each(|faults| assert_holds(&format!("{faults:?}"), faults, Rules::ALL));
}

#[test]
fn without_comparing_the_watermark_rows_are_doubled() {
    assert_caught(Rule::CompareWatermark, Violation::Doubled);
}

#[test]
fn without_passing_over_what_is_covered_rows_are_doubled() {
    assert_caught(Rule::SkipCovered, Violation::Doubled);
}

#[test]
fn a_lane_that_opens_without_looking_for_held_records_skips_them() {
    assert_caught(Rule::OpenByReadingHeld, Violation::Skipped);
}

#[test]
fn an_offset_that_is_committed_before_the_hold_loses_records() {
    assert_caught(Rule::HoldBeforeOffset, Violation::Lost);
}

#[test]
fn a_hold_that_moves_the_watermark_skips_records() {
    assert_caught(Rule::HoldLeavesWatermark, Violation::Skipped);
}

#[test]
fn newer_records_that_do_not_queue_behind_held_ones_skip_them() {
    assert_caught(Rule::QueueBehindHeld, Violation::Skipped);
}

#[test]
fn a_drain_out_of_order_skips_records() {
    assert_caught(Rule::DrainInOrder, Violation::Skipped);
}

#[test]
fn a_drain_that_writes_what_is_covered_doubles_rows() {
    assert_caught(Rule::DrainSkipsCovered, Violation::Doubled);
}

#[test]
fn a_drain_that_deletes_in_a_transaction_of_its_own_loses_records() {
    assert_caught(Rule::DrainDeletesWithRows, Violation::Lost);
}

#[test]
fn a_lost_answer_that_is_taken_for_a_yes_loses_records() {
    assert_caught(Rule::LostAnswerIsRead, Violation::Lost);
}

#[test]
fn a_hold_that_does_not_ask_for_the_removal_holds_for_nobody() {
    let rule = Rule::HoldAsksForRemoval;
    let explored =
        look_at("without HoldAsksForRemoval", Faults { moves: 1, removals: 1, ..NONE }, Rules::without(rule));
    assert_eq!(explored.violation.map(|(violation, _)| violation), Some(Violation::HeldForNobody));
}

#[test]
fn a_lane_that_stays_live_after_it_has_begun_to_spill_skips_what_it_held() {
    assert_caught(Rule::SpillLeavesLive, Violation::Skipped);
}

#[test]
fn a_spill_that_does_not_begin_with_the_flush_in_flight_skips_records() {
    assert_caught(Rule::SpillFromTheFront, Violation::Skipped);
}

/// These save work, and nothing rests on them: a drain that came in between is found by comparing the watermark, opening
/// looks again for what was held beside a probe, and what somebody holds beside a live lane is in that lane, too.
#[test]
fn a_torn_opening_two_drains_at_once_a_hold_beside_the_last_probe_and_one_that_nobody_finds_break_nothing() {
    let faults = Faults { moves: 1, breaks: 1, ..NONE };
    for rule in [Rule::OneSnapshot, Rule::DrainLock, Rule::LastProbeAlone, Rule::LookBesideLive] {
        assert_holds(&format!("without {rule:?}"), faults, Rules::without(rule));
    }
}
