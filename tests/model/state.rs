//! Everything that the steps change: Postgres, the consumer group, two loaders, and what may still go wrong.

/// How many records the log has, all of one organization, at the offsets from 0.
pub(super) const RECORDS: u8 = 3;
/// How many loaders there are.
pub(super) const LOADERS: usize = 2;

/// A set of offsets.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offsets(pub u8);

impl Offsets {
    pub(super) const NONE: Self = Self(0);

    /// `from..to`.
    pub(super) fn range(from: u8, to: u8) -> Self {
        Self((1 << to) - (1 << from))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, offset: u8) -> bool {
        self.0 >> offset & 1 == 1
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those not below `offset`.
    pub(super) fn from(self, offset: u8) -> Self {
        self.without(Self::range(0, offset))
    }

    /// The lowest of them alone.
    pub(super) fn first(self) -> Self {
        Self(self.0 & self.0.wrapping_neg())
    }

    /// The lowest of them, the lowest two, and so on up to all.
    pub(super) fn beginnings(self) -> impl Iterator<Item = Self> {
        let mut beginning = Self::NONE;
        std::iter::from_fn(move || {
            let next = self.without(beginning).first();
            beginning = beginning.with(next);
            (!next.is_empty()).then_some(beginning)
        })
    }

    /// How many.
    pub(super) fn count(self) -> u8 {
        u8::try_from(self.0.count_ones()).expect("eight at most")
    }

    /// One past the highest; 0: there is none.
    pub(super) fn end(self) -> u8 {
        let bits = u8::BITS - self.0.leading_zeros();
        u8::try_from(bits).expect("a byte has eight bits")
    }
}

/// What a lane is doing. Its pending records are the loader's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// There is none.
    Ended,
    /// About to open its schema.
    Reopen,
    /// The watermark was read, held records were not yet: only without [`Rule::OneSnapshot`](super::rule::Rule).
    WatermarkRead(u8),
    /// No held records were found, the watermark was not read yet: likewise.
    NoneHeldRead,
    /// Believes the watermark to be here. One that has begun to spill has a flush in flight, which waits for the lock.
    Live(u8, Spill),
    /// Its flush is the open transaction.
    Flushing(u8, Spill),
    /// Holds what comes.
    Held,
    /// Probes for the last time, with nothing beside it.
    LastProbe,
    /// Has the drain's lock, and has read these held records.
    Draining(Offsets, Probe),
    /// Its drain is the open transaction.
    DrainWriting(Probe),
    /// Its organization was removed.
    Unattributed,
}

impl Lane {
    /// Another one for each.
    fn number(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::Reopen => 1,
            Self::NoneHeldRead => 2,
            Self::Held => 3,
            Self::LastProbe => 4,
            Self::DrainWriting(Probe::Beside) => 5,
            Self::DrainWriting(Probe::Last) => 6,
            Self::Unattributed => 7,
            Self::WatermarkRead(watermark) => 8 + watermark,
            Self::Live(watermark, spill) => 12 + 4 * spill.number() + watermark,
            Self::Flushing(watermark, spill) => 24 + 4 * spill.number() + watermark,
            Self::Draining(held, Probe::Beside) => 36 + held.0,
            Self::Draining(held, Probe::Last) => 44 + held.0,
        }
    }
}

/// Whether a lane holds what comes behind the flush that is in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spill {
    None,
    Begun,
    /// The flush ended while it held, or it was told that the organization is removed: it holds nothing more.
    CutOff,
}

impl Spill {
    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Begun => 1,
            Self::CutOff => 2,
        }
    }
}

/// Which probe of a held lane.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// What comes is held beside it.
    Beside,
    Last,
}

/// One loader, as far as this partition goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Loader {
    /// Believes that the partition is its own.
    pub(super) believes: bool,
    /// Its lane's records: routed, and not known to be safe.
    pub(super) pending: Offsets,
    pub(super) taken: u8,
    pub(super) lane: Lane,
}

impl Loader {
    pub(super) const IDLE: Self =
        Self { believes: false, pending: Offsets::NONE, taken: 0, lane: Lane::Ended };

    /// What may be committed to the log.
    pub(super) fn next_offset(self) -> u8 {
        let first = self.pending.first();
        if first.is_empty() { self.taken } else { first.end() - 1 }
    }
}

