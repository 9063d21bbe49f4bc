//! Turns at the work that takes a processor: unpacking and judging.
//!
//! What is surely small and comes from one who is known is done at once, where it was read. All other work takes turns: at
//! most as much of it is done at a time as there are threads, and the rest waits in the line of whose it is (see [`queue`]);
//! strangers never have all turns, so that one is free for those who are known. What may take long is done beside the
//! runtime's threads: those go on reading requests, so that whoever is to be refused, or only asks for health, or sends
//! little, is answered at once however much there is to do. An owner whose line is late gets no more requests in,
//! an organization only where it takes room from others, or is very late.

mod queue;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::problem::Problem;
pub(super) use queue::Owner;
use queue::Queue;

/// A body up to this size is worked on where it was read: handing it over would cost more. What is packed is never known to
/// be that small.
const SMALL_BYTES: usize = 32 * 1024;

/// One turn for each thread.
#[derive(Debug)]
pub(super) struct Turns {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    strangers_at_work: usize,
    most_strangers: usize,
    queue: Queue<oneshot::Sender<Turn>>,
}

/// May work. Dropped, the next one may.
#[derive(Debug)]
struct Turn {
    state: Arc<Mutex<State>>,
    /// `None` once it was taken back.
    owner: Option<Owner>,
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        let state = State {
            free: threads,
            strangers_at_work: 0,
            most_strangers: threads.saturating_sub(1).max(1),
            queue: Queue::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Whether this owner's work waits for too long already.
    pub(super) fn are_late(&self, owner: Owner, is_room_short: bool) -> bool {
        lock(&self.state).queue.is_late(owner, is_room_short, Instant::now())
    }

    /// Whether some of this owner's work waits.
    pub(super) fn are_waited_for(&self, owner: Owner) -> bool {
        lock(&self.state).queue.is_waiting(owner)
    }

    /// Works on so many bytes at most, in its turn unless they are few. What is not small is never done by more threads than
    /// there are turns, so that what they keep of the memory they used is bounded too.
    ///
    /// # Cancel safety
    /// Whoever goes away loses the place in line; work that was begun is done to its end, and thrown away.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        owner: Owner,
        most_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let is_small = most_bytes <= SMALL_BYTES;
        if is_small && owner != Owner::Strangers {
            return Ok(work());
        }
        let turn = self.take(owner).await?;
        if is_small {
            let worked = work();
            drop(turn);
            return Ok(worked);
        }
        // The turn ends when the thread is free again: else the next one would find it busy, and make another.
        match spawn_blocking(move || (work(), turn)).await {
            Ok((worked, _turn)) => Ok(worked),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is going down.
                Err(_) => Err(Problem::Draining),
            },
        }
    }

    async fn take(&self, owner: Owner) -> Result<Turn, Problem> {
        let waiting = {
            let mut state = lock(&self.state);
            if state.has_turn_for(owner) {
                state.begin(owner);
                return Ok(Turn { state: Arc::clone(&self.state), owner: Some(owner) });
            }
            let (waiter, waiting) = oneshot::channel();
            state.queue.push(owner, waiter, Instant::now());
            waiting
        };
        // The queue drops a waiter only with itself.
        waiting.await.map_err(|_| Problem::Draining)
    }
}

impl State {
    fn has_turn_for(&self, owner: Owner) -> bool {
        self.free > 0 && (owner != Owner::Strangers || self.may_take_stranger())
    }

    fn may_take_stranger(&self) -> bool {
        self.strangers_at_work < self.most_strangers
    }

    fn begin(&mut self, owner: Owner) {
        self.free -= 1;
        self.strangers_at_work += usize::from(owner == Owner::Strangers);
    }

    fn end(&mut self, owner: Owner) {
        self.free += 1;
        self.strangers_at_work -= usize::from(owner == Owner::Strangers);
    }

