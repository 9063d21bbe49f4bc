//! `rollbook migrate`: every organization's schema to this release's version.
//!
//! Those that lack nothing are found all at once (`survey`). Schemas are independent: several are done at once, each in
//! one transaction that keeps others out, and one that fails or is busy does not stop the others. What is done
//! stays done; a second run does the rest.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio_postgres::error::SqlState;

use super::change::Change;
use super::connect::{look_briefly, no_longer_than};
use super::organizations::{self, Described, Lock};
use super::roles::{self, Found, Mark};
use super::{Admin, Error, Installation, TENANT_SCHEMA_VERSION, TenantNames};
use super::{blockers, grants, indexes, migrations, provision, retry, survey};
use crate::config::{DatabaseUrl, Operator};
use crate::tenant::{Slug, State};

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Schemas at a time; each is a connection.
    pub jobs: NonZeroUsize,
    /// How long a statement may wait for a lock before its schema is reported as busy.
    pub lock_timeout: Duration,
    /// Whether anything is changed.
    pub mode: Mode,
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Changes.
    Apply,
    /// Says what it would change.
    DryRun,
}

/// What became of one schema.
#[derive(Debug)]
pub struct Report {
    /// Whose.
    pub organization: Slug,
    /// Its version before; `None` when it could not be read.
    pub from: Option<i32>,
    /// The version that this release works with.
    pub to: i32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of one schema.
#[derive(Debug)]
pub enum Outcome {
    /// It was at this release's version already.
    Current,
    /// It has been brought there.
    Migrated,
    /// It would have been brought there.
    WouldMigrate,
    /// Its organization was removed since the run began: there is nothing to bring anywhere.
    Removed,
    /// It is where it was, or part of the way.
    Failed(Problem),
}

/// Why a schema was not brought to this release's version.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Another `migrate` or `org add` works on it.
    #[error("another administrator is at work on it")]
    Locked,
    /// Somebody dropped or renamed it.
    #[error("there is no schema `{0}`")]
    Missing(String),
    /// A newer release was here.
    #[error("it is at version {0}, newer than this release: use the newer release")]
    Newer(i32),
    /// It was there when this run began.
    #[error("its organization was removed in the meantime")]
    Removed,
    /// Everything else.
    #[error(transparent)]
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Report {
    fn new(one: &Described, from: Option<i32>, outcome: Outcome) -> Self {
        Self { organization: one.organization.slug.clone(), from, to: TENANT_SCHEMA_VERSION, outcome }
    }
}

/// The organizations whose schemas `migrate` is about: one, or all that have a complete one.
///
/// # Errors
/// [`Error::NoSuchOrganization`], [`Error::OrganizationRemoved`], or Postgres.
pub async fn select(admin: &Admin, only: Option<&Slug>) -> Result<Vec<Described>, Error> {
    let Some(slug) = only else {
        let mut all = organizations::list(admin).await?;
        all.retain(|one| matches!(one.organization.state, State::Active | State::Suspended));
        return Ok(all);
    };
    Ok(vec![organizations::standing(admin, slug).await?])
}

/// Brings the schemas of `organizations` to this release's version, and tells `progress` of each as it is done.
///
/// # Errors
/// Only when no connection can be made at all; what befalls one schema is in its report.
pub async fn migrate(
    url: &DatabaseUrl,
    operator: &Operator,
    installation: &Installation,
    organizations: Vec<Described>,
    manner: Manner,
    progress: impl Fn(&Report),
) -> Result<Vec<Report>, Error> {
    let mut first = Admin::connect(url, operator.clone()).await?;
    let complete = survey::complete(&mut first, installation, &organizations, manner.lock_timeout).await?;
    let mut reports = Vec::with_capacity(organizations.len());
    let mut waiting = VecDeque::new();
    for one in organizations {
        if complete.contains(&one.organization.id) {
            let report = Report::new(&one, Some(TENANT_SCHEMA_VERSION), Outcome::Current);
            progress(&report);
            reports.push(report);
        } else {
            waiting.push_back(one);
        }
    }
    let mut admins = vec![first];
    for _ in 1..manner.jobs.get().min(waiting.len()) {
        admins.push(Admin::connect(url, operator.clone()).await?);
    }
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let workers = admins.into_iter().map(async |mut admin| {
        let mut reports = Vec::new();
        while let Some(one) = next() {
            let report = one_schema(&mut admin, installation, &one, manner).await;
            progress(&report);
            reports.push(report);
        }
        reports
    });
    reports.extend(join_all(workers).await.into_iter().flatten());
    reports.sort_by(|a, b| a.organization.cmp(&b.organization));
    Ok(reports)
}

async fn one_schema(
    admin: &mut Admin,
    installation: &Installation,
    one: &Described,
    manner: Manner,
) -> Report {
    let from = version(admin, one, manner.lock_timeout).await;
    let (from, outcome) = match (from, manner.mode) {
        (Err(problem), _) => (None, Outcome::Failed(problem)),
        (Ok(from), _) if from > TENANT_SCHEMA_VERSION => (Some(from), Outcome::Failed(Problem::Newer(from))),
        (Ok(from), Mode::DryRun) if from == TENANT_SCHEMA_VERSION => (Some(from), Outcome::Current),
        (Ok(from), Mode::DryRun) => (Some(from), Outcome::WouldMigrate),
        (Ok(from), Mode::Apply) => {
            let migrated = match bring_up_to_date(admin, installation, one, manner.lock_timeout).await {
                Ok(()) => indexes::ensure(admin, &one.organization.schema_name).await,
                failed => failed,
            };
            let outcome = match migrated {
                Ok(()) if from == TENANT_SCHEMA_VERSION => Outcome::Current,
                Ok(()) => Outcome::Migrated,
                Err(Problem::Failed(error)) => {
                    let error = blockers::named(admin, &one.organization.schema_name, error).await;
                    Outcome::Failed(Problem::Failed(error))
                }
                Err(problem) => Outcome::Failed(problem),
            };
            (Some(from), outcome)
        }
    };
    let outcome = match outcome {
        Outcome::Failed(Problem::Removed) => Outcome::Removed,
        outcome => outcome,
    };
    Report::new(one, from, outcome)
}

/// Of a schema that is there: without it there would be no history either, and nothing to be brought up to date.
async fn version(admin: &mut Admin, one: &Described, lock_timeout: Duration) -> Result<i32, Problem> {
    let version = version_of(admin, one, lock_timeout).await;
    // However it failed: what is removed while it is looked at is no failure.
    match &version {
        Err(_)
            if organizations::show(admin, &one.organization.slug).await?.organization.state
                == State::Removed =>
        {
            Err(Problem::Removed)
        }
        _ => version,
    }
}

async fn version_of(admin: &mut Admin, one: &Described, lock_timeout: Duration) -> Result<i32, Problem> {
    let schema_name = &one.organization.schema_name;
    let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    if admin.client.query_one(exists, &[schema_name]).await?.get::<_, bool>(0) {
        let transaction = look_briefly(&mut admin.client, lock_timeout).await?;
        return Ok(migrations::version(&transaction, schema_name).await?);
    }
    Err(Problem::Missing(schema_name.clone()))
}

/// In one transaction: all that the schema lacks, and that it lacks nothing any more.
async fn bring_up_to_date(
    admin: &mut Admin,
    installation: &Installation,
    one: &Described,
    lock_timeout: Duration,
) -> Result<(), Problem> {
    let names = TenantNames::new(installation, &one.organization.slug);
    // A grant of another administrator's may come in between; a schema that is locked is reported and not waited for.
    let outcome = retry::on_conflict(async || {
        let change = admin.begin().await?;
        change.batch_execute(&no_longer_than(lock_timeout)).await?;
        // What removal dropped must not be made again.
        let now = organizations::find(&*change, &one.organization.slug, Lock::AgainstRemoval).await?;
        if now.organization.state == State::Removed {
            return Ok(Err(Problem::Removed));
        }
        match migrations::keep_others_out(&change, &names.schema).await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                return Ok(Err(Problem::Locked));
            }
            locked => locked?,
        }
        let mark = Mark::of(one.organization.id);
        let found = roles::find_schema(&*change, &names.schema, &mark).await?;
        if found.is_another_organizations() {
            found.refuse_unless_its_own("schema", &names.schema, &mark)?;
        }
        migrations::run(&change, &migrations::TENANT, &names.schema).await?;
        provision::pin_organization(&change, &names.schema, one.organization.id).await?;
        provision::mark_again(&change, &names.schema, one.organization.id).await?;
        // What a restored database did not bring: the mark of the schema, or roles, which are the cluster's. Rights are given to the
        // organization's own, and not to whoever has the name.
        let found = roles::find_schema(&*change, &names.schema, &mark).await?;
        found.refuse_unless_its_own("schema", &names.schema, &mark)?;
        for role in [&names.writer, &names.reader] {
            let found = roles::find_role(&*change, role, &mark).await?;
            if found == Found::Nothing {
                roles::make_role(&change, role, "NOLOGIN", &mark).await?;
            }
            found.refuse_unless_its_own("role", role, &mark)?;
        }
        grants::ensure(&change, installation, &names).await?;
        record_version(&change, one).await?;
        change.commit().await?;
        Ok(Ok(()))
    });
    outcome.await?
}

/// Last of all: the loader takes the schema for new by it.
async fn record_version(change: &Change<'_>, one: &Described) -> Result<(), Error> {
    let id = one.organization.id;
    let sql = "UPDATE rollbook.organization SET schema_version = $2 WHERE id = $1 AND schema_version <> $2";
    if change.execute(sql, &[&id.0, &TENANT_SCHEMA_VERSION]).await? > 0 {
        let what = json!({ "schema_version": TENANT_SCHEMA_VERSION });
        change.record("migrate", Some(id), &what).await?;
    }
    Ok(())
}