/// The transaction that has the watermark's row locked and its rows written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    /// `None`: the connection is gone, and whether it commits is the server's to say.
    pub(super) client: Option<usize>,
    pub(super) rows: Offsets,
    pub(super) moves_watermark_to: u8,
    /// A drain's: held records below here are deleted. 0: a flush.
    pub(super) deletes_below: u8,
}

impl Transaction {
    /// One that does nothing: an open one stores or deletes.
    const NONE: Self = Self { client: None, rows: Offsets::NONE, moves_watermark_to: 0, deletes_below: 0 };
}

/// How often something may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) moves: u8,
    pub(super) crashes: u8,
    pub(super) lost_answers: u8,
    pub(super) breaks: u8,
    pub(super) removals: u8,
    /// Flushes beside which a lane holds.
    pub(super) spills: u8,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The schema's; 0: it has none yet.
    pub(super) watermark: u8,
    /// How often each record's rows were stored. The primary key of `event` would hide a second time; here it shows.
    pub(super) stored: [u8; RECORDS as usize],
    pub(super) held: Offsets,
    /// In `unreadable_record`, or gone with their organization on purpose.
    pub(super) written_down: Offsets,
    pub(super) broken: bool,
    pub(super) removed: bool,
    pub(super) transaction: Option<Transaction>,
    /// An `INSERT` into `held_record` whose client is gone, and that may still come to be.
    pub(super) late_hold: Offsets,
    /// The log's committed offset.
    pub(super) committed: u8,
    /// Who has the partition, as the group says.
    pub(super) owner: Option<usize>,
    pub(super) loaders: [Loader; LOADERS],
    pub(super) faults: Faults,
}

impl State {
    /// Nothing has happened yet.
    pub(super) fn start(faults: Faults) -> Self {
        Self {
            watermark: 0,
            stored: [0; RECORDS as usize],
            held: Offsets::NONE,
            written_down: Offsets::NONE,
            broken: false,
            removed: false,
            transaction: None,
            late_hold: Offsets::NONE,
            committed: 0,
            owner: None,
            loaders: [Loader::IDLE; LOADERS],
            faults,
        }
    }

    /// Whether the record is where somebody will find it.
    pub(super) fn is_safe(&self, offset: u8) -> bool {
        self.stored[usize::from(offset)] > 0 || self.held.has(offset) || self.written_down.has(offset)
    }

    /// The whole of it in 64 bits, the same for two states that differ only in which loader is which.
    pub(super) fn key(&self) -> u64 {
        let mut bits = Bits(0);
        bits.push(self.watermark, 2);
        self.stored.iter().for_each(|times| bits.push(*times, 1));
        bits.push(self.held.0, 3);
        bits.push(self.written_down.0, 3);
        bits.push(u8::from(self.broken), 1);
        bits.push(u8::from(self.removed), 1);
        let open = self.transaction.unwrap_or(Transaction::NONE);
        bits.push(open.rows.0, 3);
        bits.push(open.moves_watermark_to, 2);
        bits.push(open.deletes_below, 2);
        bits.push(self.late_hold.0, 3);
        bits.push(self.committed, 2);
        bits.push(self.faults.moves, 2);
        bits.push(self.faults.crashes, 1);
        bits.push(self.faults.lost_answers, 2);
        bits.push(self.faults.breaks, 2);
        bits.push(self.faults.removals, 1);
        bits.push(self.faults.spills, 2);
        let (one, other) = (self.seat(0), self.seat(1));
        let (high, low) = if one > other { (one, other) } else { (other, one) };
        bits.0 << (2 * SEAT_BITS) | high << SEAT_BITS | low
    }

    /// All that is one loader's.
    fn seat(&self, number: usize) -> u64 {
        let loader = &self.loaders[number];
        let mut bits = Bits(0);
        bits.push(u8::from(loader.believes), 1);
        bits.push(u8::from(self.owner == Some(number)), 1);
        bits.push(u8::from(self.transaction.is_some_and(|open| open.client == Some(number))), 1);
        bits.push(loader.pending.0, 3);
        bits.push(loader.taken, 2);
        bits.push(loader.lane.number(), 6);
        bits.0
    }
}

const SEAT_BITS: u32 = 14;

struct Bits(u64);

impl Bits {
    fn push(&mut self, value: u8, width: u32) {
        assert!(u32::from(value) < 1 << width, "{value} does not fit into {width} bits");
        self.0 = self.0 << width | u64::from(value);
    }
}
