//! Postgres, in memory: what it keeps, what is locked, who is broken or slow, and whether it answers.

use super::super::model::database::{Database, Identity, Offsets, Transaction, Violation};
use super::log::{GENERATIONS, KEYS, Log, ORGANIZATIONS, PARTITIONS, Place, UNDECODABLE, UNKNOWN};

/// What became of an organization's events, as its totals say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) dead: u64,
}

/// What a crash does not take.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    pub(super) database: Database,
    /// Ids that are rows, and ids that are dead letters.
    tables: [(u128, u128); KEYS],
    pub(super) fates: [Fates; KEYS],
    pub(super) removed_at: [Option<u64>; KEYS],
    pub(super) generation: usize,
}

impl Durable {
    pub(super) fn is_removed(&self, key: usize) -> bool {
        self.removed_at[key].is_some()
    }

    /// Commits, with what each event comes to.
    pub(super) fn commit(
        &mut self,
        log: &Log,
        place: Place,
        key: usize,
        transaction: Transaction,
    ) -> Result<(), Violation> {
        self.database.commit(place.shelf(key), transaction)?;
        let (rows, dead_letters) = &mut self.tables[key];
        let fates = &mut self.fates[key];
        for offset in transaction.rows.iter() {
            let events = log.record(place, offset).map(|record| &record.events);
            for event in events.into_iter().flatten() {
                let id = 1 << event.id;
                let (counted, table) = match (*rows & id != 0, event.is_refused) {
                    (true, _) => (&mut fates.duplicate, None),
                    (false, true) => (&mut fates.dead, Some(&mut *dead_letters)),
                    (false, false) => (&mut fates.stored, Some(&mut *rows)),
                };
                *counted += 1;
                table.into_iter().for_each(|table| *table |= id);
            }
        }
        self.check(log, place, key)
    }

    pub(super) fn check(&self, log: &Log, place: Place, key: usize) -> Result<(), Violation> {
        self.database.check(place.shelf(key), place.number(), log.of(place, key), self.is_removed(key))
    }

    /// Every event of the log's stored records was counted once, and has a row or a dead letter.
    pub(super) fn books(&self, log: &Log, key: usize) -> Result<(), String> {
        let (mut accepted, mut missing) = (0, 0);
        for place in Place::all() {
            let stored = self.database.shelves[place.shelf(key)].stored;
            for event in
                stored.iter().filter_map(|offset| log.record(place, offset)).flat_map(|one| &one.events)
            {
                accepted += 1;
                let (rows, dead_letters) = self.tables[key];
                missing += u64::from((rows | dead_letters) & (1 << event.id) == 0);
            }
        }
        let Fates { stored, duplicate, dead } = self.fates[key];
        match accepted == stored + duplicate + dead && missing == 0 {
            true => Ok(()),
            false => Err(format!(
                "organization {key}: {accepted} events in stored records, and {:?}; {missing} are nowhere",
                self.fates[key]
            )),
        }
    }
}

/// A transaction that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) key: usize,
    pub(super) transaction: Transaction,
    /// `None`: its client is gone.
    pub(super) process: Option<usize>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) durable: Durable,
    /// A copy that stopped following.
    pub(super) standby: Option<Box<Durable>>,
    pub(super) open: Vec<Open>,
    /// Who drains which organization.
    pub(super) draining: [Option<u64>; KEYS],
    pub(super) is_away: bool,
    pub(super) is_broken: [bool; KEYS],
    /// What a transaction takes more, in milliseconds.
    pub(super) slow: [u64; KEYS],
}

impl Server {
    pub(super) fn new() -> Self {
        let places = GENERATIONS * PARTITIONS;
        Self {
            durable: Durable {
                database: Database::new(places * KEYS, places),
                tables: [(0, 0); KEYS],
                fates: [Fates::default(); KEYS],
                removed_at: [None; KEYS],
                generation: 0,
            },
            standby: None,
            open: Vec::new(),
            draining: [None; KEYS],
            is_away: false,
            is_broken: [false; KEYS],
            slow: [0; KEYS],
        }
    }

    pub(super) fn identity(&self) -> Identity {
        self.durable.database.identity
    }

    pub(super) fn is_locked(&self, place: Place, key: usize) -> bool {
        self.open.iter().any(|open| (open.place, open.key) == (place, key))
    }

    /// Takes an open transaction away: to commit it, or to roll it back.
    pub(super) fn take(&mut self, number: u64) -> Option<Open> {
        let at = self.open.iter().position(|open| open.number == number)?;
        for draining in &mut self.draining {
            *draining = draining.filter(|by| *by != number);
        }
        Some(self.open.swap_remove(at))
    }

    /// The server ends: what was open is rolled back, and what comes next is another life of it.
    pub(super) fn begin_another_life(&mut self) {
        self.open.clear();
        self.draining = [None; KEYS];
        self.durable.database.identity += 1;
    }

    /// The copy that stopped following takes over.
    pub(super) fn go_back(&mut self) -> bool {
        let identity = self.identity();
        let Some(standby) = self.standby.take() else { return false };
        self.durable = *standby;
        self.durable.database.identity = identity;
        self.begin_another_life();
        true
    }

    /// Whether the schema takes nothing at this moment.
    pub(super) fn refuses(&self, key: usize) -> bool {
        self.is_broken[key]
    }

    /// Whose schema is not there; `None` while the snapshot of organizations does not know it yet.
    pub(super) fn has_schema(&self, key: usize, now: u64) -> Schema {
        const SNAPSHOT_AGE: u64 = 1_000;
        match self.durable.removed_at[key] {
            _ if key == UNKNOWN || key == UNDECODABLE => Schema::Unknown,
            Some(at) if at + SNAPSHOT_AGE <= now => Schema::Removed,
            Some(_) => Schema::Gone,
            None => Schema::There,
        }
    }

    /// The organization is removed, unless a transaction uses its schema.
    pub(super) fn remove(&mut self, key: usize, now: u64) -> bool {
        if self.open.iter().any(|open| open.key == key) {
            return false;
        }
        self.durable.removed_at[key] = Some(now);
        for place in Place::all() {
            self.durable.database.remove(place.shelf(key));
        }
        true
    }

    /// A drain beside the lanes, by a person or because the generation is over.
    pub(super) fn drain(&mut self, log: &Log, place: Place, key: usize) -> Result<(), Violation> {
        let shelf = place.shelf(key);
        if self.is_broken[key]
            || self.is_locked(place, key)
            || self.draining[key].is_some()
            || !self.durable.database.any_held(shelf)
        {
            return Ok(());
        }
        let read = self.durable.database.first_held(shelf, usize::MAX);
        let (garbled, read): (Vec<i64>, Vec<i64>) = read
            .iter()
            .partition(|offset| log.record(place, *offset).is_some_and(|record| record.is_garbled));
        self.durable.database.write_down(shelf, garbled.iter().copied().collect());
        let held: Offsets = garbled.into_iter().chain(read.iter().copied()).collect();
        let mut drain = self.durable.database.drain(shelf, read.into_iter().collect());
        drain.deletes = held;
        self.durable.commit(log, place, key, drain)
    }

    /// What organizations have held records, in one generation and partition.
    pub(super) fn with_held(&self, place: Place) -> impl Iterator<Item = usize> {
        (0..ORGANIZATIONS).filter(move |key| self.durable.database.any_held(place.shelf(*key)))
    }
}

/// What there is of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    There,
    /// Nobody ever had it.
    Unknown,
    /// It was removed.
    Removed,
    /// It was removed, and the loader's snapshot of organizations does not know it yet.
    Gone,
}
