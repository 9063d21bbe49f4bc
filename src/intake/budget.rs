//! The bytes of all unanswered requests together: what bounds intake's memory. Requests that have shown no key have a
//! budget of their own, so that no number of them takes the room of those that have.
//!
//! A request reserves before it holds anything, and a reservation that is dropped is given back. Nothing waits for
//! room: a full house is answered at once. A body is reserved as it arrives, not as it is declared: otherwise a hundred
//! clients that announce large bodies and send nothing would shut everybody else out.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::config::intake::REQUEST_BYTES;

/// A body is reserved in steps of this.
const STEP_BYTES: usize = 16 * 1024;

/// What may still be reserved.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// The part of the budget that one request holds.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new(bytes: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes as usize)), bytes: bytes as usize }
    }

    /// Whether less than half of it is left.
    pub(super) fn is_short(&self) -> bool {
        self.free.available_permits() < self.bytes / 2
    }

    /// Makes room for one request and the beginning of its body, which declares `body_bytes`.
    pub(super) fn reserve(&self, body_bytes: usize) -> Result<Reservation, Problem> {
        let permit = self.take(body_bytes.min(STEP_BYTES) + REQUEST_BYTES as usize)?;
        Ok(Reservation { budget: self.clone(), permit })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes = u32::try_from(bytes).map_err(|_| Problem::Overloaded)?;
        Arc::clone(&self.free).try_acquire_many_owned(bytes).map_err(|_| Problem::Overloaded)
    }
}

impl Reservation {
    /// Makes sure that `body_bytes` are covered, with some to spare when they were not.
    pub(super) fn cover(&mut self, body_bytes: usize) -> Result<(), Problem> {
        let missing =
            body_bytes.saturating_add(REQUEST_BYTES as usize).saturating_sub(self.permit.num_permits());
        if missing > 0 {
            self.permit
                .merge(self.budget.take(missing.checked_next_multiple_of(STEP_BYTES).unwrap_or(missing))?);
        }
        Ok(())
    }

    /// Holds `body_bytes` and no more from now on.
    pub(super) fn set(&mut self, body_bytes: usize) -> Result<(), Problem> {
        let wanted = body_bytes.saturating_add(REQUEST_BYTES as usize);
        match self.permit.num_permits().checked_sub(wanted) {
            Some(spare) => drop(self.permit.split(spare)),
            None => self.permit.merge(self.budget.take(wanted - self.permit.num_permits())?),
        }
        Ok(())
    }

    /// Holds `body_bytes` of another budget from now on, and gives what it had of its own back.
    pub(super) fn move_to(self, budget: &Budget, body_bytes: usize) -> Result<Self, Problem> {
        let permit = budget.take(body_bytes.saturating_add(REQUEST_BYTES as usize))?;
        Ok(Self { budget: budget.clone(), permit })
    }

    /// Stays with these bytes until the last of them is dropped; what they do not need is given back. They were reserved
    /// before they were made: a reply can not be refused any more, and must not be larger than that.
    pub(super) fn stay_with(mut self, bytes: Bytes) -> Bytes {
        let needed = bytes.len().saturating_add(REQUEST_BYTES as usize);
        debug_assert!(needed <= self.permit.num_permits(), "a reply is larger than what was reserved for it");
        drop(self.permit.split(self.permit.num_permits().saturating_sub(needed)));
        Bytes::from_owner(Reserved { bytes, _reservation: self })
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
    use super::*;

    fn free(budget: &Budget) -> usize {
        budget.free.available_permits()
    }

    #[test]
    fn what_is_reserved_comes_back_however_it_grew() {
        let budget = Budget::new(1_000_000);
        let mut reservation = budget.reserve(100).expect("room");
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
        let reply = budget.reserve(500).expect("room").stay_with(Bytes::from(vec![0; 300]));
        let part = reply.slice(10..20);
        drop(reply);
        assert_eq!(free(&budget), 1_000_000 - 300 - REQUEST_BYTES as usize);
        drop(part);
        assert_eq!(free(&budget), 1_000_000);
    }

    #[test]
    fn a_reservation_that_moves_leaves_nothing_behind_and_stays_where_there_is_no_room() {
        let (strangers, ordinary) = (Budget::new(1_000_000), Budget::new(100_000));
        let moved = strangers.reserve(10_000).expect("room").move_to(&ordinary, 50_000).expect("room");
        assert_eq!((free(&strangers), free(&ordinary)), (1_000_000, 50_000 - REQUEST_BYTES as usize));
        let refused = strangers.reserve(10_000).expect("room").move_to(&ordinary, 50_000);
        assert!(matches!(refused, Err(Problem::Overloaded)));
        drop(moved);
        assert_eq!((free(&strangers), free(&ordinary)), (1_000_000, 100_000));
    }

    #[test]
    fn a_full_house_refuses_and_keeps_what_it_has() {
        let budget = Budget::new(REQUEST_BYTES * 2);
        let mut first = budget.reserve(10).expect("room for one");
        assert!(matches!(budget.reserve(usize::MAX), Err(Problem::Overloaded)));
        assert!(matches!(budget.reserve(REQUEST_BYTES as usize), Err(Problem::Overloaded)));
        assert!(matches!(first.cover(usize::MAX), Err(Problem::Overloaded)));
        assert!(matches!(first.cover(REQUEST_BYTES as usize * 2), Err(Problem::Overloaded)));
        assert_eq!(free(&budget), REQUEST_BYTES as usize - 10);
    }
}
