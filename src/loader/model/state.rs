//! Everything that the steps change: Postgres, the consumer group, two loaders, and what may still go wrong.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::database::{Database, Identity, Offsets, Transaction, Violation, record_id};
use crate::event::UnixMillis;
use crate::loader::lane::{Expected, Lane, Told, Waiting};
use crate::loader::partition::{LaneKey, Partition};
use crate::loader::position::{Position, Watermark};
use crate::tenant::OrganizationId;

pub(super) const LOADERS: usize = 2;
pub(super) const ORGANIZATIONS: usize = 2;
/// Every partition's number here.
pub(super) const POSITION: Position = Position { generation: 1, partition: 0 };

/// What is explored: the log, and what may go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) log: Log,
    pub(super) faults: Faults,
    /// A pooler hides from connections that the server behind it is another one.
    pub(super) has_pooler: bool,
}

impl Config {
    pub(super) fn records(&self) -> i64 {
        self.log.records
    }

    /// The offsets of one organization's records.
    pub(super) fn of(&self, organization: usize) -> Offsets {
        self.log.of[organization]
    }

    pub(super) fn organization(&self, offset: i64) -> usize {
        usize::from(self.log.of[1].has(offset))
    }

    pub(super) fn organizations(&self) -> usize {
        if self.log.of[1].is_empty() { 1 } else { 2 }
    }
}

/// The partition, as the log has it: no record is added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    records: i64,
    of: [Offsets; ORGANIZATIONS],
}

impl Log {
    /// Whose record stands at each offset.
    pub(super) fn of(organizations: &[usize]) -> Self {
        let of = [0, 1].map(|organization| {
            (0..)
                .zip(organizations)
                .filter(|(_, of)| **of == organization)
                .map(|(offset, _)| offset)
                .collect()
        });
        Self { records: i64::try_from(organizations.len()).expect("a few"), of }
    }
}

/// How often something may still go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Faults {
    /// The group gives the partition to the other loader, and the former owner does not know.
    pub(super) moves: u8,
    pub(super) crashes: u8,
    /// Answers of the database.
    pub(super) lost_answers: u8,
    /// The first organization's schema breaks.
    pub(super) breaks: u8,
    /// The first organization is removed.
    pub(super) removals: u8,
    /// A lane has no room for a record, or the log does not answer when it is read again.
    pub(super) no_room: u8,
    /// The database goes back to what it was at an earlier moment.
    pub(super) rewinds: u8,
    /// A person drains what is held.
    pub(super) drains: u8,
}

/// What a writer does for a lane, from the moment at which another could come in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// An opening flush found no records held; it is about to lock the watermark.
    Looked { expected: Expected, records: Offsets },
    /// Its transaction is open.
    Writing,
    /// A drain has read these held records; it is about to lock the watermark.
    DrainRead(Offsets),
}

/// The open transaction that has an organization's watermark locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Open {
    pub(super) transaction: Transaction,
    /// `None`: the connection is gone, and whether it commits is the server's to say.
    pub(super) loader: Option<usize>,
    pub(super) is_drain: bool,
}

/// One loader that reads the partition.
#[derive(Clone, Debug)]
pub(super) struct Loader {
    pub(super) partition: Partition,
    /// The server that it began with.
    pub(super) identity: Identity,
    /// Where it left the anchor.
    pub(super) anchor: Option<i64>,
    pub(super) runs: [Option<Run>; ORGANIZATIONS],
    /// The stretch of the log that it reads again.
    pub(super) again: Option<(i64, i64)>,
}

impl Loader {
    pub(super) fn lane(&self, organization: usize) -> Option<&Lane> {
        self.partition.lane(key(organization))
    }

    pub(super) fn lane_mut(&mut self, organization: usize) -> &mut Lane {
        self.partition.lane_or_new(key(organization))
    }

    pub(super) fn tell(&mut self, organization: usize, told: Told) {
        self.runs[organization] = None;
        self.lane_mut(organization).told(told, *NOW);
        self.partition.forget_if_nowhere(key(organization));
    }

