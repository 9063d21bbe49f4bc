//! Making the summaries again from all events, beside those that are read.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::build::{Build, State};
use super::reports::Look;
use super::{ReportError, Reports};
use crate::store::SUMMARIES;

/// Between two looks at a build that another reporter is at work on.
const PAUSE: Duration = Duration::from_millis(100);
/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes through the table: blocks done, of so many.
    Reading {
        /// Done.
        blocks: u64,
        /// Of so many.
        of: u64,
    },
    /// It takes in what was stored meanwhile.
    CatchingUp,
    /// The views show the new ones.
    Done,
}

/// Makes the summaries again, and tells how far it is. Others may help: a reporter that is there goes on with it, too. Where
/// another rebuild begins meanwhile, which knows of later events, it is that one that is gone on with.
///
/// # Errors
/// What was built so far stays, and a reporter goes on with it.
///
/// # Cancel safety
/// When dropped the connection must be closed: it may be inside a transaction.
pub async fn rebuild(
    client: &Client,
    reports: &Reports,
    mut tell: impl FnMut(Progress),
) -> Result<(), ReportError> {
    let mut number = loop {
        match reports.begin_build(client).await {
            // It has waited already, for a step that ended just now; the next one is not to begin before.
            Err(ReportError::Busy) => Reports::roll_back(client).await,
            begun => break begun?,
        }
    };
    loop {
        match reports.go_on_building(client, number).await {
            Ok(Progress::Done) => break,
            Ok(progress) => tell(progress),
            Err(ReportError::Busy) => wait(client).await,
            Err(error @ ReportError::Superseded) => {
                Reports::roll_back(client).await;
                number = reports.successor(client, number).await?.ok_or(error)?;
            }
            Err(error) => {
                Reports::roll_back(client).await;
                return Err(error);
            }
        }
    }
    tell(Progress::Done);
    Ok(())
}

async fn wait(client: &Client) {
    Reports::roll_back(client).await;
    tokio::time::sleep(PAUSE).await;
}

impl Reports {
    /// Begins a build; one that was begun before is given up, once the step of it that is under way has ended. It is about
    /// what this transaction sees.
    pub(super) async fn begin_build(&self, client: &Client) -> Result<i32, ReportError> {
        let (schema, completion, patience_ms) = (&self.schema, self.completion, self.patience.as_millis());
        let Look { now, builds, .. } = self.look(client).await?;
        let next = now.next_txid;
        let open = now.open_before(next);
        let number = builds.iter().map(|build| build.number).max().unwrap_or_default() + 1;
        let sql = format!(
            "SET LOCAL lock_timeout = {patience_ms}; \
             UPDATE {schema}.report_build SET state = 'old' WHERE state = 'building'; \
             INSERT INTO {schema}.report_build \
                 (build, state, system_identifier, next_txid, open_txids, foreign_from, foreign_until, end_block, completion) \
             SELECT {number}, 'building', system_identifier, {next}, {open}, {next}, \
                    (SELECT max(stored_in) FROM {schema}.event WHERE stored_in >= {next}), \
                    pg_relation_size('{schema}.event') / current_setting('block_size')::bigint, {completion} \
             FROM pg_control_system();"
        );
        self.commit(client, &sql).await?;
        tracing::info!(schema, build = number, "reports are made anew");
        Ok(number)
    }

    /// One step of a build: a stretch of the table, a slice of what was stored since, or the change-over.
    pub(super) async fn go_on_building(&self, client: &Client, number: i32) -> Result<Progress, ReportError> {
        let look = self.look(client).await?;
        let Some(build) = look.builds.iter().find(|build| build.number == number) else {
            return Err(ReportError::Superseded);
        };
        match build.state {
            State::Building if build.is_in_table() => self.read_blocks(client, &look, build).await,
            State::Building => self.catch_up(client, &look, build).await,
            State::Current => {
                Self::roll_back(client).await;
                Ok(Progress::Done)
            }
            State::Old => Err(ReportError::Superseded),
        }
    }

