//! Loaders in a world of their own: each is a real [`Dispatcher`](super::dispatcher::Dispatcher) with its anchors; log,
//! Postgres, group and clock are in memory, and a seed decides what happens and what goes wrong.
//!
//! After a while nothing goes wrong any more, and everything has to come to its end: every event has one fate, anchors are
//! at the end of the log, nothing is held. All along no record is doubled, skipped or lost, memory stays within its bound,
//! and a healthy organization waits for no slow one. A failure prints its seed and its last twenty steps.

mod anchoring;
mod cut_off;
mod group;
mod log;
mod plan;
mod process;
mod random;
mod reading;
mod server;
mod world;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};

use super::lane::Rule as OfLane;
use super::model::rule::{Rule, without};
use world::{Failure, World};

/// Once nothing goes wrong any more, everything has settled within this time.
const LONGEST_SETTLING_MS: u64 = 150_000;
/// A healthy organization waits no longer for others.
const LONGEST_WAIT_MS: u64 = 1_000;

/// Simulates; what goes wrong is simulated once more, in words.
fn simulate(seed: u64) -> Result<World, Failure> {
    let mut world = World::new(seed, false);
    match world.run() {
        Ok(()) => Ok(world),
        Err(_) => Err(World::new(seed, true).run().expect_err("the same seed goes the same way")),
    }
}

/// Replays a seed: `assert_settles(42)`.
fn assert_settles(seed: u64) {
    if let Err(Failure { reason, last_steps }) = simulate(seed) {
        last_steps.iter().for_each(|step| eprintln!("{step}"));
        panic!("seed {seed}: {reason}\nreplay it: ./dev simulate --seeds 1 --from {seed}");
    }
}

/// On all cores.
fn assert_all_settle(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let run = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                assert_settles(seed);
            }
        };
        (0..threads).for_each(|_| drop(scope.spawn(run)));
    });
}

/// Does without a rule until that shows, and says when.
fn assert_caught(rule: Rule) {
    const MOST_SEEDS: u64 = 5_000;
    let _without = without(Some(rule));
    let caught =
        (0..MOST_SEEDS).find_map(|seed| World::new(seed, false).run().err().map(|failure| (seed, failure)));
    let Some((seed, failure)) = caught else { panic!("without {rule:?} all is well for {MOST_SEEDS} seeds") };
    eprintln!("without {rule:?}: after {} seeds, {}", seed + 1, failure.reason);
}

#[test]
fn whatever_goes_wrong_everything_settles_and_each_event_has_one_fate() {
    assert_all_settle(0..10_000);
}

#[test]
#[ignore = "as many seeds as wanted: ./dev simulate"]
fn more_seeds() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|number| number.parse().ok());
    let (from, seeds) =
        (number("SIMULATE_FROM").unwrap_or(10_000), number("SIMULATE_SEEDS").unwrap_or(100_000));
    assert_all_settle(from..from + seeds);
    eprintln!("seeds {from} to {}: everything settles", from + seeds - 1);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..50 {
        let [one, other] =
            [(); 2].map(|()| simulate(seed).unwrap_or_else(|failure| panic!("{}", failure.reason)));
        assert_eq!(
            (one.now, one.steps, one.last_number),
            (other.now, other.steps, other.last_number),
            "{seed}"
        );
        assert_eq!(one.server.durable.database, other.server.durable.database, "{seed}");
    }
}

/// Each failed once: a lane that was stuck with what had come behind a stretch that the log did not bring; writers that
/// were all at slow schemas; a slow schema that was to say whether the database is back.
#[test]
fn seeds_that_found_something() {
    [992, 295, 167, 1379, 2731].into_iter().for_each(assert_settles);
}

#[test]
fn a_lane_that_does_not_pass_over_what_is_covered_is_caught() {
    assert_caught(Rule::OfLane(OfLane::PassOverCovered));
}

#[test]
fn a_lane_that_opens_without_looking_for_held_records_is_caught() {
    assert_caught(Rule::OfLane(OfLane::OpenByReadingHeld));
}

#[test]
fn a_lost_answer_that_is_taken_for_a_yes_is_caught() {
    assert_caught(Rule::OfLane(OfLane::LostAnswerIsRead));
}

#[test]
fn a_watermark_that_went_back_and_is_built_upon_is_caught() {
    assert_caught(Rule::OfLane(OfLane::WatermarksNeverGoBack));
}

#[test]
fn a_low_water_mark_past_what_is_left_in_the_log_is_caught() {
    assert_caught(Rule::OfLane(OfLane::WhatIsLeftIsNotSafe));
}

#[test]
fn a_lane_that_catches_up_from_behind_what_it_left_is_caught() {
    assert_caught(Rule::OfLane(OfLane::CatchUpWithoutGap));
}

#[test]
fn a_flush_that_does_not_compare_the_watermark_is_caught() {
    assert_caught(Rule::CompareWatermark);
}

#[test]
fn a_hold_that_moves_the_watermark_is_caught() {
    assert_caught(Rule::HoldLeavesWatermark);
}

#[test]
fn an_offset_that_passes_records_before_they_are_held_is_caught() {
    assert_caught(Rule::HoldBeforeOffset);
}

#[test]
fn a_hold_that_does_not_ask_for_the_removal_is_caught() {
    assert_caught(Rule::HoldAsksForRemoval);
}

#[test]
fn a_drain_out_of_order_is_caught() {
    assert_caught(Rule::DrainInOrder);
}

#[test]
fn a_drain_that_writes_what_is_covered_is_caught() {
    assert_caught(Rule::DrainSkipsCovered);
}

#[test]
fn a_drain_that_deletes_before_it_stores_is_caught() {
    assert_caught(Rule::DrainDeletesWithRows);
}

#[test]
fn a_loader_that_begins_elsewhere_than_at_the_anchor_is_caught() {
    assert_caught(Rule::BeginAtAnchor);
}

#[test]
fn a_loader_that_remembers_what_another_server_confirmed_is_caught() {
    assert_caught(Rule::IdentityGoesWithConnection);
}

#[test]
fn a_lane_that_opens_without_asking_which_server_this_is_is_caught() {
    assert_caught(Rule::OpeningReadsIdentity);
}

#[test]
fn an_anchor_that_is_written_without_asking_which_server_this_is_is_caught() {
    assert_caught(Rule::AnchorReadsIdentity);
}
