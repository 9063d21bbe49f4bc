//! Every state that can be reached, breadth first, so that the first violation found has the shortest way to it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::rule::Rules;
use super::state::{Faults, RECORDS, State};
use super::step::{Step, Violation, steps};

/// What a search came to.
pub(super) struct Explored {
    /// How many different states there are.
    pub(super) states: usize,
    /// The first violation, and what led to it.
    pub(super) violation: Option<(Violation, Vec<Step>)>,
}

/// A state, how it was first reached, and what happens next if nothing goes wrong any more.
struct Visited {
    state: State,
    from: Option<(u32, Step)>,
    settles_to: Option<u32>,
}

/// Looks at everything that can happen with so much going wrong.
pub(super) fn explore(faults: Faults, rules: Rules) -> Explored {
    let start = State::start(faults);
    let mut seen: HashMap<u64, u32, BuildHasherDefault<Spread>> = HashMap::default();
    let mut visited = vec![Visited { state: start, from: None, settles_to: None }];
    seen.insert(start.key(), 0);
    let mut at = 0;
    while at < visited.len() {
        let state = visited[at].state;
        let number = u32::try_from(at).expect("fewer states than that");
        let (mut violation, mut most_urgent) = (None, None);
        steps(&state, rules, &mut |step, next| {
            let next = match next {
                Ok(next) => next,
                Err(violated) => {
                    violation.get_or_insert((violated, step));
                    return;
                }
            };
            let new = u32::try_from(visited.len()).expect("fewer states than that");
            let index = *seen.entry(next.key()).or_insert(new);
            if index == new {
                visited.push(Visited { state: next, from: Some((number, step)), settles_to: None });
            }
            if !step.what.is_trouble() && most_urgent.is_none_or(|(what, _)| step.what < what) {
                most_urgent = Some((step.what, index));
            }
        });
        if let Some((violated, step)) = violation {
            let mut trace = trace(&visited, number);
            trace.push(step);
            return Explored { states: visited.len(), violation: Some((violated, trace)) };
        }
        visited[at].settles_to = most_urgent.map(|(_, index)| index);
        at += 1;
    }
    let violation =
        first_unsettled(&visited).map(|unsettled| (Violation::DoesNotSettle, trace(&visited, unsettled)));
    Explored { states: visited.len(), violation }
}

/// The first state from which, with nothing going wrong any more, things do not come to their end.
fn first_unsettled(visited: &[Visited]) -> Option<u32> {
    const LONGEST: usize = 200;
    let mut settles = vec![false; visited.len()];
    for start in 0..visited.len() {
        let mut path = Vec::new();
        let mut at = start;
        while !settles[at] && !is_settled(&visited[at].state) {
            path.push(at);
            at = match visited[at].settles_to {
                Some(next) if path.len() < LONGEST => usize::try_from(next).expect("an index"),
                _ => return Some(u32::try_from(start).expect("an index")),
            };
        }
        settles[at] = true;
        path.into_iter().for_each(|index| settles[index] = true);
    }
    None
}

/// Every record is stored once, or written down; nothing is held; the log need not be read again.
fn is_settled(state: &State) -> bool {
    let all_safe = (0..RECORDS).all(|offset| state.is_safe(offset));
    all_safe && state.held.is_empty() && state.transaction.is_none() && state.committed == RECORDS
}

fn trace(visited: &[Visited], to: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = to;
    while let Some((before, step)) = visited[usize::try_from(at).expect("an index")].from {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    steps
}

/// States are their own keys; multiplying spreads them.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).expect("64 bits");
    }
}
