//! Events of a slice, gathered by what is told of them. Postgres reads each once and hands it over; what it would have to
//! group, sort and join is grouped here, merged with the few rows that it changes, and goes back as arrays.
//!
//! - [`viewings`]: a viewer with a content; [`known`]: what the tables hold of it; [`merged`]: both; [`contents`]: sums of that
//! - [`curves`], [`days`]
//! - [`answers`]: what a viewer did with an item; [`times`]: how long answers took
//!
//! What is gathered is bounded, and so is what it is merged with: some thousand rows at a time, and of those that may be large no
//! more than a part of what is gathered. Only curves and days are kept from one such part to the next.

mod answers;
mod contents;
mod curves;
mod days;
mod known;
mod merged;
mod names;
mod table;
mod times;
mod viewings;

use std::collections::VecDeque;

use tokio_postgres::Row;
use uuid::Uuid;

use self::answers::{Act, Answer, Answers};
use self::contents::Contents;
use self::curves::Curves;
use self::days::Days;
use self::known::{Found, look_up};
use self::merged::Merged;
use self::names::{Moment, Names, Texts};
pub(super) use self::table::Table;
use self::viewings::Viewings;
use super::ReportError;
use super::interval::Intervals;
use crate::tenant::Completion;

/// About what an entry of a table or list takes beside its text.
const ENTRY_BYTES: usize = 48;
/// So many rows are looked up or written at a time.
const ROWS: usize = 8192;
/// Curves are written as soon as they take so many times what may be held.
const CURVES: usize = 4;
/// What an interval may come to: two steps of a curve, with the content's name in what is sent.
const PART_BYTES: usize = 160;

/// What is read of an event, as [`Gathered::add`] takes it: whatever a hand wrote.
pub(super) const COLUMNS: &str = "viewer_id, session_id, content_id, occurred_at, type, correct, watched, \
     CASE WHEN type = 'video.ready' AND jsonb_typeof(details -> 'duration_ms') = 'number' THEN \
         CASE WHEN (details ->> 'duration_ms')::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 \
              THEN (details ->> 'duration_ms')::numeric::bigint END END, \
     item_id, seq, event_id, CASE WHEN type = 'item.answered' THEN answer::text END, score, elapsed_ms";

/// A column of what is gathered, as a statement takes it.
fn column<R, C>(rows: impl IntoIterator<Item = R>, cell: impl FnMut(R) -> C) -> Vec<C> {
    rows.into_iter().map(cell).collect()
}

/// Stretches of a list, as long as a statement takes, and with no more bytes than may be unless one alone has more.
fn stretches<T>(mut all: &[T], most_bytes: usize, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |one: &&T| {
            let fits = sum == 0 || sum + bytes(one) <= most_bytes;
            sum += bytes(one);
            fits
        };
        let (some, later) = all.split_at(all.iter().take(ROWS).take_while(fits).count());
        all = later;
        (!some.is_empty()).then_some(some)
    })
}

/// What a slice, or a part of it, says.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    viewers: Names,
    sessions: Names,
    contents: Names,
    items: Names,
    viewings: Viewings,
    days: Days,
    answers: Answers,
    parts: usize,
}

impl Gathered {
    /// Takes in a row of [`COLUMNS`].
    ///
    /// # Errors
    /// The row is none of those.
    pub(super) fn add(&mut self, row: &Row) -> Result<(), tokio_postgres::Error> {
        let at: Moment = row.try_get(3)?;
        let viewer = self.viewers.number(row.try_get(0)?);
        let content = self.contents.number(row.try_get(2)?);
        let session = self.sessions.number(row.try_get(1)?);
        let viewing = self.viewings.viewing((content, viewer), session, at);
        let day = self.days.day(at.day(), content);
        let kind: &str = row.try_get(4)?;
        match kind {
            "video.played" => {
                viewing.plays += 1;
                day.plays += 1;
            }
            "video.ready" => viewing.duration_ms = viewing.duration_ms.max(row.try_get(7)?),
            _ => {}
        }
        if let Some(Intervals(intervals)) = row.try_get(6)? {
            self.parts += intervals.len();
            day.watched_ms +=
                intervals.iter().map(|(from, to)| i64::from(*to) - i64::from(*from)).sum::<i64>();
            viewing.parts.extend(intervals);
        }
        let Some(act) = Act::of(kind) else { return Ok(()) };
        let correct: Option<bool> = row.try_get(5)?;
        if act == Act::Answered {
            viewing.answers += 1;
            day.answers += 1;
            day.correct_answers += i64::from(correct == Some(true));
        }
        let Some(item) = row.try_get(8)? else { return Ok(()) };
        let item = self.items.number(item);
        self.answers.note((content, item, viewer), act);
        if act == Act::Answered {
            let (seq, id): (Option<i64>, Uuid) = (row.try_get(9)?, row.try_get(10)?);
            let answer = Answer {
                place: (at, seq.unwrap_or(-1), id),
                correct,
                score: row.try_get(12)?,
                elapsed_ms: row.try_get(13)?,
            };
            self.answers.answered((content, item, viewer), answer, row.try_get(11)?);
        }
        Ok(())
    }

    /// About how much memory they take.
    pub(super) fn bytes(&self) -> usize {
        let names = [&self.viewers, &self.sessions, &self.contents, &self.items];
        let names = names.into_iter().map(Names::bytes).sum::<usize>();
        names + self.viewings.bytes() + self.days.bytes() + self.parts * PART_BYTES + self.answers.bytes()
    }

    /// Adds them to the summaries.
    ///
    /// # Errors
    /// Those of the statements; the transaction is of no further use.
    pub(super) async fn write(
        mut self,
        table: &Table<'_>,
        completion: Completion,
    ) -> Result<(), ReportError> {
        let names = Texts {
            viewers: self.viewers.by_number(),
            sessions: self.sessions.by_number(),
            contents: self.contents.by_number(),
            items: self.items.by_number(),
        };
        let mut curves = Curves::default();
        let mut viewings: VecDeque<_> = self.viewings.in_order(&names).into();
        let mut most = ROWS;
        while !viewings.is_empty() {
            let some = viewings.drain(..most.min(viewings.len())).collect();
            let Found { known, left } = look_up(table, &names, some).await?;
            most = if left.is_empty() { ROWS.min(2 * most) } else { known.len() };
            left.into_iter().rev().for_each(|viewing| viewings.push_front(viewing));

            let merged = Merged::all(table, known, &names, &mut curves, &mut self.days).await?;
            let contents = Contents::of(table, &names, completion, &merged).await?;
            Merged::write(table, &names, &merged).await?;
            contents.write(table).await?;
            if curves.bytes() > CURVES * table.held_bytes {
                curves.write(table, &names.contents).await?;
            }
        }
        curves.write(table, &names.contents).await?;
        self.days.write(table, &names).await?;
        self.answers.write(table, &names).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_ends_before_what_is_too_much_and_holds_one_at_least() {
        let of = |bytes: &[usize]| -> Vec<usize> {
            stretches(bytes, 10, |bytes| *bytes).map(<[usize]>::len).collect()
        };
        assert_eq!(of(&[5, 5, 1, 11, 12, 1]), [2, 1, 1, 1, 1]);
        assert!(of(&[]).is_empty());
        assert_eq!(of(&vec![0; ROWS + 1]), [ROWS, 1]);
    }
}
