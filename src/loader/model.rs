//! The loader's protocol, explored: [`Lane`](super::lane::Lane) and [`Partition`](super::partition::Partition) themselves,
//! driven through every interleaving of a few records, two loaders, and a few things that go wrong.

mod database;
mod explore;
mod rule;
mod state;
mod step;
mod writer;

use std::time::Instant;

use database::Violation;
use explore::{Explored, explore};
use rule::{Rule, without};
use state::{Config, Faults};

const NONE: Faults =
    Faults { moves: 0, crashes: 0, lost_answers: 0, breaks: 0, removals: 0, no_room: 0, rewinds: 0, drains: 0 };
/// Three records of one organization.
const ONE: &[usize] = &[0, 0, 0];
/// Two organizations.
const TWO: &[usize] = &[0, 1, 0];

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

fn assert_holds(log: &'static [usize], faults: Faults, has_pooler: bool) {
    let config = Config { log, faults, has_pooler };
    let name = format!("{config:?}");
    let explored = look_at(&name, &config);
    assert_eq!(explored.violation.map(|(violation, _)| violation), None, "{name}");
}

#[test]
fn try_some() {
    for (name, faults) in [
        ("none", NONE),
        ("move", Faults { moves: 1, ..NONE }),
        ("crash", Faults { crashes: 1, ..NONE }),
        ("lost", Faults { lost_answers: 1, ..NONE }),
        ("breaks", Faults { breaks: 1, ..NONE }),
        ("room", Faults { no_room: 1, ..NONE }),
        ("room2", Faults { no_room: 2, ..NONE }),
        ("rewind", Faults { rewinds: 1, ..NONE }),
        ("removal", Faults { removals: 1, ..NONE }),
        ("drain", Faults { drains: 1, breaks: 1, ..NONE }),
        ("move breaks", Faults { moves: 1, breaks: 1, ..NONE }),
        ("move room", Faults { moves: 1, no_room: 1, ..NONE }),
    ] {
        for log in [ONE, TWO] {
            let config = Config { log, faults, has_pooler: false };
            look_at(&format!("{name} {log:?}"), &config);
        }
    }
}
