//! Places for connections, and who gives one up when there are no more.
//!
//! A connection is a stranger's until a request on it has shown a live key, and then of the organization whose key it was.
//! Where all places are taken, a newcomer gets that of the stranger that has asked for nothing for the longest time: so no
//! number of strangers keeps out who has a key. An eighth is left to strangers, for that is what every newcomer is until its
//! first request: they would drive each other out. Where they have no more than that, a resting connection gives its place
//! up, of the organization that holds the most: so no number of one organization's connections keeps out another's. It is
//! one on which no request is under way: those are bounded by `budget`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use crate::tenant::OrganizationId;

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
    taken: Arc<Mutex<Taken>>,
}

/// A right to be connected.
pub(super) type Place = OwnedSemaphorePermit;

/// Who has the places that are taken.
#[derive(Debug, Default)]
struct Taken {
    /// Connections that have shown no key, by the order in which they last asked for something.
    strangers: BTreeMap<u64, Connection>,
    /// Those that have; an organization without any is not in here.
    organizations: HashMap<OrganizationId, BTreeMap<u64, Connection>>,
    numbers: u64,
}

/// What can be taken from one of them, and when it may be.
#[derive(Debug)]
struct Connection {
    place: Place,
    patience: Arc<Patience>,
    sent_away: CancellationToken,
}

/// One connection, and what it has shown.
#[derive(Debug)]
pub(super) struct Visitor {
    taken: Arc<Mutex<Taken>>,
    /// Its number among the others. Written under their lock.
    number: AtomicU64,
    /// Whose key it has shown first.
    organization: OnceLock<OrganizationId>,
    patience: Arc<Patience>,
    sent_away: CancellationToken,
}

impl Places {
    pub(super) fn new(connections: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections as usize)),
            leaving: Arc::new(Semaphore::new(MOST_LEAVING)),
            left_to_strangers: connections.div_ceil(LEFT_TO_STRANGERS) as usize,
            taken: Arc::default(),
        }
    }

    /// Lets a new connection in; `None` when there is no place for it.
    pub(super) fn enter(&self, patience: Arc<Patience>) -> Option<Visitor> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok().or_else(|| self.take_from_another())?;
        let (taken, sent_away) = (Arc::clone(&self.taken), CancellationToken::new());
        let connection = Connection { place, patience: Arc::clone(&patience), sent_away: sent_away.clone() };
        let number = AtomicU64::new(lock(&taken).push_stranger(connection));
        Some(Visitor { taken, number, organization: OnceLock::new(), patience, sent_away })
    }

    /// A place for as long as it takes to say good-bye; `None` when too many do.
    pub(super) fn leave(&self) -> Option<Place> {
        Arc::clone(&self.leaving).try_acquire_owned().ok()
    }

    fn take_from_another(&self) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let another = if taken.strangers.len() > self.left_to_strangers {
            taken.strangers.pop_first().map(|(_, longest)| longest)
        } else {
            taken.pop_resting()
        };
        let Connection { place, sent_away, .. } = another?;
        sent_away.cancel();
        Some(place)
    }
}

impl Visitor {
    /// A request begins: of all strangers this one now waits for the shortest time.
    pub(super) fn asks(&self) {
        if self.organization.get().is_some() {
            return;
        }
        let mut taken = lock(&self.taken);
        if let Some(stranger) = taken.strangers.remove(&self.number()) {
            self.number.store(taken.push_stranger(stranger), Ordering::Relaxed);
        }
    }

    /// A request has shown a live key of this organization.
    pub(super) fn shows_key(&self, organization: OrganizationId) {
        if self.organization.get().is_some() {
            return;
        }
        let mut taken = lock(&self.taken);
        // Only one request takes it from the strangers.
        if let Some(connection) = taken.strangers.remove(&self.number()) {
            taken.organizations.entry(organization).or_default().insert(self.number(), connection);
            let _ = self.organization.set(organization);
        }
    }

    /// How long it may be silent.
    pub(super) fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// Ends when its place was given to another connection.
    pub(super) fn sent_away(&self) -> &CancellationToken {
        &self.sent_away
    }

    fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match self.organization.get() {
            None => taken.strangers.remove(&self.number()),
            Some(organization) => taken.remove_known(*organization, self.number()),
        };
    }
}

impl Taken {
    /// Puts one behind all other strangers, and gives its number.
    fn push_stranger(&mut self, connection: Connection) -> u64 {
        self.numbers += 1;
        self.strangers.insert(self.numbers, connection);
        self.numbers
    }

