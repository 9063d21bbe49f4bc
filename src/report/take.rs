//! One organization's turn: what is new is added, a slice at a time.

use std::time::Duration;

use metrics::counter;
use tokio_postgres::Client;

use super::build::{Build, Snapshot, State};
use super::reports::{Look, as_row};
use super::{ReportError, Reports};
use crate::ops::metrics::catalogue::REPORT_EVENTS;

/// Reports that are no older take in all that is new at once: to know how much that is, a slice reads once more what the
/// index has not summarized yet, a minute's rows and more.
const YOUNG: Duration = Duration::from_secs(15);

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Events that were added to the summaries that are read.
    pub added: u64,
    /// Whether there is more to do at once.
    pub has_more: bool,
    /// For how long what waits has been waiting, at most; `None`: nothing waits.
    pub behind: Option<Duration>,
}

/// What a slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Events that were added.
    pub added: u64,
    /// Whether nothing was left that its transaction could see.
    pub is_last: bool,
}

impl Reports {
    /// Takes in what is new, or a slice of it; and does one step of a rebuild, or of clearing up after one.
    ///
    /// # Errors
    /// Nothing was done but whole steps.
    ///
    /// # Cancel safety
    /// When dropped the connection must be closed: it may be inside a transaction.
    pub async fn turn(&self, client: &Client) -> Result<Turn, ReportError> {
        let turn = self.take_turn(client).await;
        if turn.is_err() {
            Self::roll_back(client).await;
        }
        turn
    }

    async fn take_turn(&self, client: &Client) -> Result<Turn, ReportError> {
        let look = self.look(client).await?;
        let current = look.find(State::Current).ok_or(ReportError::unreadable("no build is current"))?;
        let building = look.find(State::Building).cloned();
        let old = look.find(State::Old).cloned();
        let mut turn = Turn { added: 0, has_more: false, behind: None };
        if current.is_usable() {
            let slice = self.take_new(client, &look, current).await?;
            turn.added = slice.added;
            turn.has_more = !slice.is_last;
            turn.behind = (!slice.is_last).then_some(look.age);
        } else {
            Self::roll_back(client).await;
            turn.behind = Some(look.age);
            if building.as_ref().is_none_or(|building| !building.is_usable()) {
                self.begin_build(client).await?;
                return Ok(Turn { has_more: true, ..turn });
            }
        }
        if let Some(building) = building {
            let step = Self::of_this_turn(client, self.go_on_building(client, building.number).await).await?;
            turn.has_more |= step.is_some();
        } else if let Some(old) = old {
            let cleared = Self::of_this_turn(client, self.clear_up(client, &old).await).await?;
            turn.has_more |= cleared == Some(false);
        }
        Ok(turn)
    }

