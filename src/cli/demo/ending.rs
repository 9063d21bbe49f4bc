//! The end of the demo: what is under way arrives, and the books are compared.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::lines::{count, duration};
use super::observe::{Observer, Seen};
use super::picture::Picture;
use super::site::Site;
use crate::audit::{self, Account, Plan};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::config::Output;
use crate::ops::chain;

/// How long what is under way may take: a schema that was broken is looked at every few seconds.
const SETTLE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(200);

/// What the audit found.
pub(super) struct Audited {
    accounts: Vec<Account>,
}

#[derive(Serialize)]
struct Answer {
    seconds: f64,
    accepted: u64,
    stored: u64,
    duplicate: u64,
    rejected: u64,
    audit_ok: bool,
}

/// Waits until everything accepted has its fate and none waits for its schema; fails if who would see to it has ended.
pub(super) async fn settle(observer: &Observer, site: &mut Site, before: &Seen) -> Result<Seen, Failure> {
    let deadline = Instant::now() + SETTLE;
    let mut seen = observer.look(before).await;
    let mut last = None;
    loop {
        let is_settled =
            seen.schools.iter().all(|one| one.held == 0 && one.accepted <= one.stored + one.duplicate);
        // Twice the same: a request may have been accepted and not be counted yet.
        if (is_settled && last.as_ref() == Some(&seen.schools)) || Instant::now() > deadline {
            return Ok(seen);
        }
        site.still_runs()?;
        last = Some(seen.schools.clone());
        tokio::time::sleep(PAUSE).await;
        seen = observer.look(&seen).await;
    }
}

/// Compares the log with every schema, through the process that runs.
pub(super) async fn audit(site: &Site) -> Result<Audited, Failure> {
    let (kind, name) = site.log.identity();
    let plan = Plan {
        database: site.admin_url.clone(),
        log: site.readable()?,
        log_identity: (kind, name.to_owned()),
        only: None,
    };
    let report = audit::audit(&plan, |_| {}).await;
    let report = report.map_err(|error| Failure::new("audit_failed", chain(&error)))?;
    Ok(Audited { accounts: report.accounts })
}

/// Says it: what stays in the scrollback, with the audit's result as its last line.
pub(super) fn tell(output: Output, picture: &Picture, audited: &Audited) -> Result<(), Failure> {
    let sum = |of: fn(&Account) -> u64| audited.accounts.iter().map(of).sum();
    let audit_ok = audited.accounts.iter().all(Account::is_ok);
    let answer = Answer {
        seconds: (picture.elapsed.as_secs_f64() * 1_000.0).round() / 1_000.0,
        accepted: sum(|one| one.accepted),
        stored: sum(|one| one.stored),
        duplicate: sum(|one| one.duplicate),
        rejected: picture.totals()[3],
        audit_ok,
    };
    output::one(output, &answer, |answer| text(answer, picture, audited));
    match audit_ok {
        true => Ok(()),
        false => Err(Failure::new("audit_difference", "the books differ")),
    }
}

fn text(answer: &Answer, picture: &Picture, audited: &Audited) -> String {
    let mut lines = Vec::new();
    let first = picture.first_row.map_or(String::new(), |first| {
        format!("; the first row was in its schema after {}", duration(first.as_secs_f64()))
    });
    lines.push(format!("{} of classrooms{first}.", duration(answer.seconds)));
    lines.push(format!(
        "  {:<16} {:>10} = {:>10} + {:>9} + {:>4} + {:>4}",
        "school", "accepted", "stored", "duplicate", "dead", "held"
    ));
    for one in &audited.accounts {
        lines.push(format!(
            "  {:<16} {:>10} = {:>10} + {:>9} + {:>4} + {:>4}",
            one.organization,
            count(one.accepted),
            count(one.stored),
            count(one.duplicate),
            one.dead,
            one.held
        ));
    }
    lines.push(format!("  refused out loud, event by event: {}", count(answer.rejected)));
    lines.push(match answer.audit_ok {
        true => format!(
            "audit: ok. {} accepted: each in its school's schema, only there, once.",
            count(answer.accepted)
        ),
        false => {
            let differing = audited.accounts.iter().filter(|one| !one.is_ok());
            let names: Vec<&str> = differing.map(|one| one.organization.as_str()).collect();
            format!("audit: THE BOOKS DIFFER for {}", names.join(", "))
        }
    });
    lines.join("\n")
}