    /// Takes one on which no request is under way, of the organization that holds the most: the one that rests longest. All
    /// are looked at, and only when there is no other place.
    fn pop_resting(&mut self) -> Option<Connection> {
        let longest = |connections: &BTreeMap<u64, Connection>| -> Option<(Instant, u64)> {
            let resting =
                connections.iter().filter_map(|(number, at)| Some((at.patience.resting_since()?, *number)));
            resting.min()
        };
        // One that has no other keeps it: taken, it would be the next newcomer.
        let several = self.organizations.iter().filter(|(_, connections)| connections.len() > 1);
        let candidates = several.filter_map(|(organization, connections)| {
            let (since, number) = longest(connections)?;
            Some((connections.len(), Reverse(since), *organization, number))
        });
        let (_, _, organization, number) = candidates.max()?;
        self.remove_known(organization, number)
    }

    fn remove_known(&mut self, organization: OrganizationId, number: u64) -> Option<Connection> {
        let connections = self.organizations.get_mut(&organization)?;
        let removed = connections.remove(&number);
        if connections.is_empty() {
            self.organizations.remove(&organization);
        }
        removed
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    const ACME: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const BIRCH: OrganizationId = OrganizationId(Uuid::from_u128(2));

    fn enter(places: &Places) -> Option<Visitor> {
        places.enter(Arc::new(Patience::new(Duration::from_secs(10), Duration::from_secs(75))))
    }

    /// Which of them have lost their places.
    fn gone(visitors: &[Visitor]) -> Vec<usize> {
        (0..visitors.len()).filter(|at| visitors[*at].sent_away().is_cancelled()).collect()
    }

    #[test]
    fn the_stranger_that_asked_for_nothing_for_the_longest_time_goes_first_and_who_showed_a_key_stays() {
        let places = Places::new(16);
        let mut visitors: Vec<_> = (0..16).map_while(|_| enter(&places)).collect();
        assert_eq!((visitors.len(), gone(&visitors)), (16, vec![]));
        visitors[0].asks();
        visitors[1].shows_key(ACME);
        visitors.extend(enter(&places));
        assert_eq!(gone(&visitors), [2]);
        visitors.extend(enter(&places));
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
        let taken = lock(&places.taken);
        assert!(taken.strangers.is_empty() && taken.organizations.is_empty());
    }

    #[test]
    fn some_places_are_left_to_strangers_so_that_newcomers_do_not_drive_each_other_out() {
        for (connections, left) in [(1, 1), (8, 1), (16, 2), (4_096, 512)] {
            let places = Places::new(connections);
            let visitors: Vec<_> = (0..connections).map_while(|_| enter(&places)).collect();
            let known = || visitors.iter().skip(left);
            known().for_each(|visitor| visitor.shows_key(ACME));
            let _busy: Vec<_> = known().map(|visitor| visitor.patience().begin(false)).collect();
            assert!(enter(&places).is_none(), "{connections}");
            assert_eq!(gone(&visitors), [0; 0], "{connections}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_holds_the_most_gives_up_the_connection_that_rests_longest() {
        let places = Places::new(8);
        let mut visitors: Vec<_> = (0..8).map_while(|_| enter(&places)).collect();
        visitors[..5].iter().for_each(|visitor| visitor.shows_key(ACME));
        visitors[5..].iter().for_each(|visitor| visitor.shows_key(BIRCH));
        let mut busy: Vec<_> = visitors.iter().map(|visitor| Some(visitor.patience().begin(false))).collect();
        assert!(enter(&places).is_none(), "a request is under way on each");
        for at in [7, 6, 5, 3, 2, 1, 0] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            busy[at] = None;
        }
        let newcomer = |visitors: &mut Vec<Visitor>| {
            visitors.extend(enter(&places));
            visitors[visitors.len() - 1].shows_key(OrganizationId(Uuid::now_v7()));
            gone(visitors)
        };
        assert_eq!(newcomer(&mut visitors), [3], "birch's rest longer, and are fewer; the fourth is busy");
        assert_eq!(newcomer(&mut visitors), [2, 3]);
        assert_eq!(newcomer(&mut visitors), [2, 3, 7], "as many: the one that rests longest");
        for left in 1..=3 {
            assert_eq!(newcomer(&mut visitors).len(), 3 + left);
        }
        assert!(enter(&places).is_none(), "each has one");
        drop(visitors);
        assert_eq!(places.free.available_permits(), 8);
    }

    #[test]
    fn one_that_shows_its_key_when_it_was_sent_away_already_has_no_place() {
        let places = Places::new(2);
        let visitors: Vec<_> = (0..3).map_while(|_| enter(&places)).collect();
        assert_eq!(gone(&visitors), [0]);
        visitors[0].asks();
        visitors[0].shows_key(ACME);
        drop(visitors);
        assert_eq!(places.free.available_permits(), 2);
    }
}
