//! Places for connections, and who gives one up when there are no more.
//!
//! A connection is a stranger's until a request on it has shown a live key. Where all places are taken, a newcomer gets that
//! of the stranger that has asked for nothing for the longest time: so no number of strangers keeps out who has a key.
//! An eighth is left to strangers, for that is what every newcomer is until its first request: they would drive each other out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// One place in so many is left to strangers.
const LEFT_TO_STRANGERS: u32 = 8;
/// So many connections are told at a time that there is no place for them; the others are closed.
const MOST_LEAVING: usize = 64;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
    left_to_strangers: usize,
    strangers: Arc<Mutex<Strangers>>,
}

/// A right to be connected.
pub(super) type Place = OwnedSemaphorePermit;

/// The connections that have shown no key, by the order in which they last asked for something.
#[derive(Debug, Default)]
struct Strangers {
    by_last_request: BTreeMap<u64, Stranger>,
    requests: u64,
}

/// What can be taken from one of them.
#[derive(Debug)]
struct Stranger {
    place: Place,
    sent_away: CancellationToken,
}

/// One connection, and what it has shown.
#[derive(Debug)]
pub(super) struct Visitor {
    strangers: Arc<Mutex<Strangers>>,
    /// Its number among the strangers. Written under their lock.
    last_request: AtomicU64,
    /// Its own place, from the moment on when it has shown a key.
    place: OnceLock<Place>,
    sent_away: CancellationToken,
}

impl Places {
    pub(super) fn new(connections: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections as usize)),
            leaving: Arc::new(Semaphore::new(MOST_LEAVING)),
            left_to_strangers: connections.div_ceil(LEFT_TO_STRANGERS) as usize,
            strangers: Arc::default(),
        }
    }

    /// Lets a new connection in; `None` when there is no place for it.
    pub(super) fn enter(&self) -> Option<Visitor> {
        let place =
            Arc::clone(&self.free).try_acquire_owned().ok().or_else(|| self.take_from_a_stranger())?;
        let (strangers, sent_away) = (Arc::clone(&self.strangers), CancellationToken::new());
        let stranger = Stranger { place, sent_away: sent_away.clone() };
        let last_request = AtomicU64::new(lock(&strangers).push(stranger));
        Some(Visitor { strangers, last_request, place: OnceLock::new(), sent_away })
    }

    /// A place for as long as it takes to say good-bye; `None` when too many do.
    pub(super) fn leave(&self) -> Option<Place> {
        Arc::clone(&self.leaving).try_acquire_owned().ok()
    }

    fn take_from_a_stranger(&self) -> Option<Place> {
        let mut strangers = lock(&self.strangers);
        if strangers.by_last_request.len() <= self.left_to_strangers {
            return None;
        }
        let (_, longest) = strangers.by_last_request.pop_first()?;
        longest.sent_away.cancel();
        Some(longest.place)
    }
}

impl Visitor {
    /// A request begins: of all strangers this one now waits for the shortest time.
    pub(super) fn asks(&self) {
        if self.place.get().is_some() {
            return;
        }
        let mut strangers = lock(&self.strangers);
        if let Some(stranger) = strangers.remove(self) {
            self.last_request.store(strangers.push(stranger), Ordering::Relaxed);
        }
    }

    /// A request has shown a live key: from now on its place is its own.
    pub(super) fn shows_key(&self) {
        if self.place.get().is_some() {
            return;
        }
        if let Some(stranger) = lock(&self.strangers).remove(self) {
            // Only one request takes it out of the list.
            let _ = self.place.set(stranger.place);
        }
    }

    /// Ends when its place was given to another connection.
    pub(super) fn sent_away(&self) -> &CancellationToken {
        &self.sent_away
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        lock(&self.strangers).remove(self);
    }
}

impl Strangers {
    /// Puts one behind all others, and gives its number.
    fn push(&mut self, stranger: Stranger) -> u64 {
        self.requests += 1;
        self.by_last_request.insert(self.requests, stranger);
        self.requests
    }

    fn remove(&mut self, visitor: &Visitor) -> Option<Stranger> {
        self.by_last_request.remove(&visitor.last_request.load(Ordering::Relaxed))
    }
}

fn lock(strangers: &Mutex<Strangers>) -> MutexGuard<'_, Strangers> {
    strangers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of them have lost their places.
    fn gone(visitors: &[Visitor]) -> Vec<usize> {
        (0..visitors.len()).filter(|at| visitors[*at].sent_away().is_cancelled()).collect()
    }

    #[test]
    fn the_stranger_that_asked_for_nothing_for_the_longest_time_goes_first_and_who_showed_a_key_stays() {
        let places = Places::new(16);
        let mut visitors: Vec<_> = (0..16).map_while(|_| places.enter()).collect();
        assert_eq!((visitors.len(), gone(&visitors)), (16, vec![]));
        visitors[0].asks();
        visitors[1].shows_key();
        visitors.extend(places.enter());
        assert_eq!(gone(&visitors), [2]);
        visitors.extend(places.enter());
        assert_eq!(
            gone(&visitors),
            [2, 3],
            "the newcomer's place is there before the other connection's end"
        );
        // What has lost its place gives none back.
        visitors.drain(2..4);
        assert_eq!(places.free.available_permits(), 0);
        drop(visitors);
        assert_eq!(places.free.available_permits(), 16);
        assert!(lock(&places.strangers).by_last_request.is_empty());
    }

    #[test]
    fn some_places_are_left_to_strangers_so_that_newcomers_do_not_drive_each_other_out() {
        for (connections, left) in [(1, 1), (8, 1), (16, 2), (4_096, 512)] {
            let places = Places::new(connections);
            let visitors: Vec<_> = (0..connections).map_while(|_| places.enter()).collect();
            visitors.iter().skip(left).for_each(Visitor::shows_key);
            assert!(places.enter().is_none(), "{connections}");
            assert_eq!(gone(&visitors), [0; 0], "{connections}");
        }
    }

    #[test]
    fn one_that_shows_its_key_when_it_was_sent_away_already_has_no_place() {
        let places = Places::new(2);
        let visitors: Vec<_> = (0..3).map_while(|_| places.enter()).collect();
        assert_eq!(gone(&visitors), [0]);
        visitors[0].asks();
        visitors[0].shows_key();
        drop(visitors);
        assert_eq!(places.free.available_permits(), 2);
    }
}