    /// The build that took the place of an earlier one.
    async fn successor(&self, client: &Client, number: i32) -> Result<Option<i32>, ReportError> {
        let look = self.look(client).await?;
        Self::roll_back(client).await;
        let later = look.builds.iter().filter(|build| build.number > number && build.state != State::Old);
        Ok(later.map(|build| build.number).max())
    }

    async fn read_blocks(
        &self,
        client: &Client,
        look: &Look,
        build: &Build,
    ) -> Result<Progress, ReportError> {
        let (schema, number) = (&self.schema, build.number);
        let until = (build.next_block + self.slices.blocks).min(build.end_block);
        let rows = build.rows_in_table(&look.now, until);
        let added = self.add(client, build, build.completion, &rows, "").await?;
        let lock = self.lock(build);
        let sql = format!(
            "{lock} UPDATE {schema}.report_build SET next_block = {until}, events = events + {added} WHERE build = {number};"
        );
        self.commit(client, &sql).await?;
        Ok(Progress::Reading { blocks: until.unsigned_abs(), of: build.end_block.unsigned_abs() })
    }

    async fn catch_up(&self, client: &Client, look: &Look, build: &Build) -> Result<Progress, ReportError> {
        let bound = self.bound(client, build, &look.now).await?;
        let until = bound.unwrap_or(look.now.next_txid);
        let is_last = until == look.now.next_txid;
        // As it will be read; the threshold may have changed while it was made.
        let added = self.add(client, build, build.completion, &build.new_rows(&look.now, until), "").await?;
        let change_over = if is_last { self.change_over(look, build)? } else { String::new() };
        let (lock, advance) = (self.lock(build), self.advance(build, &look.now, until, added));
        self.commit(client, &format!("{lock} {advance} {change_over}")).await?;
        Ok(if is_last { Progress::Done } else { Progress::CatchingUp })
    }

    fn change_over(&self, look: &Look, build: &Build) -> Result<String, ReportError> {
        let (schema, number) = (&self.schema, build.number);
        let current = look.find(State::Current).ok_or(ReportError::unreadable("no build is current"))?;
        Ok(format!(
            "{lock} UPDATE {schema}.report_build SET state = 'old' WHERE state = 'current'; \
             UPDATE {schema}.report_build SET state = 'current' WHERE build = {number}; \
             UPDATE {schema}.report_state SET taken_until = now(), rebuilt_at = now(), \
                 events = (SELECT events FROM {schema}.report_build WHERE build = {number});",
            lock = self.lock(current),
        ))
    }

    /// Deletes some of what an old build left; whether that was all.
    pub(super) async fn clear_up(&self, client: &Client, old: &Build) -> Result<bool, ReportError> {
        let (schema, number, cleared) = (&self.schema, old.number, self.slices.cleared);
        let mut sql = self.begin("READ COMMITTED") + &self.lock(old);
        for table in SUMMARIES {
            sql += &format!(
                "DELETE FROM {schema}.{table} WHERE ctid = ANY (ARRAY( \
                     SELECT ctid FROM {schema}.{table} WHERE build = {number} LIMIT {cleared}));"
            );
        }
        // Its own row goes last, in a transaction that found nothing else.
        let answers = client.simple_query(&sql).await.map_err(ReportError::of_the_build)?;
        let deleted: u64 = answers.iter().rev().filter_map(touched).take(SUMMARIES.len()).sum();
        let end = match deleted {
            0 => format!("DELETE FROM {schema}.report_build WHERE build = {number};"),
            _ => String::new(),
        };
        self.commit(client, &end).await?;
        Ok(deleted == 0)
    }

    /// Deletes all that old builds left.
    ///
    /// # Errors
    /// What is left a reporter deletes.
    pub async fn clear(&self, client: &Client) -> Result<(), ReportError> {
        loop {
            let look = self.look(client).await?;
            Self::roll_back(client).await;
            let Some(old) = look.find(State::Old) else { return Ok(()) };
            match self.clear_up(client, old).await {
                Ok(_) => {}
                Err(ReportError::Busy) => wait(client).await,
                Err(error) => {
                    Self::roll_back(client).await;
                    return Err(error);
                }
            }
        }
    }
}

/// Rows that a statement touched, where its end is told.
fn touched(answer: &SimpleQueryMessage) -> Option<u64> {
    match answer {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    }
}
