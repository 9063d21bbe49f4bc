//! Who is next at the work that takes a processor: a value without a clock and without anything that waits.
//!
//! Each organization has a line of its own, and they take turns; strangers share one, and come after all others. So an
//! organization that sends too much only makes its own line long.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::tenant::OrganizationId;

/// A line whose first has waited for longer than this shows that more comes than can be done. Where room is short, and for
/// strangers always, it is about what those wait at most who are let in.
pub(super) const LONG_WAIT: Duration = Duration::from_millis(100);
/// What an organization waits at most even where there is room for all that it sends: a client that waits for its reply
/// hears sooner from another process.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// While others wait, so many of them go before a stranger: who sends the key in the body is late then, but not for ever.
const BEFORE_A_STRANGER: u32 = 8;

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intake) enum Owner {
    /// Of the organization whose live key the headers name.
    Organization(OrganizationId),
    /// Of all whose headers name none.
    Strangers,
}

/// All lines, of whatever waits in them.
#[derive(Debug)]
pub(super) struct Queue<W> {
    /// Lines in which somebody waits.
    organizations: HashMap<OrganizationId, VecDeque<Waiting<W>>>,
    /// The same organizations, the next first.
    round: VecDeque<OrganizationId>,
    strangers: VecDeque<Waiting<W>>,
    /// How many went before the first of the strangers.
    gone_before: u32,
}

#[derive(Debug)]
struct Waiting<W> {
    since: Instant,
    who: W,
}

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self {
            organizations: HashMap::new(),
            round: VecDeque::new(),
            strangers: VecDeque::new(),
            gone_before: 0,
        }
    }

    /// Puts one more at the end of its owner's line.
    pub(super) fn push(&mut self, owner: Owner, who: W, now: Instant) {
        let waiting = Waiting { since: now, who };
        match owner {
            Owner::Strangers => self.strangers.push_back(waiting),
            Owner::Organization(id) => {
                let line = self.organizations.entry(id).or_default();
                if line.is_empty() {
                    self.round.push_back(id);
                }
                line.push_back(waiting);
            }
        }
    }

    /// Takes the next one out.
    pub(super) fn pop(&mut self, may_be_stranger: bool) -> Option<(Owner, W)> {
        let is_strangers_turn = self.round.is_empty() || self.gone_before >= BEFORE_A_STRANGER;
        if may_be_stranger
            && is_strangers_turn
            && let Some(waiting) = self.strangers.pop_front()
        {
            self.gone_before = 0;
            return Some((Owner::Strangers, waiting.who));
        }
        let id = self.round.pop_front()?;
        let line = self.organizations.get_mut(&id)?;
        let waiting = line.pop_front()?;
        if line.is_empty() {
            self.organizations.remove(&id);
        } else {
            self.round.push_back(id);
        }
        self.gone_before = if self.strangers.is_empty() { 0 } else { self.gone_before + 1 };
        Some((Owner::Organization(id), waiting.who))
    }

    /// Whether somebody waits in this owner's line.
    pub(super) fn is_waiting(&self, owner: Owner) -> bool {
        self.first(owner).is_some()
    }

    /// Whether the first of this owner's line has waited for too long. A line delays nobody but its own organization; what it
    /// takes from others is room.
    pub(super) fn is_late(&self, owner: Owner, is_room_short: bool, now: Instant) -> bool {
        let patience = match owner {
            Owner::Organization(_) if !is_room_short => LONGEST_WAIT,
            Owner::Organization(_) | Owner::Strangers => LONG_WAIT,
        };
        self.first(owner).is_some_and(|first| now.saturating_duration_since(first.since) > patience)
    }

    fn first(&self, owner: Owner) -> Option<&Waiting<W>> {
        match owner {
            Owner::Strangers => self.strangers.front(),
            Owner::Organization(id) => self.organizations.get(&id)?.front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ACME: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(1)));
    const BIRCH: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(2)));
    const CEDAR: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(3)));

    fn queue(waiting: &[(Owner, usize)]) -> Queue<usize> {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (owner, count) in waiting {
            (0..*count).for_each(|who| queue.push(*owner, who, now));
        }
        queue
    }

    fn owners(mut queue: Queue<usize>) -> Vec<(Owner, usize)> {
        std::iter::from_fn(|| queue.pop(true)).collect()
    }

    #[test]
    fn organizations_take_turns_however_much_one_of_them_sends() {
        let order = owners(queue(&[(ACME, 4), (BIRCH, 2), (CEDAR, 1)]));
        assert_eq!(
            order,
            [(ACME, 0), (BIRCH, 0), (CEDAR, 0), (ACME, 1), (BIRCH, 1), (ACME, 2), (ACME, 3)],
            "first come, first served within a line"
        );
    }

    #[test]
    fn one_that_comes_late_waits_for_one_of_each_other_organization_and_for_no_stranger() {
        let mut queue = queue(&[(Owner::Strangers, 50), (ACME, 50)]);
        assert_eq!(queue.pop(true), Some((ACME, 0)));
        queue.push(BIRCH, 7, Instant::now());
        assert_eq!([queue.pop(true), queue.pop(true)], [Some((ACME, 1)), Some((BIRCH, 7))]);
    }

    #[test]
    fn strangers_come_last_but_not_never() {
        let order = owners(queue(&[(Owner::Strangers, 3), (ACME, 20)]));
        let at = |owner| (0..order.len()).filter(|at| order[*at].0 == owner).collect::<Vec<_>>();
        assert_eq!(at(Owner::Strangers), [8, 17, 22]);
        // One that comes later does not profit from those who went before another one.
        let mut queue = queue(&[(ACME, 20)]);
        (0..15).for_each(|_| assert!(matches!(queue.pop(true), Some((ACME, _)))));
        queue.push(Owner::Strangers, 0, Instant::now());
        assert!(matches!(queue.pop(true), Some((ACME, _))));
    }

    #[test]
    fn who_may_not_take_a_stranger_finds_none() {
        let mut queue = queue(&[(Owner::Strangers, 1)]);
        assert_eq!(queue.pop(false), None);
        assert_eq!(queue.pop(true), Some((Owner::Strangers, 0)));
        assert_eq!(queue.pop(true), None);
    }

    #[test]
    fn only_the_line_whose_first_has_waited_for_long_is_late() {
        let (mut queue, start) = (Queue::new(), Instant::now());
        let later = start + LONG_WAIT + Duration::from_millis(1);
        queue.push(ACME, 0, start);
        queue.push(ACME, 1, later);
        queue.push(BIRCH, 0, later);
        queue.push(Owner::Strangers, 0, later);
        let late = |queue: &Queue<usize>| {
            [ACME, BIRCH, CEDAR, Owner::Strangers].map(|o| queue.is_late(o, true, later))
        };
        assert_eq!(late(&queue), [true, false, false, false]);
        assert_eq!(queue.pop(true), Some((ACME, 0)));
        assert_eq!(late(&queue), [false; 4]);
    }

    #[test]
    fn an_organization_that_takes_no_room_from_others_may_wait_for_longer_and_strangers_may_not() {
        let (queue, now) = (queue(&[(ACME, 2), (Owner::Strangers, 2)]), Instant::now());
        let late = |owner, is_room_short, after| queue.is_late(owner, is_room_short, now + after);
        let (long, longest) = (LONG_WAIT + Duration::from_millis(1), LONGEST_WAIT + Duration::from_millis(1));
        assert_eq!([late(ACME, true, long), late(ACME, false, long)], [true, false]);
        assert!(late(ACME, false, longest), "not for ever");
        assert!(late(Owner::Strangers, false, long));
    }
}
