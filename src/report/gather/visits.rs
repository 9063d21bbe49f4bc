//! What viewers watched, by visit: a session with a content on a day.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::names::{Day, Moment};
use super::{ENTRY_BYTES, column};
use crate::report::interval::{Span, Union};

/// By numbers of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VisitKey {
    pub(super) viewer: usize,
    pub(super) session: usize,
    pub(super) content: usize,
    pub(super) day: Day,
}

#[derive(Debug)]
pub(super) struct Visit {
    events: i64,
    first_at: Moment,
    last_at: Moment,
    pub(super) plays: i64,
    pub(super) answers: i64,
    pub(super) correct_answers: i64,
    pub(super) duration_ms: Option<i64>,
    /// As sent.
    pub(super) parts: Vec<Span>,
}

#[derive(Debug, Default)]
pub(super) struct Visits {
    visits: HashMap<VisitKey, Visit, RandomState>,
}

impl Visits {
    /// The visit of one more event.
    pub(super) fn visit(&mut self, key: VisitKey, at: Moment) -> &mut Visit {
        let visit = self.visits.entry(key).or_insert_with(|| Visit {
            events: 0,
            first_at: at,
            last_at: at,
            plays: 0,
            answers: 0,
            correct_answers: 0,
            duration_ms: None,
            parts: Vec::new(),
        });
        visit.events += 1;
        visit.first_at = visit.first_at.min(at);
        visit.last_at = visit.last_at.max(at);
        visit
    }

    /// But for their intervals.
    pub(super) fn bytes(&self) -> usize {
        self.visits.len() * (size_of::<(VisitKey, Visit)>() + ENTRY_BYTES)
    }

    /// Runs the statement with the visits in its first thirteen arrays, and how often seconds were watched in three more.
    pub(super) async fn send(
        &mut self,
        client: &Client,
        statement: &str,
        viewers: &[&str],
        sessions: &[&str],
        contents: &[&str],
    ) -> Result<(), tokio_postgres::Error> {
        let unions: Vec<Union> = self.visits.values_mut().map(|visit| Union::of(&mut visit.parts)).collect();
        let times = self.times();
        let (keys, visits) = (|| self.visits.keys(), || self.visits.values());
        let columns: [(&(dyn ToSql + Sync), Type); 16] = [
            (&column(keys(), |key| viewers[key.viewer]), Type::TEXT_ARRAY),
            (&column(keys(), |key| sessions[key.session]), Type::TEXT_ARRAY),
            (&column(keys(), |key| contents[key.content]), Type::TEXT_ARRAY),
            (&column(keys(), |key| key.day), Type::DATE_ARRAY),
            (&column(visits(), |visit| visit.events), Type::INT8_ARRAY),
            (&column(visits(), |visit| visit.plays), Type::INT8_ARRAY),
            (&column(visits(), |visit| visit.answers), Type::INT8_ARRAY),
            (&column(visits(), |visit| visit.correct_answers), Type::INT8_ARRAY),
            (&column(visits(), |visit| visit.duration_ms), Type::INT8_ARRAY),
            (&column(visits(), |visit| visit.first_at), Type::TIMESTAMPTZ_ARRAY),
            (&column(visits(), |visit| visit.last_at), Type::TIMESTAMPTZ_ARRAY),
            (&unions, Type::INT4MULTI_RANGE_ARRAY),
            (&column(visits(), Visit::watched_ms), Type::INT8_ARRAY),
            (&column(times.keys(), |(content, _)| contents[*content]), Type::TEXT_ARRAY),
            (&column(times.keys(), |(_, second)| *second), Type::INT4_ARRAY),
            (&column(times.values(), |times| *times), Type::INT8_ARRAY),
        ];
        client.execute_typed(statement, &columns).await.map(|_| ())
    }

    /// By how much more often a second of a content was watched than the one before. Second 0 is there wherever any is: a
    /// curve begins with it.
    fn times(&self) -> HashMap<(usize, i32), i64, RandomState> {
        let mut times = HashMap::with_hasher(RandomState::default());
        for (key, visit) in &self.visits {
            for (from, to) in visit.parts.iter().map(|(from, to)| (second(*from), second(*to))) {
                if from < to {
                    times.entry((key.content, 0)).or_default();
                    *times.entry((key.content, from)).or_default() += 1;
                    *times.entry((key.content, to)).or_default() -= 1;
                }
            }
        }
        times
    }
}

impl Visit {
    fn watched_ms(&self) -> i64 {
        self.parts.iter().map(|(from, to)| i64::from(*to) - i64::from(*from)).sum()
    }
}

/// The first second that an interval from this millisecond on has, and that one up to it no longer has: second s is in it if
/// the millisecond 1000 s + 500 is. There is none before 0.
fn second(ms: i32) -> i32 {
    i32::try_from((i64::from(ms) + 499).div_euclid(1000).max(0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_in_an_interval_if_its_middle_is() {
        for (ms, expected) in [(0, 0), (500, 0), (501, 1), (1500, 1), (1501, 2), (-1, 0), (i32::MIN, 0)] {
            assert_eq!(second(ms), expected, "{ms}");
        }
        assert_eq!(second(i32::MAX), 2_147_484);
    }
}
