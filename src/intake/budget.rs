//! The bytes of all unanswered requests together: what bounds intake's memory. Requests that have shown no key have a
//! budget of their own, so that no number of them takes the room of those that have; and no organization takes all of
//! the room of the others (see [`shares`]).
//!
//! A request reserves before it holds anything, and a reservation that is dropped is given back. Nothing waits for
//! room: a full house is answered at once. A body is reserved as it arrives, not as it is declared: otherwise a hundred
//! clients that announce large bodies and send nothing would use up the room of all that their organization sends.

mod shares;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::problem::Problem;
use super::turn::Owner;
use crate::config::intake::REQUEST_BYTES;
use shares::{Full, Shares};

/// A body is reserved in steps of this.
const STEP_BYTES: usize = 16 * 1024;

/// What may still be reserved.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    shares: Arc<Mutex<Shares>>,
}

/// The part of the budget that one request holds.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    owner: Owner,
    bytes: usize,
}

impl From<Full> for Problem {
    fn from(Full: Full) -> Self {
        Self::Overloaded
    }
}

impl Budget {
    pub(super) fn new(bytes: u32) -> Self {
        Self { shares: Arc::new(Mutex::new(Shares::new(bytes as usize))) }
    }

    /// Whether less than half of it is left, or of what this owner may have.
    pub(super) fn is_short(&self, owner: Owner) -> bool {
        self.lock().is_short(owner)
    }

    /// Makes room for one request of this owner and the beginning of its body, which declares `body_bytes`.
    pub(super) fn reserve(&self, owner: Owner, body_bytes: usize) -> Result<Reservation, Problem> {
        self.begin(owner, body_bytes.min(STEP_BYTES))
    }

    fn begin(&self, owner: Owner, body_bytes: usize) -> Result<Reservation, Problem> {
        let bytes = body_bytes.saturating_add(REQUEST_BYTES as usize);
        self.lock().begin(owner, bytes)?;
        Ok(Reservation { budget: self.clone(), owner, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Makes sure that `body_bytes` are covered, with some to spare when they were not.
    pub(super) fn cover(&mut self, body_bytes: usize) -> Result<(), Problem> {
        let missing = body_bytes.saturating_add(REQUEST_BYTES as usize).saturating_sub(self.bytes);
        if missing > 0 {
            self.grow(missing.checked_next_multiple_of(STEP_BYTES).unwrap_or(missing))?;
        }
        Ok(())
    }

    /// Holds `body_bytes` and no more from now on.
    pub(super) fn set(&mut self, body_bytes: usize) -> Result<(), Problem> {
        let wanted = body_bytes.saturating_add(REQUEST_BYTES as usize);
        match wanted.checked_sub(self.bytes) {
            Some(missing) => self.grow(missing)?,
            None => self.shrink(self.bytes - wanted),
        }
        Ok(())
    }

    /// Holds `body_bytes` of another budget from now on, in the name of `owner`, and gives what it had of its own back.
    pub(super) fn move_to(self, budget: &Budget, owner: Owner, body_bytes: usize) -> Result<Self, Problem> {
        budget.begin(owner, body_bytes)
    }

    /// Stays with these bytes until the last of them is dropped; what they do not need is given back. They were reserved
    /// before they were made: a reply can not be refused any more, and must not be larger than that.
    pub(super) fn stay_with(mut self, bytes: Bytes) -> Bytes {
        let needed = bytes.len().saturating_add(REQUEST_BYTES as usize);
        debug_assert!(needed <= self.bytes, "a reply is larger than what was reserved for it");
        self.shrink(self.bytes.saturating_sub(needed));
        Bytes::from_owner(Reserved { bytes, _reservation: self })
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.budget.lock().grow(self.owner, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.budget.lock().shrink(self.owner, bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.lock().end(self.owner, self.bytes);
    }
}

/// Bytes with the room that they take.
struct Reserved {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Reserved {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::tenant::OrganizationId;

    const ACME: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(1)));

    fn free(budget: &Budget) -> usize {
        budget.lock().free()
    }

    #[test]
    fn what_is_reserved_comes_back_however_it_grew() {
        let budget = Budget::new(1_000_000);
        let mut reservation = budget.reserve(ACME, 100).expect("room");
        reservation.cover(100).expect("covered already");
        assert_eq!(free(&budget), 1_000_000 - 100 - REQUEST_BYTES as usize);
        reservation.cover(200_000).expect("room");
        reservation.set(10).expect("less than before");
        assert_eq!(free(&budget), 1_000_000 - 10 - REQUEST_BYTES as usize);
        reservation.set(300_000).expect("room");
        drop(reservation);
        assert_eq!(free(&budget), 1_000_000);
    }

    #[test]
    fn bytes_keep_their_room_until_the_last_of_them_is_dropped() {
        let budget = Budget::new(1_000_000);
        let reply = budget.reserve(ACME, 500).expect("room").stay_with(Bytes::from(vec![0; 300]));
        let part = reply.slice(10..20);
        drop(reply);
        assert_eq!(free(&budget), 1_000_000 - 300 - REQUEST_BYTES as usize);
        drop(part);
        assert_eq!(free(&budget), 1_000_000);
    }

    #[test]
    fn a_reservation_that_moves_leaves_nothing_behind_and_stays_where_there_is_no_room() {
        let (strangers, ordinary) = (Budget::new(1_000_000), Budget::new(100_000));
        let moved = strangers
            .reserve(Owner::Strangers, 10_000)
            .expect("room")
            .move_to(&ordinary, ACME, 50_000)
            .expect("room");
        assert_eq!((free(&strangers), free(&ordinary)), (1_000_000, 50_000 - REQUEST_BYTES as usize));
        let refused =
            strangers.reserve(Owner::Strangers, 10_000).expect("room").move_to(&ordinary, ACME, 50_000);
        assert!(matches!(refused, Err(Problem::Overloaded)));
        drop(moved);
        assert_eq!((free(&strangers), free(&ordinary)), (1_000_000, 100_000));
    }

    #[test]
    fn a_full_house_refuses_and_keeps_what_it_has() {
        let budget = Budget::new(REQUEST_BYTES * 2);
        let mut first = budget.reserve(ACME, 10).expect("room for one");
        assert!(matches!(budget.reserve(ACME, usize::MAX), Err(Problem::Overloaded)));
        assert!(matches!(budget.reserve(ACME, REQUEST_BYTES as usize), Err(Problem::Overloaded)));
        assert!(matches!(first.cover(usize::MAX), Err(Problem::Overloaded)));
        assert!(matches!(first.cover(REQUEST_BYTES as usize * 2), Err(Problem::Overloaded)));
        assert_eq!(free(&budget), REQUEST_BYTES as usize - 10);
    }
}
