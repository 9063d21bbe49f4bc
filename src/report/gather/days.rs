//! What happened on each day.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tokio_postgres::types::{ToSql, Type};

use super::names::{Day, Texts};
use super::table::Table;
use super::{ENTRY_BYTES, ROWS, column};
use crate::report::ReportError;

const ADD: &str = "INSERT INTO {schema}.report_day_sum AS kept \
         (build, day, viewers, sessions, contents, events, plays, watched_ms, answers, correct_answers) \
     SELECT {build}, day, 0, 0, 0, events, plays, watched_ms, answers, correct_answers \
     FROM unnest($1::date[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
         AS new (day, events, plays, watched_ms, answers, correct_answers) \
     ON CONFLICT (build, day) DO UPDATE \
         SET events = kept.events + excluded.events, plays = kept.plays + excluded.plays, \
             watched_ms = kept.watched_ms + excluded.watched_ms, answers = kept.answers + excluded.answers, \
             correct_answers = kept.correct_answers + excluded.correct_answers";
const ADD_VISITS: &str = include_str!("../sql/days.sql");
const ADD_CONTENTS: &str = "WITH new AS ( \
         INSERT INTO {schema}.report_day_content (build, day, content_id) \
         SELECT {build}, day, content_id FROM unnest($1::date[], $2::text[]) AS named (day, content_id) \
         ON CONFLICT DO NOTHING RETURNING day) \
     UPDATE {schema}.report_day_sum AS kept SET contents = kept.contents + new.contents \
     FROM (SELECT day, count(*) AS contents FROM new GROUP BY day) AS new \
     WHERE kept.build = {build} AND kept.day = new.day";

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
        self.sums.len() * (size_of::<(Day, Sum)>() + ENTRY_BYTES) + self.contents.len() * ENTRY_BYTES
    }

    /// Adds them to those that are kept.
    pub(super) async fn write(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        let days: Vec<(&Day, &Sum)> = self.sums.iter().collect();
        for some in days.chunks(ROWS) {
            let columns: [(&(dyn ToSql + Sync), Type); 6] = [
                (&column(some, |(day, _)| **day), Type::DATE_ARRAY),
                (&column(some, |(_, sum)| sum.events), Type::INT8_ARRAY),
                (&column(some, |(_, sum)| sum.plays), Type::INT8_ARRAY),
                (&column(some, |(_, sum)| sum.watched_ms), Type::INT8_ARRAY),
                (&column(some, |(_, sum)| sum.answers), Type::INT8_ARRAY),
                (&column(some, |(_, sum)| sum.correct_answers), Type::INT8_ARRAY),
            ];
            table.write(ADD, &columns).await?;
        }
        self.write_visits(table, names).await?;
        let contents: Vec<_> = self.contents.iter().collect();
        for some in contents.chunks(ROWS) {
            let days = column(some, |one| one.0);
            let contents = column(some, |one| names.contents[one.1]);
            table.write(ADD_CONTENTS, &[(&days, Type::DATE_ARRAY), (&contents, Type::TEXT_ARRAY)]).await?;
        }
        Ok(())
    }

    async fn write_visits(&self, table: &Table<'_>, names: &Texts<'_>) -> Result<(), ReportError> {
        let mut visits: Vec<_> = self.visits.iter().collect();
        visits.sort_unstable_by_key(|(day, viewer, session)| {
            (*day, names.viewers[*viewer], names.sessions[*session])
        });
        // They are in order: the first of a viewer's on a day comes before the others, of which the last may be written later.
        let before = std::iter::once(None).chain(visits.iter().map(|visit| Some((visit.0, visit.1))));
        let are_first: Vec<bool> =
            visits.iter().zip(before).map(|(visit, before)| before != Some((visit.0, visit.1))).collect();
        for (some, are_first) in visits.chunks(ROWS).zip(are_first.chunks(ROWS)) {
            let columns: [(&(dyn ToSql + Sync), Type); 4] = [
                (&column(some, |visit| visit.0), Type::DATE_ARRAY),
                (&column(some, |visit| names.viewers[visit.1]), Type::TEXT_ARRAY),
                (&column(some, |visit| names.sessions[visit.2]), Type::TEXT_ARRAY),
                (&are_first, Type::BOOL_ARRAY),
            ];
            table.write(ADD_VISITS, &columns).await?;
        }
        Ok(())
    }
}
