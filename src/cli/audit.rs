//! `rollbook audit`.

use indicatif::ProgressBar;
use serde::Serialize;
use uuid::Uuid;

use super::admin::AdminArguments;
use super::onlooker::OnlookerArguments;
use super::{Failure, output};
use crate::audit::{Account, AuditError, Plan, Report, Step, audit};
use crate::config::{Faults, Idle};
use crate::ops::chain;
use crate::tenant::Slug;

/// More ids than this are counted, not listed, for people.
const MOST_LISTED: usize = 10;

/// What `audit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this organization. Default: all.
    slug: Option<Slug>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    onlooker: OnlookerArguments,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    counts: &'static str,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    organization: &'a str,
    accepted: u64,
    stored: u64,
    duplicate: u64,
    dead: u64,
    discarded: u64,
    held: u64,
    in_flight: u64,
    missing: &'a [Uuid],
    foreign: &'a [Uuid],
}

impl<'a> Item<'a> {
    fn new(account: &'a Account) -> Self {
        Self {
            organization: &account.organization,
            accepted: account.accepted,
            stored: account.stored,
            duplicate: account.duplicate,
            dead: account.dead,
            discarded: account.discarded,
            held: account.held,
            in_flight: account.in_flight,
            missing: &account.missing,
            foreign: &account.foreign,
        }
    }
}

impl Arguments {
    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = self.admin.faults();
        faults.note(self.onlooker.settings());
        faults
    }

    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.onlooker.idle()
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let log = self.onlooker.settings()?;
        let (admin, _) = self.admin.open().await?;
        drop(admin);
        let plan = Plan {
            database: self.admin.database.resolve()?,
            log: self.onlooker.readable(&log)?,
            log_identity: (log.identity().0, log.identity().1.to_owned()),
            only: self.slug.clone(),
        };
        let bar = output::progress_bar(Some(0), "{msg:8} {bar:40} {pos}/{len} {elapsed} (left: {eta})");
        let shown = bar.clone();
        let report = audit(&plan, move |step| show(&shown, step)).await;
        bar.finish_and_clear();
        let report = report.map_err(failure)?;

        let ok = report.accounts.iter().all(Account::is_ok);
        let counts = if report.log_is_whole { "checked" } else { "not_checked" };
        if self.admin.output.json {
            let items = report.accounts.iter().map(Item::new).collect();
            output::one(self.admin.output, &Answer { ok, counts, items }, |_| String::new());
        } else {
            print(&self.admin, &report);
        }
        if ok { Ok(()) } else { Err(difference(&report)) }
    }
}

fn failure(error: AuditError) -> Failure {
    match error {
        AuditError::Store(error) => error.into(),
        AuditError::Log(_) | AuditError::Interrupted => Failure::new("log_unavailable", chain(&error)),
        AuditError::AnotherLife { .. } => Failure::new("another_log", chain(&error)),
    }
}

fn print(admin: &AdminArguments, report: &Report) {
    let header = [
        "organization",
        "accepted",
        "stored",
        "duplicate",
        "dead",
        "discarded",
        "held",
        "in flight",
        "missing",
        "foreign",
    ];
    let items: Vec<Item<'_>> = report.accounts.iter().map(Item::new).collect();
    output::list(admin.output, &items, &header, |item| {
        let missing = item.missing.len() as u64;
        let foreign = item.foreign.len() as u64;
        let numbers = [
            item.accepted,
            item.stored,
            item.duplicate,
            item.dead,
            item.discarded,
            item.held,
            item.in_flight,
            missing,
            foreign,
        ];
        std::iter::once(item.organization.to_owned()).chain(numbers.iter().map(ToString::to_string)).collect()
    });
    for account in &report.accounts {
        for (what, ids) in [("missing", &account.missing), ("foreign", &account.foreign)] {
            for id in ids.iter().take(MOST_LISTED) {
                output::say(&format!("{}: {what} {id}", account.organization));
            }
            if ids.len() > MOST_LISTED {
                let more = ids.len() - MOST_LISTED;
                output::say(&format!(
                    "{}: and {more} more that are {what} (--json lists all)",
                    account.organization
                ));
            }
        }
    }
    if !report.log_is_whole {
        output::say(
            "The log no longer begins at offset 0: ids were compared as far as it goes, the totals were not.",
        );
    }
}

/// What is wrong, in a line.
fn difference(report: &Report) -> Failure {
    let differing = report.accounts.iter().filter(|account| !account.is_ok());
    let lines: Vec<String> = differing
        .map(|account| {
            let mut parts = Vec::new();
            for (what, ids) in [("missing", &account.missing), ("foreign", &account.foreign)] {
                if !ids.is_empty() {
                    parts.push(format!("{} {what}", ids.len()));
                }
            }
            parts.extend(account.remarks.iter().cloned());
            format!("{}: {}", account.organization, parts.join(", "))
        })
        .collect();
    Failure::new("audit_difference", format!("the books differ: {}", lines.join("; ")))
}

fn show(bar: &ProgressBar, step: Step) {
    let (what, done, all) = match step {
        Step::Log { done, all } => ("log", done, all),
        Step::Schemas { done, all } => ("schemas", done, all),
    };
    bar.set_message(what);
    bar.set_length(all);
    bar.set_position(done);
}
