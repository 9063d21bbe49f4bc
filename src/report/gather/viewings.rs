//! What is new of each viewer with each content.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::ENTRY_BYTES;
use super::names::{Day, Moment, Texts};
use crate::report::interval::Span;

/// By numbers of names: the content and the viewer.
pub(super) type Key = (usize, usize);

/// One of them.
pub(super) type Entry<'a> = (Key, &'a mut Viewing);

/// What is new of one viewer with one content.
#[derive(Debug)]
pub(super) struct Viewing {
    pub(super) first_at: Moment,
    pub(super) last_at: Moment,
    pub(super) plays: i64,
    pub(super) answers: i64,
    pub(super) duration_ms: Option<i64>,
    /// As sent.
    pub(super) parts: Vec<Span>,
    /// Sessions, each with a day on which there was an event of it.
    pub(super) visits: Vec<(usize, Day)>,
}

#[derive(Debug, Default)]
pub(super) struct Viewings {
    viewings: HashMap<Key, Viewing, RandomState>,
    /// Those of all viewings.
    visits: HashSet<(Key, usize, Day), RandomState>,
}

impl Viewings {
    /// The viewing of one more event.
    pub(super) fn viewing(&mut self, key: Key, session: usize, at: Moment) -> &mut Viewing {
        let viewing = self.viewings.entry(key).or_insert_with(|| Viewing {
            first_at: at,
            last_at: at,
            plays: 0,
            answers: 0,
            duration_ms: None,
            parts: Vec::new(),
            visits: Vec::new(),
        });
        viewing.first_at = viewing.first_at.min(at);
        viewing.last_at = viewing.last_at.max(at);
        let visit = (session, at.day());
        if viewing.visits.last() != Some(&visit) && self.visits.insert((key, session, visit.1)) {
            viewing.visits.push(visit);
        }
        viewing
    }

    /// But for their intervals.
    pub(super) fn bytes(&self) -> usize {
        self.viewings.len() * (size_of::<(Key, Viewing)>() + ENTRY_BYTES)
            // Its own, and in `days`.
            + self.visits.len() * 2 * (size_of::<(Key, usize, Day)>() + ENTRY_BYTES)
    }

    /// In the order of the tables' key, so that neighbours share a page: by bytes, which is next to any collation's order and
    /// several times as fast.
    pub(super) fn in_order(&mut self, names: &Texts<'_>) -> Vec<Entry<'_>> {
        let mut all: Vec<_> = self.viewings.iter_mut().map(|(key, viewing)| (*key, viewing)).collect();
        all.sort_unstable_by_key(|((content, viewer), _)| (names.contents[*content], names.viewers[*viewer]));
        all
    }
}
