//! Postgres, as far as the loader's protocol sees it: each function is what happens in one piece, under the row lock or in
//! one statement. The model and the simulator share it.
//!
//! | here | in `src/loader/` |
//! | --- | --- |
//! | [`Database::any_held`] | `writer/flush.rs`: `any_held`, the first statement of a flush that opens |
//! | [`Database::judge`], [`Database::flush`] | `writer/flush.rs`: `Opened::judge` under the watermark's lock, and the rest up to the commit |
//! | [`Database::first_held`], [`Database::drain`] | `held_record.rs`: `FIRST`; then `enter`, `store` and `DELETE` |
//! | [`Database::commit`] | `COMMIT` of either |
//! | [`Database::hold`] | `held_record.rs`: `hold`, with its trigger |
//! | [`Database::write_down`] | `unreadable.rs` |
//! | [`Database::move_anchor`] | `anchor.rs`: `write`, for one partition |
//! | [`Database::remove`] | `store/removal.rs` |

use uuid::Uuid;

use super::rule::{Rule, keeps};
use crate::loader::lane::Expected;
use crate::loader::position::Watermark;

/// A set of offsets below 128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::loader) struct Offsets(pub(in crate::loader) u128);

impl Offsets {
    pub(in crate::loader) fn one(offset: i64) -> Self {
        Self(1 << offset)
    }

    /// Those below the offset.
    pub(in crate::loader) fn below(offset: i64) -> Self {
        Self(1_u128.checked_shl(u32::try_from(offset).unwrap_or_default()).map_or(u128::MAX, |bit| bit - 1))
    }

    pub(in crate::loader) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in crate::loader) fn has(self, offset: i64) -> bool {
        self.0 >> offset & 1 == 1
    }

    pub(in crate::loader) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(in crate::loader) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(in crate::loader) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The lowest of them, so many.
    pub(in crate::loader) fn first(self, count: usize) -> Self {
        let mut rest = self.0;
        (0..count.min(self.count())).for_each(|_| rest &= rest.wrapping_sub(1));
        Self(self.0 & !rest)
    }

    /// The lowest.
    pub(in crate::loader) fn lowest(self) -> Option<i64> {
        (!self.is_empty()).then(|| i64::from(self.0.trailing_zeros()))
    }

    /// One past the highest; 0: there is none.
    pub(in crate::loader) fn end(self) -> i64 {
        i64::from(u128::BITS - self.0.leading_zeros())
    }

    pub(in crate::loader) fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(in crate::loader) fn iter(self) -> impl Iterator<Item = i64> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = Self(rest).lowest()?;
            rest &= rest - 1;
            Some(lowest)
        })
    }
}

impl FromIterator<i64> for Offsets {
    fn from_iter<T: IntoIterator<Item = i64>>(offsets: T) -> Self {
        offsets.into_iter().fold(Self::default(), |all, offset| all.with(Self::one(offset)))
    }
}

/// What the databases's schemas have of one organization in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::loader) struct Shelf {
    /// `next_offset` of the schema's watermark; 0: it has none.
    pub(in crate::loader) watermark: i64,
    /// Records whose rows are stored, or dead letters.
    pub(in crate::loader) stored: Offsets,
    pub(in crate::loader) held: Offsets,
    /// In `unreadable_record`, or gone with their organization.
    pub(in crate::loader) written_down: Offsets,
}

impl Shelf {
    /// What is neither to be read again nor lost.
    pub(in crate::loader) fn safe(&self) -> Offsets {
        self.stored.with(self.held).with(self.written_down)
    }
}

/// A transaction that has the watermark's row locked, and is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::loader) struct Transaction {
    /// Where it found the watermark.
    pub(in crate::loader) found: i64,
    /// The records that it stores.
    pub(in crate::loader) rows: Offsets,
    /// Where it moves the watermark.
    pub(in crate::loader) to: i64,
    /// The held records that it deletes.
    pub(in crate::loader) deletes: Offsets,
}

/// What a rule is there to prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::loader) enum Violation {
    /// A record's rows were stored a second time.
    Doubled,
    /// An anchor is past a record that is neither stored, held nor written down.
    Lost,
    /// The watermark covers a record that was neither stored nor written down.
    Skipped,
    /// The watermark moved back.
    MovedBack,
    /// A record is held for a removed organization.
    HeldForNobody,
    /// A partition's low-water mark is past a record that is not safe.
    LowWaterTooHigh,
    /// Nothing goes wrong any more, and still not everything is stored.
    DoesNotSettle,
}

/// Which life of the server this is.
pub(in crate::loader) type Identity = u32;

/// See the module. Shelves are numbered by whoever uses it: one for each organization of each partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::loader) struct Database {
    pub(in crate::loader) identity: Identity,
    pub(in crate::loader) shelves: Vec<Shelf>,
    /// `next_offset` by partition.
    pub(in crate::loader) anchors: Vec<Option<i64>>,
}

impl Database {
    pub(in crate::loader) fn new(shelves: usize, partitions: usize) -> Self {
        Self { identity: 0, shelves: vec![Shelf::default(); shelves], anchors: vec![None; partitions] }
    }

    pub(in crate::loader) fn watermark(&self, shelf: usize) -> Option<Watermark> {
        watermark(self.shelves[shelf].watermark)
    }

    pub(in crate::loader) fn any_held(&self, shelf: usize) -> bool {
        !self.shelves[shelf].held.is_empty()
    }

