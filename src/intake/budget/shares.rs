//! How much there is, who holds how much of it, and who may have more: a value that neither waits nor locks.
//!
//! The rule is the dynamic threshold of switches that share one buffer (Choudhury and Hahne, 1998): an organization may
//! hold at most as much as is still free. One alone comes to a half, two that take all they can to a third each, `n` of them
//! to one part in `n + 1` each; so there is always as much left for the next one, and nobody has to say who they are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::intake::turn::Owner;
use crate::tenant::OrganizationId;

/// One amount of bytes, and its holders.
#[derive(Debug)]
pub(super) struct Shares {
    bytes: usize,
    free: usize,
    /// Organizations that hold something.
    organizations: HashMap<OrganizationId, Share>,
}

/// What one organization holds.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    bytes: usize,
    requests: usize,
}

/// There is no room, or it is left to others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Shares {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, free: bytes, organizations: HashMap::new() }
    }

    /// Whether less than half of it is left, or of what this owner may have.
    pub(super) fn is_short(&self, owner: Owner) -> bool {
        self.free < self.bytes / 2 || self.held(owner).bytes > self.free / 2
    }

    /// A request takes its first bytes.
    pub(super) fn begin(&mut self, owner: Owner, bytes: usize) -> Result<(), Full> {
        self.take(owner, bytes, 1)
    }

    /// A request takes so many more.
    pub(super) fn grow(&mut self, owner: Owner, bytes: usize) -> Result<(), Full> {
        self.take(owner, bytes, 0)
    }

    /// A request gives so many of its bytes back.
    pub(super) fn shrink(&mut self, owner: Owner, bytes: usize) {
        self.give_back(owner, bytes, 0);
    }

    /// A request ends, and gives the rest of its bytes back.
    pub(super) fn end(&mut self, owner: Owner, bytes: usize) {
        self.give_back(owner, bytes, 1);
    }

    /// Strangers are no organization, and have a budget of their own: they share it as it comes.
    fn held(&self, owner: Owner) -> Share {
        match owner {
            Owner::Organization(id) => self.organizations.get(&id).copied().unwrap_or_default(),
            Owner::Strangers => Share::default(),
        }
    }

    fn take(&mut self, owner: Owner, bytes: usize, requests: usize) -> Result<(), Full> {
        let free = self.free.checked_sub(bytes).ok_or(Full)?;
        if let Owner::Organization(id) = owner {
            let held = self.held(owner);
            let wanted = Share { bytes: held.bytes + bytes, requests: held.requests + requests };
            // The only request that there is takes room from nobody: else the largest would never fit in a small budget.
            let is_only_one = wanted.requests == 1 && wanted.bytes + free == self.bytes;
            if wanted.bytes > free && !is_only_one {
                return Err(Full);
            }
            self.organizations.insert(id, wanted);
        }
        self.free = free;
        Ok(())
    }

    fn give_back(&mut self, owner: Owner, bytes: usize, requests: usize) {
        self.free += bytes;
        let Owner::Organization(id) = owner else { return };
        let Entry::Occupied(mut share) = self.organizations.entry(id) else { return };
        share.get_mut().bytes -= bytes;
        share.get_mut().requests -= requests;
        if share.get().requests == 0 {
            share.remove();
        }
    }
}

