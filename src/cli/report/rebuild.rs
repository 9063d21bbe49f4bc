//! `rollbook report rebuild`.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::admin::AdminArguments;
use crate::cli::{Failure, output};
use crate::ops::chain;
use crate::report::{Progress, ReportError, Reports, rebuild};
use crate::store::{TENANT_SCHEMA_VERSION, lifecycle, organizations};
use crate::tenant::Slug;

/// A person waits for it, and watches.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `report rebuild` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The organization.
    slug: Slug,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

#[derive(Serialize)]
struct Answer {
    organization: String,
    seconds: f64,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let organization = organizations::standing(&admin, &self.slug).await?.organization;
        if organization.schema_version != TENANT_SCHEMA_VERSION {
            let version = organization.schema_version;
            return Err(Failure::new(
                "schema_version",
                format!(
                    "the schema is at version {version}, this release keeps reports at {TENANT_SCHEMA_VERSION}: run `rollbook migrate`"
                ),
            ));
        }
        let reports = Reports::new(&organization.schema_name, admin.owner(), organization.completion);
        let reports = reports.with_patience(PATIENCE);
        let (bar, started) = (
            output::progress_bar(Some(1), "{bar:40} {percent} % {elapsed} (left: {eta}) {msg}"),
            Instant::now(),
        );
        // What it begins a reporter goes on with, whatever becomes of this command.
        lifecycle::record_rebuild(&mut admin, organization.id).await?;
        let client = admin.client();
        let rebuilt = rebuild(client, &reports, |progress| show(&bar, progress)).await;
        let rebuilt = match rebuilt {
            Ok(()) => reports.clear(client).await,
            failed => failed,
        };
        bar.finish_and_clear();
        rebuilt.map_err(|error| failure(&error))?;
        let answer = Answer { organization: self.slug.to_string(), seconds: started.elapsed().as_secs_f64() };
        output::one(self.admin.output, &answer, |answer| {
            format!("{}: the reports are made anew ({:.1} s)", answer.organization, answer.seconds)
        });
        Ok(())
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Reading { blocks, of } => {
            bar.set_length(of);
            bar.set_position(blocks);
        }
        Progress::CatchingUp => bar.set_message("taking in what was stored meanwhile"),
        Progress::Done => bar.set_message("clearing up"),
    }
}

fn failure(error: &ReportError) -> Failure {
    let code = match error {
        ReportError::Busy | ReportError::Superseded => "busy",
        ReportError::Server(_) | ReportError::NoConnection(_) => "database_unavailable",
        ReportError::TooLong(_) | ReportError::Schema(_) | ReportError::Unreadable(..) => "schema_refuses",
    };
    Failure::new(code, chain(error))
}
