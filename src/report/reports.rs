//! The summaries of one schema: how a transaction on them begins and ends.
//!
//! Statements are sent as text and have no names, for a pooler may lend another server session to each transaction; only
//! numbers and quoted names are put into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::ReportError;
use super::build::{self, Build, Snapshot, State};
use crate::store::quoted;
use crate::tenant::{Completion, RolePrefix, Tenant};

/// Nobody waits for a report, so a report waits for nobody.
const LOCK_TIMEOUT_MS: u32 = 500;

/// The summaries of one schema.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Quoted.
    pub(super) schema: String,
    /// Quoted: who may write them.
    role: String,
    /// What the organization's reports are to call done.
    pub(super) completion: Completion,
    /// How long a statement may take, and reading a slice.
    pub(super) patience: Duration,
    pub(super) slices: Slices,
    pub(super) width: Width,
}

/// Whether the last slice took more memory than may be, which the next one is then expected to do, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Width(Arc<AtomicBool>);

impl Width {
    pub(super) fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn found(&self, is_too_much: bool) {
        self.0.store(is_too_much, Ordering::Relaxed);
    }
}

/// How much one transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// Events that a turn adds to reports that are late, about: what one transaction stored is never divided.
    pub events: i64,
    /// Blocks of `event` that a rebuild goes through.
    pub blocks: i64,
    /// Rows of each table that are deleted after one.
    pub cleared: u32,
    /// Events that are asked for at a time; an answer may have 10 000 characters, a report of what was watched 64 intervals.
    pub fetched: usize,
    /// What is gathered is written when it takes this much memory: what one transaction stored is never divided, however
    /// much that is.
    pub gathered_bytes: usize,
    /// Times that answers to an item took which are kept as they came, at most, unless more than twice as many differ.
    pub loose_times: u32,
}

impl Default for Slices {
    /// About a second's work each: the more events, the fewer rows for each of them.
    fn default() -> Self {
        Self {
            events: 100_000,
            blocks: 8192,
            cleared: 20_000,
            fetched: 2_000,
            gathered_bytes: 64 << 20,
            loose_times: 4096,
        }
    }
}

/// What stands in the tables when a transaction begins.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) builds: Vec<Build>,
    pub(super) now: Snapshot,
    /// Since when the reports are as they are.
    pub(super) age: Duration,
}

impl Look {
    pub(super) fn find(&self, state: State) -> Option<&Build> {
        self.builds.iter().find(|build| build.state == state)
    }
}

impl Reports {
    /// How long a statement may take unless it is known to need more.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// An organization's, kept by its own writing role.
    pub fn of(tenant: &Tenant, roles: &RolePrefix) -> Self {
        let organization = tenant.organization();
        Self::new(&organization.schema_name, &roles.writer_role(tenant.slug()), organization.completion)
    }

    /// A schema's, kept by a role that may write there.
    pub fn new(schema: &str, role: &str, completion: Completion) -> Self {
        Self {
            schema: quoted(schema),
            role: quoted(role),
            completion,
            patience: Self::PATIENCE,
            slices: Slices::default(),
            width: Width::default(),
        }
    }

    /// With statements that may take so long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// With what is known from earlier turns.
    pub(super) fn with_width(self, width: Width) -> Self {
        Self { width, ..self }
    }

    /// In transactions of another size.
    #[must_use]
    pub fn in_slices(self, slices: Slices) -> Self {
        Self { slices, ..self }
    }

    /// Begins a transaction with one snapshot, in the role, and looks.
    pub(super) async fn look(&self, client: &Client) -> Result<Look, ReportError> {
        let Self { schema, .. } = self;
        let begin = self.begin("REPEATABLE READ");
        let columns = build::COLUMNS;
        let sql = format!(
            "{begin} SELECT {columns}, extract(epoch FROM now() - s.taken_until) AS age_seconds \
             FROM {schema}.report_build AS b, {schema}.report_state AS s, pg_control_system() AS c ORDER BY b.build"
        );
        let answers = client.simple_query(&sql).await?;
        let rows: Vec<&SimpleQueryRow> = answers.iter().filter_map(as_row).collect();
        let first = rows.first().ok_or(ReportError::unreadable("report_build or report_state is empty"))?;
        let age: f64 = build::required(first, "age_seconds")?;
        Ok(Look {
            builds: rows.iter().map(|row| Build::read(row)).collect::<Result<_, _>>()?,
            now: Snapshot::read(first)?,
            // In the future: the clock went back.
            age: Duration::try_from_secs_f64(age).unwrap_or_default(),
        })
    }

    /// Plans must not hang on statistics: tables are looked into by their keys, whatever is known of their sizes. And the
    /// server's other work comes first: no second process, no compiling, bounded memory. What is grouped is hashed: where the
    /// planner guesses too many groups it would sort first, which costs twice as much.
    pub(super) fn begin(&self, isolation: &str) -> String {
        let (role, patience_ms) = (&self.role, self.patience.as_millis());
        format!(
            "BEGIN ISOLATION LEVEL {isolation}; SET LOCAL search_path = ''; \
             SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = {patience_ms}; \
             SET LOCAL idle_in_transaction_session_timeout = 10000; SET LOCAL jit = off; \
             SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '32MB'; \
             SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL ROLE {role};"
        )
    }

    /// Takes a build for this transaction; fails, as `Busy`, where it is not to be had at once.
    pub(super) fn lock(&self, build: &Build) -> String {
        let (schema, number) = (&self.schema, build.number);
        format!(
            "SELECT 1 / count(*) FROM \
             (SELECT FROM {schema}.report_build WHERE build = {number} FOR UPDATE SKIP LOCKED) AS mine;"
        )
    }

    /// Does what is left to do, and commits.
    pub(super) async fn commit(&self, client: &Client, sql: &str) -> Result<(), ReportError> {
        client.batch_execute(&format!("{sql} COMMIT")).await.map_err(ReportError::of_the_build)
    }

    /// Ends a transaction that is not to have happened. Where that fails the connection is of no further use, which its
    /// next user finds out.
    pub(super) async fn roll_back(client: &Client) {
        let _ = client.batch_execute("ROLLBACK").await;
    }
}

pub(super) fn as_row(answer: &SimpleQueryMessage) -> Option<&SimpleQueryRow> {
    match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }
}
