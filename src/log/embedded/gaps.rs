//! Offsets of which no record can be read, by partition.

use std::collections::{BTreeMap, HashMap};

/// Offsets in a row, the first included and the last not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first.
    pub from: i64,
    /// The first behind them.
    pub to: i64,
}

/// Some of every partition's, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(BTreeMap<usize, Vec<Damage>>);

impl Gaps {
    /// These, too.
    pub(super) fn add(&mut self, partition: usize, added: Damage) {
        if added.from >= added.to {
            return;
        }
        let ranges = self.0.entry(partition).or_default();
        // Those that it touches become one with it.
        let begin = ranges.partition_point(|range| range.to < added.from);
        let end = ranges.partition_point(|range| range.from <= added.to);
        let from = ranges.get(begin).map_or(added.from, |range| range.from.min(added.from));
        let to = ranges[begin..end].last().map_or(added.to, |range| range.to.max(added.to));
        let from = if begin < end { from } else { added.from };
        ranges.splice(begin..end, [Damage { from, to }]);
    }

    /// Where those end that hold this offset.
    pub(super) fn end_around(&self, partition: usize, offset: i64) -> Option<i64> {
        let ranges = self.0.get(&partition)?;
        let at = ranges.partition_point(|range| range.to <= offset);
        ranges.get(at).filter(|range| range.from <= offset).map(|range| range.to)
    }

    /// All but these: what is in the first and not in the second.
    pub(super) fn without(&self, others: &Self) -> Self {
        let mut left = Self::default();
        for (partition, range) in self.each() {
            let mut from = range.from;
            for other in others.of(partition).iter().filter(|other| other.to > range.from) {
                left.add(partition, Damage { from, to: other.from.min(range.to) });
                from = from.max(other.to);
            }
            left.add(partition, Damage { from, to: range.to });
        }
        left
    }

    /// All but those below these offsets, one a partition.
    pub(super) fn not_below(&self, starts: &[i64]) -> Self {
        let mut left = Self::default();
        for (partition, range) in self.each() {
            let start = starts.get(partition).copied().unwrap_or(0);
            left.add(partition, Damage { from: range.from.max(start), to: range.to });
        }
        left
    }

    /// One partition's, in order.
    pub(super) fn of(&self, partition: usize) -> &[Damage] {
        self.0.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Every partition's, in order.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, Damage)> {
        self.0.iter().flat_map(|(partition, ranges)| ranges.iter().map(|range| (*partition, *range)))
    }

    /// As others are told.
    pub(super) fn told(&self) -> HashMap<i32, Vec<Damage>> {
        let known = self.0.iter().filter(|(_, ranges)| !ranges.is_empty());
        known.map(|(partition, ranges)| (super::partition_id(*partition), ranges.clone())).collect()
    }
}