    /// Under the lock: gives where the watermark is if it may be written behind it, or else what the lane is told.
    pub(in crate::loader) fn judge(
        &self,
        shelf: usize,
        expected: Expected,
        first: i64,
    ) -> Result<(), Option<Watermark>> {
        let found = self.watermark(shelf);
        let is_stale = match expected {
            Expected::Watermark(expected) => found != expected,
            Expected::AtLeast(at_least) => {
                Watermark::covers(found.as_ref(), first)
                    || (Watermark::higher(found, at_least) != found
                        && keeps(Rule::OfLane(crate::loader::lane::Rule::WatermarksNeverGoBack)))
            }
        };
        if is_stale && keeps(Rule::CompareWatermark) { Err(found) } else { Ok(()) }
    }

    pub(in crate::loader) fn flush(&self, shelf: usize, records: Offsets) -> Transaction {
        let found = self.shelves[shelf].watermark;
        Transaction { found, rows: records, to: records.end(), deletes: Offsets::default() }
    }

    /// The first held records; none: there are none.
    pub(in crate::loader) fn first_held(&self, shelf: usize, count: usize) -> Offsets {
        let held = self.shelves[shelf].held;
        if keeps(Rule::DrainInOrder) {
            held.first(count)
        } else {
            held.without(held.first(held.count().saturating_sub(1)))
        }
    }

    /// Under the lock: what was read of held records is stored and deleted.
    pub(in crate::loader) fn drain(&mut self, shelf: usize, read: Offsets) -> Transaction {
        let shelf = &mut self.shelves[shelf];
        let covered = match keeps(Rule::DrainSkipsCovered) {
            true => Offsets::below(shelf.watermark),
            false => Offsets::default(),
        };
        let rows = read.without(covered);
        let deletes = match keeps(Rule::DrainInOrder) {
            // `log_offset <= last`.
            true => Offsets::below(read.end()),
            false => read,
        };
        if !keeps(Rule::DrainDeletesWithRows) {
            shelf.held = shelf.held.without(deletes);
        }
        Transaction { found: shelf.watermark, rows, to: rows.end().max(shelf.watermark), deletes }
    }

    pub(in crate::loader) fn commit(
        &mut self,
        shelf: usize,
        transaction: Transaction,
    ) -> Result<(), Violation> {
        let shelf = &mut self.shelves[shelf];
        if !transaction.rows.and(shelf.stored).is_empty() {
            return Err(Violation::Doubled);
        }
        if transaction.to < shelf.watermark {
            return Err(Violation::MovedBack);
        }
        shelf.stored = shelf.stored.with(transaction.rows);
        shelf.held = shelf.held.without(transaction.deletes);
        shelf.watermark = transaction.to;
        Ok(())
    }

    /// Gives whether the organization is there; if it was removed, nothing is held.
    pub(in crate::loader) fn hold(&mut self, shelf: usize, records: Offsets, is_removed: bool) -> bool {
        let shelf = &mut self.shelves[shelf];
        if is_removed && keeps(Rule::HoldAsksForRemoval) {
            return false;
        }
        shelf.held = shelf.held.with(records);
        if !keeps(Rule::HoldLeavesWatermark) {
            shelf.watermark = shelf.watermark.max(records.end());
        }
        true
    }

    pub(in crate::loader) fn write_down(&mut self, shelf: usize, records: Offsets) {
        let shelf = &mut self.shelves[shelf];
        shelf.written_down = shelf.written_down.with(records);
    }

    /// All of it goes: what was held, on purpose.
    pub(in crate::loader) fn remove(&mut self, shelf: usize) {
        let shelf = &mut self.shelves[shelf];
        shelf.written_down = shelf.written_down.with(shelf.held);
        shelf.held = Offsets::default();
    }

    /// Gives whether it was moved: the server is the one that the loader began with, and the anchor where it left it.
    pub(in crate::loader) fn move_anchor(
        &mut self,
        partition: usize,
        known: Identity,
        from: Option<i64>,
        to: i64,
    ) -> bool {
        let is_known = known == self.identity || !keeps(Rule::AnchorReadsIdentity);
        let is_moved = is_known && self.anchors[partition] == from;
        if is_moved {
            self.anchors[partition] = Some(to);
        }
        is_moved
    }

    /// Looks at one shelf, with the records that the log has of it.
    pub(in crate::loader) fn check(
        &self,
        shelf: usize,
        partition: usize,
        records: Offsets,
        is_removed: bool,
    ) -> Result<(), Violation> {
        let anchor = self.anchors[partition].unwrap_or_default();
        let shelf = &self.shelves[shelf];
        let missing = records.without(shelf.stored).without(shelf.written_down);
        if !missing.and(Offsets::below(shelf.watermark)).is_empty() {
            return Err(Violation::Skipped);
        }
        if !records.without(shelf.safe()).and(Offsets::below(anchor)).is_empty() {
            return Err(Violation::Lost);
        }
        if is_removed && !shelf.held.is_empty() {
            return Err(Violation::HeldForNobody);
        }
        Ok(())
    }
}

/// The id of the record at an offset.
pub(in crate::loader) fn record_id(offset: i64) -> Uuid {
    Uuid::from_u128(u128::from(offset.unsigned_abs()) + 1)
}

/// The watermark that has this next offset; 0: there is none.
pub(in crate::loader) fn watermark(next_offset: i64) -> Option<Watermark> {
    (next_offset > 0).then(|| Watermark::after(next_offset - 1, record_id(next_offset - 1)))
}

/// The anchor at this offset. Below the first there is no record.
pub(in crate::loader) fn anchor(next_offset: i64) -> Watermark {
    watermark(next_offset).unwrap_or(Watermark { next_offset, last_record_id: Uuid::nil() })
}
