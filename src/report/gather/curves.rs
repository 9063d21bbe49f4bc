//! Steps of curves, by content: where more or fewer watched a second than the one before. Kept by the minute, so that a slice
//! changes few rows, and merged here with what is kept.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use tokio_postgres::types::{ToSql, Type};

use super::names::Place;
use super::table::Table;
use super::{ENTRY_BYTES, column};
use crate::report::ReportError;
use crate::report::interval::Span;

/// Seconds of a content that share a row: it stays so small that Postgres keeps it in one piece.
const PART_SECONDS: i32 = 64;

/// By how many more a second was watched than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    viewers: i64,
    times: i64,
}

/// So many rows are merged at a time: each is a hundred times as large as a step that changes it.
const PARTS: usize = 1024;

/// A content, and which part of it.
type PartKey = (usize, i32);
type Part = BTreeMap<i32, Step>;

#[derive(Debug, Default)]
pub(super) struct Curves {
    steps: HashMap<(usize, i32), Step, RandomState>,
}

impl Curves {
    /// One viewer more has watched this.
    pub(super) fn watched_by_one_more(&mut self, content: usize, span: Span) {
        self.step(content, span, Step { viewers: 1, times: 0 });
    }

    /// It was watched once more.
    pub(super) fn watched_once_more(&mut self, content: usize, span: Span) {
        self.step(content, span, Step { viewers: 0, times: 1 });
    }

    /// Second 0 is there wherever any is: a curve begins with it.
    fn step(&mut self, content: usize, (from_ms, to_ms): Span, by: Step) {
        let (from, to) = (second(from_ms), second(to_ms));
        if from < to {
            self.steps.entry((content, 0)).or_default();
            self.steps.entry((content, from)).or_default().add(by);
            self.steps.entry((content, to)).or_default().add(Step { viewers: -by.viewers, times: -by.times });
        }
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.steps.len() * (size_of::<(PartKey, Step)>() + ENTRY_BYTES)
    }

    fn by_part(&mut self) -> BTreeMap<PartKey, Part> {
        let mut parts: BTreeMap<PartKey, Part> = BTreeMap::new();
        for ((content, second), step) in std::mem::take(&mut self.steps) {
            parts.entry((content, second / PART_SECONDS)).or_default().insert(second, step);
        }
        parts
    }

    /// Adds them to those that are kept; here there are none left.
    pub(super) async fn write(&mut self, table: &Table<'_>, contents: &[&str]) -> Result<(), ReportError> {
        let mut parts = self.by_part();
        while let Some(next) = parts.keys().nth(PARTS).copied() {
            let later = parts.split_off(&next);
            Self::write_some(table, contents, std::mem::replace(&mut parts, later)).await?;
        }
        if parts.is_empty() { Ok(()) } else { Self::write_some(table, contents, parts).await }
    }

    async fn write_some(
        table: &Table<'_>,
        contents: &[&str],
        mut parts: BTreeMap<PartKey, Part>,
    ) -> Result<(), ReportError> {
        let keys: Vec<PartKey> = parts.keys().copied().collect();
        let names = |keys: &[PartKey]| column(keys, |key| contents[key.0]);
        let numbers = |keys: &[PartKey]| column(keys, |key| key.1);
        let known = table
            .query(KNOWN, &[(&names(&keys), Type::TEXT_ARRAY), (&numbers(&keys), Type::INT4_ARRAY)])
            .await?;
        let mut kept: Vec<(Place, Part)> = Vec::with_capacity(known.len());
        for row in &known {
            let key = usize::try_from(row.try_get::<_, i32>(0)?).ok().and_then(|n| keys.get(n));
            let Some(mut part) = key.and_then(|key| parts.remove(key)) else {
                return Err(ReportError::unreadable("report_curve"));
            };
            let (seconds, viewers, times): (Vec<i32>, Vec<i64>, Vec<i64>) =
                (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            for ((second, viewers), times) in seconds.into_iter().zip(viewers).zip(times) {
                part.entry(second).or_default().add(Step { viewers, times });
            }
            kept.push((row.try_get(1)?, part));
        }
        let new: Vec<PartKey> = parts.keys().copied().collect();
        let added = Lists::of(parts.values());
        let (new_names, new_numbers) = (names(&new), numbers(&new));
        let places = column(&kept, |(place, _)| *place);
        let changed = Lists::of(kept.iter().map(|(_, part)| part));
        let mut add: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&new_names, Type::TEXT_ARRAY), (&new_numbers, Type::INT4_ARRAY)];
        add.extend(added.columns());
        let mut keep: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&places, Type::TID_ARRAY)];
        keep.extend(changed.columns());
        tokio::try_join!(table.write_all(ADD, new.len(), &add), table.write_all(KEEP, places.len(), &keep),)?;
        Ok(())
    }
}

