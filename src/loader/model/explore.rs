//! Every state that can be reached, breadth first, so that the first violation found has the shortest way to it.

use std::collections::{HashMap, VecDeque};

use super::database::Violation;
use super::state::{Config, State};
use super::step::{Step, What, steps};

/// What a search came to.
pub(super) struct Explored {
    /// How many different states there are.
    pub(super) states: usize,
    /// The first violation, and what led to it.
    pub(super) violation: Option<(Violation, Vec<Step>)>,
}

/// How a state was first reached, and what happens next if nothing goes wrong any more.
struct Visited {
    from: Option<(usize, Step)>,
    settles_to: Option<usize>,
    is_settled: bool,
}

/// Looks at everything that can happen.
pub(super) fn explore(config: &Config) -> Explored {
    let start = State::start(config);
    let mut seen: HashMap<u64, usize, foldhash::fast::FixedState> = HashMap::default();
    seen.insert(start.digest(), 0);
    let mut visited = vec![Visited { from: None, settles_to: None, is_settled: false }];
    let mut frontier = VecDeque::from([start]);
    let mut at = 0;
    while let Some(state) = frontier.pop_front() {
        let (mut violation, mut most_urgent): (_, Option<(What, usize)>) = (None, None);
        steps(&state, config, &mut |step, next| {
            let next = match next {
                Ok(next) => next,
                Err(violated) => {
                    violation.get_or_insert((violated, step));
                    return;
                }
            };
            let index = *seen.entry(next.digest()).or_insert(visited.len());
            if index == visited.len() {
                visited.push(Visited { from: Some((at, step)), settles_to: None, is_settled: false });
                frontier.push_back(next);
            }
            // Some steps change nothing.
            if index != at && !step.what.is_trouble() && most_urgent.is_none_or(|(what, _)| step.what < what)
            {
                most_urgent = Some((step.what, index));
            }
        });
        if let Some((violated, step)) = violation {
            let mut trace = trace(&visited, at);
            trace.push(step);
            return Explored { states: visited.len(), violation: Some((violated, trace)) };
        }
        visited[at].settles_to = most_urgent.map(|(_, index)| index);
        visited[at].is_settled = state.is_settled(config);
        at += 1;
    }
    let violation =
        first_unsettled(&visited).map(|unsettled| (Violation::DoesNotSettle, trace(&visited, unsettled)));
    Explored { states: visited.len(), violation }
}

/// The first state from which, with nothing going wrong any more, things do not come to their end.
fn first_unsettled(visited: &[Visited]) -> Option<usize> {
    const LONGEST: usize = 200;
    let mut settles = vec![false; visited.len()];
    for start in 0..visited.len() {
        let mut path = Vec::new();
        let mut at = start;
        while !settles[at] && !visited[at].is_settled {
            path.push(at);
            at = match visited[at].settles_to {
                Some(next) if path.len() < LONGEST => next,
                _ => return Some(start),
            };
        }
        settles[at] = true;
        path.into_iter().for_each(|index| settles[index] = true);
    }
    None
}

fn trace(visited: &[Visited], to: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = to;
    while let Some((before, step)) = visited[at].from {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    steps
}