    /// The next one who may begin.
    fn call_next(&mut self) -> Option<(Owner, oneshot::Sender<Turn>)> {
        if self.free == 0 {
            return None;
        }
        let (owner, waiter) = self.queue.pop(self.may_take_stranger())?;
        self.begin(owner);
        Some((owner, waiter))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(owner) = self.owner.take() else { return };
        lock(&self.state).end(owner);
        loop {
            let next = lock(&self.state).call_next();
            let Some((owner, waiter)) = next else { return };
            let turn = Self { state: Arc::clone(&self.state), owner: Some(owner) };
            if let Err(mut refused) = waiter.send(turn) {
                // It went away. Not dropped as it is: with many of those, each would call the next from within the last.
                refused.owner = None;
                lock(&self.state).end(owner);
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;
    use uuid::Uuid;

    use super::*;
    use crate::tenant::OrganizationId;

    const ACME: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(1)));
    const BIRCH: Owner = Owner::Organization(OrganizationId(Uuid::from_u128(2)));

    #[tokio::test]
    async fn strangers_leave_a_turn_to_those_who_are_known() {
        let turns = Turns::new(2);
        let stranger = turns.take(Owner::Strangers).await.expect("a turn");
        let mut second = pin!(turns.take(Owner::Strangers));
        assert!(poll!(&mut second).is_pending(), "the last turn is not theirs");
        let known = turns.take(ACME).await.expect("a turn");
        drop(known);
        assert!(poll!(&mut second).is_pending());
        drop(stranger);
        assert!(poll!(&mut second).is_ready());
        // Where there is one thread they get it, when nobody else wants it.
        let one = Turns::new(1);
        drop(one.take(Owner::Strangers).await.expect("a turn"));
    }

    #[tokio::test]
    async fn whoever_goes_away_while_waiting_costs_no_turn() {
        let turns = Turns::new(1);
        let first = turns.take(ACME).await.expect("a turn");
        let mut gone: Vec<_> = (0..100_000).map(|_| Box::pin(turns.take(ACME))).collect();
        for waiting in &mut gone {
            assert!(poll!(waiting).is_pending());
        }
        let mut last = pin!(turns.take(BIRCH));
        assert!(poll!(&mut last).is_pending());
        drop(gone);
        drop(first);
        let Poll::Ready(Ok(last)) = poll!(&mut last) else { panic!("it is the only one left") };
        drop(last);
        assert_eq!(lock(&turns.state).free, 1);
        // One that was called and went away before it heard it.
        let first = turns.take(ACME).await.expect("a turn");
        let mut called = Box::pin(turns.take(ACME));
        assert!(poll!(&mut called).is_pending());
        drop(first);
        drop(called);
        drop(turns.take(Owner::Strangers).await.expect("a turn"));
    }

    #[tokio::test]
    async fn work_is_done_in_a_turn_and_gives_it_back_also_when_it_panics() {
        let turns = Turns::new(1);
        for (owner, bytes) in
            [(Owner::Strangers, 1), (Owner::Strangers, SMALL_BYTES + 1), (ACME, SMALL_BYTES + 1)]
        {
            let state = Arc::clone(&turns.state);
            let free = turns.work(owner, bytes, move || lock(&state).free).await.expect("worked");
            assert_eq!((free, lock(&turns.state).free), (0, 1), "{owner:?} {bytes} bytes");
        }
        let turns = Arc::new(turns);
        let ours = Arc::clone(&turns);
        let broken =
            tokio::spawn(async move { ours.work(ACME, SMALL_BYTES + 1, || panic!("as told")).await });
        assert!(broken.await.is_err());
        assert_eq!(lock(&turns.state).free, 1);
    }

    #[tokio::test]
    async fn little_work_of_one_who_is_known_waits_for_nobody() {
        let turns = Turns::new(1);
        let _all = turns.take(BIRCH).await.expect("a turn");
        assert!(matches!(poll!(pin!(turns.work(ACME, SMALL_BYTES, || 7))), Poll::Ready(Ok(7))));
        assert!(poll!(pin!(turns.work(ACME, SMALL_BYTES + 1, || 7))).is_pending());
        assert!(poll!(pin!(turns.work(Owner::Strangers, 1, || 7))).is_pending());
    }
}
