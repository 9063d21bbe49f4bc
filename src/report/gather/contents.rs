//! What is new of contents, summed over their viewers.

use tokio_postgres::types::Type;

use super::column;
use super::merged::Merged;
use super::names::{Moment, Texts};
use super::table::Table;
use crate::report::ReportError;
use crate::tenant::Completion;

/// The duration that a content's sums were counted with; where it grows now, they are counted again afterwards.
const JUDGED: &str = "SELECT (key.n - 1)::integer, o.judged_ms \
     FROM unnest($1::text[]) WITH ORDINALITY AS key (content_id, n) \
     CROSS JOIN LATERAL (SELECT r.judged_ms FROM {schema}.report_content_sum AS r \
                         WHERE r.build = {build} AND r.content_id = key.content_id LIMIT 1) AS o";
const ADD: &str = include_str!("../sql/contents.sql");

#[derive(Clone, Debug, Default)]
struct Sum {
    judged_ms: Option<i64>,
    duration_ms: Option<i64>,
    viewers: i64,
    sessions: i64,
    plays: i64,
    unique_ms: i64,
    capped_ms: i64,
    watched_ms: i64,
    completed_viewers: i64,
    answers: i64,
    first_at: Option<Moment>,
    last_at: Option<Moment>,
}

/// Of some viewings, each content's sum.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    contents: Vec<&'a str>,
    sums: Vec<Sum>,
}

impl<'a> Contents<'a> {
    /// Viewings in the order of their contents.
    pub(super) async fn of(
        table: &Table<'_>,
        names: &Texts<'a>,
        completion: Completion,
        merged: &[Merged<'_>],
    ) -> Result<Self, ReportError> {
        let groups = || merged.chunk_by(|one, next| one.key.0 == next.key.0);
        let contents: Vec<&str> =
            groups().filter_map(|group| group.first()).map(|one| names.contents[one.key.0]).collect();
        let mut sums = vec![Sum::default(); contents.len()];
        for row in table.query(JUDGED, &[(&contents, Type::TEXT_ARRAY)]).await? {
            let n = usize::try_from(row.try_get::<_, i32>(0)?).ok();
            let sum = n.and_then(|n| sums.get_mut(n)).ok_or(ReportError::unreadable("report_content_sum"))?;
            sum.judged_ms = row.try_get(1)?;
        }
        for (sum, group) in sums.iter_mut().zip(groups()) {
            group.iter().for_each(|one| sum.add(one, completion));
        }
        Ok(Self { contents, sums })
    }

    pub(super) async fn write(&self, table: &Table<'_>) -> Result<(), ReportError> {
        let sums = &self.sums;
        table
            .write(
                ADD,
                &[
                    (&self.contents, Type::TEXT_ARRAY),
                    (&column(sums, |sum| sum.duration_ms), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.viewers), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.sessions), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.plays), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.unique_ms), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.capped_ms), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.watched_ms), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.completed_viewers), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.answers), Type::INT8_ARRAY),
                    (&column(sums, |sum| sum.first_at), Type::TIMESTAMPTZ_ARRAY),
                    (&column(sums, |sum| sum.last_at), Type::TIMESTAMPTZ_ARRAY),
                ],
            )
            .await
    }
}

impl Sum {
    fn add(&mut self, one: &Merged<'_>, completion: Completion) {
        let (now, before) = (one.unique_ms, one.was_unique_ms);
        self.duration_ms = self.duration_ms.max(one.new.duration_ms);
        self.viewers += i64::from(one.is_new());
        self.sessions += one.new_sessions;
        self.plays += one.new.plays;
        self.unique_ms += now - before;
        self.watched_ms += one.watched_ms;
        self.answers += one.new.answers;
        self.first_at = Some(self.first_at.map_or(one.new.first_at, |at| at.min(one.new.first_at)));
        self.last_at = self.last_at.max(Some(one.new.last_at));
        if let Some(duration @ 1..) = self.judged_ms {
            self.capped_ms += now.min(duration) - before.min(duration);
            let is_done = |ms| completion.is_reached(ms, duration);
            self.completed_viewers += i64::from(is_done(now)) - i64::from(is_done(before));
        }
    }
}