    /// What another reporter is at work on is no reason to take back what this turn has done, nor to come back at once.
    async fn of_this_turn<T>(
        client: &Client,
        outcome: Result<T, ReportError>,
    ) -> Result<Option<T>, ReportError> {
        match outcome {
            Ok(done) => Ok(Some(done)),
            Err(ReportError::Busy | ReportError::Superseded) => {
                Self::roll_back(client).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Within the transaction that looked: adds what is new to the build that is read, and ends it.
    async fn take_new(&self, client: &Client, look: &Look, current: &Build) -> Result<Slice, ReportError> {
        let until = match look.age < YOUNG {
            true => Some(look.now.next_txid),
            false => self.bound(client, current, &look.now).await?,
        };
        let is_judged_anew = self.completion != current.completion;
        if until.is_none() && !is_judged_anew {
            self.say_that_nothing_is_new(client).await?;
            return Ok(Slice { added: 0, is_last: true });
        }
        let first = if is_judged_anew { self.judge_anew(current) } else { String::new() };
        self.add_until(client, current, look, until.unwrap_or(look.now.next_txid), &first).await
    }

    async fn add_until(
        &self,
        client: &Client,
        current: &Build,
        look: &Look,
        until: i64,
        first: &str,
    ) -> Result<Slice, ReportError> {
        let schema = &self.schema;
        let is_last = until == look.now.next_txid;
        let taken_until = if is_last { "now()" } else { "taken_until" };
        let rows = current.new_rows(&look.now, until);
        let added = self.add(client, current, self.completion, &rows, first).await?;
        if added == 0 && is_last && first.is_empty() {
            self.say_that_nothing_is_new(client).await?;
            return Ok(Slice { added, is_last });
        }
        let sql = format!(
            "{lock} {advance} \
             UPDATE {schema}.report_state SET taken_until = {taken_until}, \
                 events = (SELECT events FROM {schema}.report_build WHERE build = {number});",
            lock = self.lock(current),
            advance = self.advance(current, &look.now, until, added),
            number = current.number,
        );
        self.commit(client, &sql).await?;
        // Here: they are in, whatever becomes of the rest of the turn.
        counter!(REPORT_EVENTS).increment(added);
        Ok(Slice { added, is_last })
    }

    /// The threshold changed: every content's sums are counted again, by the statement that does so for a new duration.
    fn judge_anew(&self, build: &Build) -> String {
        let (schema, number, completion) = (&self.schema, build.number, self.completion);
        format!(
            "UPDATE {schema}.report_build SET completion = {completion} WHERE build = {number}; \
             UPDATE {schema}.report_content_sum SET judged_ms = NULL WHERE build = {number} AND duration_ms > 0;"
        )
    }

    /// The cursor stays: no row lies between it and where this transaction looked. Whoever moves it meanwhile moves the state,
    /// too, and this is not to be said any more. What a crash forgets the next turn says again, so nobody waits for a disk.
    async fn say_that_nothing_is_new(&self, client: &Client) -> Result<(), ReportError> {
        let schema = &self.schema;
        let sql = format!(
            "SET LOCAL synchronous_commit = off; UPDATE {schema}.report_state SET taken_until = now();"
        );
        self.commit(client, &sql).await
    }

    /// Moves a build's cursor to what `now` sees, of transactions before `until`, and counts what was added.
    pub(super) fn advance(&self, build: &Build, now: &Snapshot, until: i64, added: u64) -> String {
        let (schema, number, open) = (&self.schema, build.number, now.open_before(until));
        format!(
            "UPDATE {schema}.report_build SET next_txid = {until}, open_txids = {open}, events = events + {added} \
             WHERE build = {number};"
        )
    }

    /// Before which transaction a slice has to end; `None`: nothing is new. A transaction is taken whole.
    pub(super) async fn bound(
        &self,
        client: &Client,
        build: &Build,
        now: &Snapshot,
    ) -> Result<Option<i64>, ReportError> {
        let most = self.slices.events;
        let (found, first, last) = self.sample(client, build, now, now.next_txid, most).await?;
        let Some((first, last)) = first.zip(last) else { return Ok(None) };
        if found < most {
            return Ok(Some(now.next_txid));
        }
        // The first rows of the table are about the oldest; where they are not, the slice is cut until it is none too many.
        let mut until = last + 1;
        while until - 1 > first {
            let (found, ..) = self.sample(client, build, now, until, 4 * most).await?;
            if found < 4 * most {
                break;
            }
            until = first + 1 + (until - 1 - first) / 2;
        }
        Ok(Some(until.max(build.next_txid())))
    }

    /// How many rows are new, `most` at most, and the oldest and youngest transaction among those.
    async fn sample(
        &self,
        client: &Client,
        build: &Build,
        now: &Snapshot,
        until: i64,
        most: i64,
    ) -> Result<(i64, Option<i64>, Option<i64>), ReportError> {
        let (schema, rows) = (&self.schema, build.new_rows(now, until));
        let sql = format!(
            "SELECT count(*), min(stored_in), max(stored_in) \
             FROM (SELECT stored_in FROM {schema}.event WHERE {rows} LIMIT {most}) AS sample"
        );
        let answers = client.simple_query(&sql).await?;
        let row = answers.iter().find_map(as_row).ok_or(ReportError::unreadable("event"))?;
        let number = |column| row.get(column).and_then(|number| number.parse().ok());
        Ok((number(0).unwrap_or_default(), number(1), number(2)))
    }
}
