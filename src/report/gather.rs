//! Events of a slice, gathered by what is told of them. Postgres reads each once and hands it over; what it would have to
//! group, sort and join is grouped here, and goes back as arrays of a few rows. Without IO, but for those arrays.
//!
//! - [`visits`]: a session with a content on a day; all that is told of watching is made of visits
//! - [`answers`]: what a viewer did with an item

mod answers;
mod names;
mod visits;

use tokio_postgres::{Client, Row};
use uuid::Uuid;

use self::answers::{Act, Answer, Answers};
use self::names::{Moment, Names};
use self::visits::{VisitKey, Visits};
use super::interval::Intervals;

/// About what an entry of a table or list takes beside its text.
const ENTRY_BYTES: usize = 48;
/// What an interval may come to: two steps of a curve, with the content's name in what is sent.
const PART_BYTES: usize = 160;

/// What is read of an event, as [`Gathered::add`] takes it: whatever a hand wrote.
pub(super) const COLUMNS: &str = "viewer_id, session_id, content_id, occurred_at, type, correct, watched, \
     CASE WHEN type = 'video.ready' AND jsonb_typeof(details -> 'duration_ms') = 'number' THEN \
         CASE WHEN (details ->> 'duration_ms')::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 \
              THEN (details ->> 'duration_ms')::numeric::bigint END END, \
     item_id, seq, event_id, CASE WHEN type = 'item.answered' THEN answer::text END, score, elapsed_ms";

/// A column of what is gathered, as a statement takes it.
fn column<R, C>(rows: impl Iterator<Item = R>, cell: impl FnMut(R) -> C) -> Vec<C> {
    rows.map(cell).collect()
}

/// What a slice, or a part of it, says.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    viewers: Names,
    sessions: Names,
    contents: Names,
    items: Names,
    visits: Visits,
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
        let visit = self.visits.visit(VisitKey { viewer, session, content, day: at.day() }, at);
        let kind: &str = row.try_get(4)?;
        match kind {
            "video.played" => visit.plays += 1,
            "video.ready" => visit.duration_ms = visit.duration_ms.max(row.try_get(7)?),
            _ => {}
        }
        if let Some(Intervals(intervals)) = row.try_get(6)? {
            self.parts += intervals.len();
            visit.parts.extend(intervals);
        }
        let Some(act) = Act::of(kind) else { return Ok(()) };
        let correct: Option<bool> = row.try_get(5)?;
        if act == Act::Answered {
            visit.answers += 1;
            visit.correct_answers += i64::from(correct == Some(true));
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
        names + self.visits.bytes() + self.parts * PART_BYTES + self.answers.bytes()
    }

    /// Runs the statements with what was gathered: what it says of watching, and of items if it does.
    ///
    /// # Errors
    /// Those of the statements.
    pub(super) async fn send(
        mut self,
        client: &Client,
        watching: &str,
        answering: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let (viewers, contents) = (self.viewers.by_number(), self.contents.by_number());
        self.visits.send(client, watching, &viewers, &self.sessions.by_number(), &contents).await?;
        if self.answers.is_empty() {
            return Ok(());
        }
        self.answers.send(client, answering, &contents, &self.items.by_number(), &viewers).await
    }
}