    fn digest(&self, hasher: &mut impl Hasher) {
        (self.identity, self.anchor, self.again, self.partition.next_offset()).hash(hasher);
        self.partition.places().for_each(|place| place.hash(hasher));
        for (organization, run) in self.runs.iter().enumerate() {
            let run = run.map(|run| match run {
                Run::Looked { records, .. } => (0, records),
                Run::Writing => (1, Offsets::default()),
                Run::DrainRead(read) => (2, read),
            });
            run.hash(hasher);
            if let Some(lane) = self.lane(organization) {
                lane.digest(hasher);
            }
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) database: Rc<Database>,
    /// A copy of the database as it was, which may take its place.
    pub(super) standby: Option<Rc<Database>>,
    pub(super) is_broken: bool,
    pub(super) is_removed: bool,
    pub(super) open: [Option<Open>; ORGANIZATIONS],
    /// A hold whose client is gone, and which may land yet.
    pub(super) late_hold: Option<(usize, Offsets)>,
    /// Whom the group has given the partition.
    pub(super) owner: usize,
    /// What the group has committed.
    pub(super) committed: i64,
    pub(super) loaders: [Option<Rc<Loader>>; LOADERS],
    pub(super) faults: Faults,
}

impl State {
    pub(super) fn start(config: &Config) -> Self {
        Self {
            database: Rc::new(Database::new(config.organizations(), 1)),
            standby: None,
            is_broken: false,
            is_removed: false,
            open: [None; ORGANIZATIONS],
            late_hold: None,
            owner: 0,
            committed: 0,
            loaders: [None, None],
            faults: config.faults,
        }
    }

    pub(super) fn loader_mut(&mut self, loader: usize) -> &mut Loader {
        Rc::make_mut(self.loaders[loader].as_mut().expect("it reads the partition"))
    }

    pub(super) fn database_mut(&mut self) -> &mut Database {
        Rc::make_mut(&mut self.database)
    }

    /// Another one for each state that may go on differently.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(11).build_hasher();
        self.database.hash(&mut hasher);
        self.standby.hash(&mut hasher);
        (self.is_broken, self.is_removed, self.open, self.late_hold).hash(&mut hasher);
        (self.owner, self.committed, self.faults).hash(&mut hasher);
        for loader in &self.loaders {
            loader.is_some().hash(&mut hasher);
            if let Some(loader) = loader {
                loader.digest(&mut hasher);
            }
        }
        hasher.finish()
    }

    pub(super) fn checked(self, config: &Config) -> Result<Self, Violation> {
        for organization in 0..config.organizations() {
            let is_removed = self.is_removed && organization == 0;
            self.database.check(organization, 0, config.of(organization), is_removed)?;
            for loader in self.loaders.iter().flatten() {
                let is_current = loader.identity == self.database.identity;
                let below = Offsets::below(loader.partition.low_water());
                let unsafe_ones = config.of(organization).without(self.database.shelves[organization].safe());
                if is_current && !unsafe_ones.and(below).is_empty() {
                    return Err(Violation::LowWaterTooHigh);
                }
            }
        }
        Ok(self)
    }

    /// Every record is stored once, or written down; nothing is held; the log need not be read again.
    pub(super) fn is_settled(&self, config: &Config) -> bool {
        let is_all = |organization: usize| {
            let shelf = &self.database.shelves[organization];
            let all = config.of(organization);
            shelf.held.is_empty() && all.without(shelf.safe()).is_empty() && self.open[organization].is_none()
        };
        (0..config.organizations()).all(is_all) && self.database.anchors[0] == Some(config.records())
    }
}

/// The model has no clock: whatever has to wait may have waited.
pub(super) static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
/// A moment at which no lane waits for its time.
pub(super) static LATER: LazyLock<Instant> = LazyLock::new(|| *NOW + Duration::from_secs(3600));

pub(super) fn key(organization: usize) -> LaneKey {
    LaneKey::Organization(OrganizationId(Uuid::from_u128(organization as u128 + 1)))
}

pub(super) fn record(offset: i64) -> Waiting {
    let bytes = Bytes::from_static(b"r");
    Waiting { offset, record_id: record_id(offset), events: 1, received_at: UnixMillis(0), bytes }
}

pub(super) fn next_offset(watermark: Watermark) -> i64 {
    watermark.next_offset
}
