//! `rollbook migrate`.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::config::Operator;
use crate::ops::chain;
use crate::store::migrate::{self, Manner, Mode, Outcome, Report};
use crate::tenant::Slug;

/// What `migrate` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this organization. Default: all.
    #[arg(long, value_name = "SLUG")]
    org: Option<Slug>,
    /// Schemas at a time. Each is one database connection; more than the server has cores gains nothing.
    #[arg(long, value_name = "N", env = "ROLLBOOK_MIGRATE_JOBS", default_value = "4")]
    jobs: NonZeroUsize,
    /// Milliseconds that a change may wait for a lock. A schema that is busy for longer is reported, and the next run
    /// takes it up; meanwhile everyone else who wants that table waits behind the change.
    #[arg(long, value_name = "MS", env = "ROLLBOOK_MIGRATE_LOCK_TIMEOUT_MS", default_value = "2000")]
    lock_timeout_ms: std::num::NonZeroU32,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

#[derive(Serialize)]
struct Answer {
    organization: String,
    from: Option<i32>,
    to: i32,
    outcome: &'static str,
    error: Option<String>,
}

impl Answer {
    fn new(report: &Report) -> Self {
        let (outcome, error) = match &report.outcome {
            Outcome::Current => ("current", None),
            Outcome::Migrated => ("migrated", None),
            Outcome::WouldMigrate => ("would_migrate", None),
            Outcome::Removed => ("removed", None),
            Outcome::Failed(problem) => ("failed", Some(chain(problem))),
        };
        let organization = report.organization.to_string();
        Self { organization, from: report.from, to: report.to, outcome, error }
    }
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (admin, installation) = self.admin.open().await?;
        let organizations = migrate::select(&admin, self.org.as_ref()).await?;
        let manner = Manner {
            jobs: self.jobs,
            lock_timeout: Duration::from_millis(self.lock_timeout_ms.get().into()),
            mode: if self.dry_run { Mode::DryRun } else { Mode::Apply },
        };
        let url = self.admin.database.resolve()?;
        let bar = output::progress_bar(
            Some(organizations.len() as u64),
            "{bar:40} {pos}/{len} {elapsed} (left: {eta}) {msg}",
        );
        let progress = |report: &Report| {
            bar.set_message(report.organization.to_string());
            bar.inc(1);
        };
        let operator = Operator::from_environment();
        let reports =
            migrate::migrate(&url, &operator, &installation, organizations, manner, progress).await?;
        bar.finish_and_clear();

        let answers: Vec<Answer> = reports.iter().map(Answer::new).collect();
        output::list(
            self.admin.output,
            &answers,
            &["organization", "from", "to", "outcome", "error"],
            |one| {
                vec![
                    one.organization.clone(),
                    output::or_dash(one.from),
                    one.to.to_string(),
                    one.outcome.to_owned(),
                    output::or_dash(one.error.as_ref()),
                ]
            },
        );
        summarize(&answers)
    }
}

fn summarize(answers: &[Answer]) -> Result<(), Failure> {
    let failed: Vec<&str> =
        answers.iter().filter(|one| one.error.is_some()).map(|one| one.organization.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} schemas failed: {}", failed.len(), answers.len(), failed.join(", "));
    Err(Failure::new("migration_failed", message))
}