impl Step {
    fn add(&mut self, other: Self) {
        self.viewers += other.viewers;
        self.times += other.times;
    }
}

/// Parts as lists one after the other, and where each one's stretch of them begins and ends, from 1 on.
#[derive(Debug, Default)]
struct Lists {
    seconds: Vec<i32>,
    viewers: Vec<i64>,
    times: Vec<i64>,
    first: Vec<i32>,
    last: Vec<i32>,
}

impl Lists {
    fn of<'a>(parts: impl Iterator<Item = &'a Part>) -> Self {
        let mut lists = Self::default();
        let end = |lists: &Self| i32::try_from(lists.seconds.len()).unwrap_or(i32::MAX);
        for part in parts {
            lists.first.push(end(&lists).saturating_add(1));
            for (second, step) in part {
                if *step != Step::default() || *second == 0 {
                    lists.seconds.push(*second);
                    lists.viewers.push(step.viewers);
                    lists.times.push(step.times);
                }
            }
            lists.last.push(end(&lists));
        }
        lists
    }

    fn columns(&self) -> [(&(dyn ToSql + Sync), Type); 5] {
        [
            (&self.first, Type::INT4_ARRAY),
            (&self.last, Type::INT4_ARRAY),
            (&self.seconds, Type::INT4_ARRAY),
            (&self.viewers, Type::INT8_ARRAY),
            (&self.times, Type::INT8_ARRAY),
        ]
    }
}

const KNOWN: &str = "SELECT (key.n - 1)::integer, o.ctid, o.seconds, o.viewers, o.times \
     FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS key (content_id, part, n) \
     CROSS JOIN LATERAL (SELECT r.ctid, r.* FROM {schema}.report_curve AS r \
                         WHERE r.build = {build} AND r.content_id = key.content_id AND r.part = key.part LIMIT 1) AS o";
const ADD: &str = "INSERT INTO {schema}.report_curve (build, content_id, part, seconds, viewers, times) \
     SELECT {build}, content_id, part, ($5::integer[])[first:last], ($6::bigint[])[first:last], ($7::bigint[])[first:last] \
     FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[]) AS new (content_id, part, first, last)";
const KEEP: &str = "UPDATE {schema}.report_curve AS kept \
     SET seconds = ($4::integer[])[first:last], viewers = ($5::bigint[])[first:last], times = ($6::bigint[])[first:last] \
     FROM unnest($1::tid[], $2::integer[], $3::integer[]) AS new (place, first, last) \
     WHERE kept.ctid = new.place";

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

    #[test]
    fn a_step_that_comes_to_nothing_is_not_kept_but_for_the_first() {
        let mut curves = Curves::default();
        curves.watched_once_more(7, (0, 5_000));
        curves.watched_once_more(7, (5_000, 70_000));
        curves.watched_by_one_more(7, (1_000, 1_400));
        let parts = curves.by_part();
        assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [(7, 0), (7, 1)]);
        let lists = Lists::of(parts.values());
        assert_eq!((lists.seconds, lists.times), (vec![0, 70], vec![1, -1]));
        assert_eq!((lists.first, lists.last), (vec![1, 2], vec![1, 2]));
    }
}
