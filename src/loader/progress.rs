//! The low-water mark of one partition: the lowest offset that is not yet safe.

use std::collections::BTreeMap;

use super::position::Watermark;
use crate::event::UnixMillis;

/// Which offsets of a partition were taken, and which of them are neither stored nor held yet.
///
/// Offsets may have gaps (transaction markers, deleted records): only what was taken counts.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When intake received them, where that can be read.
    unfinished: BTreeMap<i64, Option<UnixMillis>>,
    /// One past the highest offset taken, or where the partition is read from.
    taken_up_to: Option<i64>,
    /// The highest watermark that any schema has here, as far as its lane has seen.
    highest: Option<Watermark>,
}

impl Progress {
    /// A partition that is read from `next_offset`, or from its very beginning.
    pub(super) fn starting_at(next_offset: Option<i64>) -> Self {
        Self { unfinished: BTreeMap::new(), taken_up_to: next_offset, highest: None }
    }

    /// A record was taken from the log. Offsets come in order.
    pub(super) fn begin(&mut self, offset: i64, received_at: Option<UnixMillis>) {
        self.unfinished.insert(offset, received_at);
        self.taken_up_to = Some(offset + 1);
    }

    /// From `from` on there is no record before `to`. Not if records came meanwhile, or still wait for their fate.
    pub(super) fn skip(&mut self, from: i64, to: i64) {
        if self.unfinished.is_empty() && self.taken_up_to.is_none_or(|taken| taken == from) && from < to {
            self.taken_up_to = Some(to);
        }
    }

    /// Whether everything that was taken is safe.
    pub(super) fn is_idle(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// A record is stored, held, or written down as unreadable. Said twice, it counts once.
    pub(super) fn finish(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// A schema has this watermark.
    pub(super) fn see(&mut self, watermark: Watermark) {
        self.highest = Watermark::higher(self.highest, Some(watermark));
    }

    /// The highest watermark that was seen.
    pub(super) fn highest(&self) -> Option<Watermark> {
        self.highest
    }

    /// The next offset to take from the log; `None`: its first.
    pub(super) fn taken_up_to(&self) -> Option<i64> {
        self.taken_up_to
    }

    /// The next offset to read after a restart; `None`: the very beginning.
    pub(super) fn next_offset(&self) -> Option<i64> {
        self.unfinished.first_key_value().map(|(offset, _)| *offset).or(self.taken_up_to)
    }

    /// When intake received the oldest record that is not safe yet.
    pub(super) fn oldest_received_at(&self) -> Option<UnixMillis> {
        self.unfinished.values().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_is_passed_only_by_who_stands_before_it() {
        let mut progress = Progress::starting_at(Some(5));
        progress.skip(4, 9);
        assert_eq!(progress.next_offset(), Some(5));
        progress.begin(5, None);
        progress.skip(6, 9);
        assert_eq!(progress.next_offset(), Some(5), "a record below the gap is not safe yet");
        progress.finish(5);
        progress.skip(6, 9);
        assert_eq!(progress.next_offset(), Some(9));
        progress.skip(9, 7);
        assert_eq!(progress.next_offset(), Some(9));
    }

    proptest! {
        /// Against the definition: nothing below the mark is unfinished, and the mark is as high as it can be.
        #[test]
        fn the_mark_never_passes_an_unfinished_offset(
            gaps in prop::collection::vec(1i64..4, 1..50),
            finished in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut progress = Progress::default();
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            offsets.iter().for_each(|offset| progress.begin(*offset, None));
            let done: HashSet<i64> = finished.iter().map(|index| *index.get(&offsets)).collect();
            done.iter().for_each(|offset| progress.finish(*offset));

            let expected = offsets.iter().find(|offset| !done.contains(offset)).copied();
            let past_all = offsets.last().map(|last| last + 1);
            prop_assert_eq!(progress.next_offset(), expected.or(past_all));
        }
    }
}