#[cfg(test)]
impl Shares {
    pub(super) fn free(&self) -> usize {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const REQUEST: usize = 32;
    const BYTES: usize = 64 * 1024;

    fn organization(number: u128) -> Owner {
        Owner::Organization(OrganizationId(Uuid::from_u128(number)))
    }

    /// Lets each of them begin one request after the other for as long as any of them is let in.
    fn flood(shares: &mut Shares, organizations: u128) {
        while (0..organizations).filter(|n| shares.begin(organization(*n), REQUEST).is_ok()).count() > 0 {}
    }

    #[test]
    fn however_many_take_all_they_can_each_has_as_much_as_is_left_for_the_next() {
        for organizations in [1, 2, 3, 10, 100] {
            let mut shares = Shares::new(BYTES);
            flood(&mut shares, organizations);
            let fair = BYTES / (usize::try_from(organizations).expect("few") + 1);
            assert!(shares.free.abs_diff(fair) <= 2 * REQUEST, "{organizations}: {} of {fair}", shares.free);
            for share in shares.organizations.values() {
                assert!(
                    share.bytes.abs_diff(fair) <= 2 * REQUEST,
                    "{organizations}: {} of {fair}",
                    share.bytes
                );
            }
            assert_eq!(shares.begin(organization(organizations), REQUEST), Ok(()), "{organizations}");
        }
    }

    #[test]
    fn one_that_was_there_first_comes_down_to_the_others_when_its_requests_end() {
        let mut shares = Shares::new(BYTES);
        flood(&mut shares, 1);
        flood(&mut shares, 3);
        let before = shares.free;
        // Its requests end one by one, and all of them go on taking what they may.
        for _ in 0..BYTES / 2 / REQUEST {
            shares.end(organization(0), REQUEST);
            flood(&mut shares, 3);
        }
        assert!(before < BYTES / 5 && shares.free > BYTES / 5, "{before}, then {}", shares.free);
    }

    #[test]
    fn the_only_request_may_take_all_of_it_until_there_is_another() {
        let mut shares = Shares::new(BYTES);
        shares.begin(organization(1), REQUEST).expect("room");
        shares.grow(organization(1), BYTES - 3 * REQUEST).expect("it is the only one");
        assert_eq!(shares.begin(organization(1), REQUEST), Err(Full), "its own second one");
        assert_eq!(shares.begin(organization(2), 2 * REQUEST), Err(Full));
        shares.shrink(organization(1), BYTES / 2);
        shares.begin(organization(2), REQUEST).expect("room");
        assert_eq!(shares.grow(organization(1), BYTES / 4), Err(Full), "it is not the only one any more");
    }

    #[test]
    fn room_is_short_for_who_has_taken_half_of_what_it_may_and_for_all_when_half_of_it_is_gone() {
        let mut shares = Shares::new(BYTES);
        shares.begin(organization(1), BYTES / 3).expect("room");
        assert!(!shares.is_short(organization(1)) && !shares.is_short(organization(2)));
        shares.begin(organization(1), REQUEST).expect("room");
        assert!(shares.is_short(organization(1)) && !shares.is_short(organization(2)));
        shares.begin(organization(2), BYTES / 6).expect("room");
        assert!(shares.is_short(organization(3)));
    }

    #[test]
    fn strangers_take_what_there_is() {
        let mut shares = Shares::new(BYTES);
        shares.begin(Owner::Strangers, BYTES - 1).expect("room");
        shares.begin(Owner::Strangers, 1).expect("room");
        assert_eq!(shares.grow(Owner::Strangers, 1), Err(Full));
        assert!(shares.organizations.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_and_who_holds_nothing_is_forgotten(
            steps in proptest::collection::vec((0..4u8, 0..5u128, 0..BYTES / 3, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut shares = Shares::new(BYTES);
            let mut requests: Vec<(Owner, usize)> = Vec::new();
            for (step, who, bytes, which) in steps {
                let owner = if who == 0 { Owner::Strangers } else { organization(who) };
                if step == 0 || requests.is_empty() {
                    if shares.begin(owner, bytes).is_ok() {
                        requests.push((owner, bytes));
                    }
                    continue;
                }
                let at = which.index(requests.len());
                let (owner, held) = &mut requests[at];
                match step {
                    1 if shares.grow(*owner, bytes).is_ok() => *held += bytes,
                    2 => {
                        let spare = bytes.min(*held);
                        shares.shrink(*owner, spare);
                        *held -= spare;
                    }
                    3 => {
                        let (owner, held) = requests.swap_remove(at);
                        shares.end(owner, held);
                    }
                    _ => {}
                }
                let held: usize = requests.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(shares.free + held, BYTES);
            }
            for (owner, bytes) in requests {
                shares.end(owner, bytes);
            }
            prop_assert!(shares.organizations.is_empty() && shares.free == BYTES);
        }
    }
}
