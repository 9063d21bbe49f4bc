//! What happened on each day.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tokio_postgres::types::Type;

use super::names::{Day, Texts};
use super::table::Table;
use super::{ENTRY_BYTES, column};
use crate::report::ReportError;

const ADD: &str = include_str!("../sql/days.sql");

#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) events: i64,
    pub(super) plays: i64,
    pub(super) watched_ms: i64,
    pub(super) answers: i64,
    pub(super) correct_answers: i64,
}

#[derive(Debug, Default)]
pub(super) struct Days {
    sums: HashMap<Day, Sum, RandomState>,
    /// Each with a content that an event of it names.
    contents: HashSet<(Day, usize), RandomState>,
    /// Each with the viewer and the session of an event of it, but for those that are known to be counted.
    visits: HashSet<(Day, usize, usize), RandomState>,
}

impl Days {
    /// The day of one more event.
    pub(super) fn day(&mut self, day: Day, content: usize) -> &mut Sum {
        self.contents.insert((day, content));
        let sum = self.sums.entry(day).or_default();
        sum.events += 1;
        sum
    }

    /// May be counted already: a session may be with several contents.
    pub(super) fn visit(&mut self, day: Day, viewer: usize, session: usize) {
        self.visits.insert((day, viewer, session));
    }

    pub(super) fn bytes(&self) -> usize {
        (self.sums.len() + self.contents.len()) * ENTRY_BYTES
    }

    /// Adds them to those that are kept.
    pub(super) async fn write(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        let mut visits: Vec<_> = self.visits.iter().collect();
        visits.sort_unstable_by_key(|(day, viewer, session)| {
            (*day, names.viewers[*viewer], names.sessions[*session])
        });
        // They are in order: the first of a viewer's on a day comes before the others.
        let before = std::iter::once(None).chain(visits.iter().map(|visit| Some((visit.0, visit.1))));
        let are_first: Vec<bool> =
            visits.iter().zip(before).map(|(visit, before)| before != Some((visit.0, visit.1))).collect();
        let (days, sums): (Vec<Day>, Vec<&Sum>) = self.sums.iter().map(|(day, sum)| (*day, sum)).unzip();
        let contents: Vec<_> = self.contents.iter().collect();
        table
            .write(
                ADD,
                &[
                    (&column(&visits, |visit| visit.0), Type::DATE_ARRAY),
                    (&column(&visits, |visit| names.viewers[visit.1]), Type::TEXT_ARRAY),
                    (&column(&visits, |visit| names.sessions[visit.2]), Type::TEXT_ARRAY),
                    (&are_first, Type::BOOL_ARRAY),
                    (&column(&contents, |one| one.0), Type::DATE_ARRAY),
                    (&column(&contents, |one| names.contents[one.1]), Type::TEXT_ARRAY),
                    (&days, Type::DATE_ARRAY),
                    (&column(&sums, |sum| sum.events), Type::INT8_ARRAY),
                    (&column(&sums, |sum| sum.plays), Type::INT8_ARRAY),
                    (&column(&sums, |sum| sum.watched_ms), Type::INT8_ARRAY),
                    (&column(&sums, |sum| sum.answers), Type::INT8_ARRAY),
                    (&column(&sums, |sum| sum.correct_answers), Type::INT8_ARRAY),
                ],
            )
            .await
    }
}
