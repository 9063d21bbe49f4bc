//! `rollbook status`.

use std::collections::HashMap;

use serde::Serialize;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::store::status::{self, Standing};
use crate::tenant::Slug;

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this organization. Default: all.
    slug: Option<Slug>,
    #[command(flatten)]
    admin: AdminArguments,
}

/// What only the log knows of an organization.
#[derive(Debug, Default)]
struct LogView {
    /// Records that are not loaded yet.
    lag_records: Option<i64>,
    /// Why its partition is stopped.
    stopped: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    organization: String,
    state: &'static str,
    schema_version: i32,
    stored: Option<i64>,
    duplicate: Option<i64>,
    dead: Option<i64>,
    held: i64,
    lag_records: Option<i64>,
    freshness_seconds: Option<f64>,
    stopped: Option<String>,
}

impl Answer {
    fn new(standing: &Standing, log: LogView) -> Self {
        let organization = &standing.organization.organization;
        Self {
            organization: organization.slug.to_string(),
            state: organization.state.as_str(),
            schema_version: organization.schema_version,
            stored: standing.totals.map(|totals| totals.stored),
            duplicate: standing.totals.map(|totals| totals.duplicate),
            dead: standing.totals.map(|totals| totals.dead),
            held: standing.held,
            lag_records: log.lag_records,
            freshness_seconds: standing.totals.and_then(|totals| totals.freshness_seconds),
            stopped: log.stopped,
        }
    }
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (admin, _) = self.admin.open().await?;
        let standings = status::status(&admin, self.slug.as_ref()).await?;
        // The log is not asked yet: its part is unknown, which is null.
        let mut log: HashMap<Slug, LogView> = HashMap::new();
        let answers: Vec<Answer> = standings
            .iter()
            .map(|one| Answer::new(one, log.remove(&one.organization.organization.slug).unwrap_or_default()))
            .collect();
        let header = [
            "organization",
            "state",
            "version",
            "stored",
            "duplicate",
            "dead",
            "held",
            "lag",
            "fresh",
            "stopped",
        ];
        output::list(self.admin.output, &answers, &header, |one| {
            vec![
                one.organization.clone(),
                one.state.to_owned(),
                one.schema_version.to_string(),
                output::or_dash(one.stored),
                output::or_dash(one.duplicate),
                output::or_dash(one.dead),
                one.held.to_string(),
                output::or_dash(one.lag_records),
                output::or_dash(one.freshness_seconds.map(|seconds| format!("{seconds:.1} s ago"))),
                output::or_dash(one.stopped.as_ref()),
            ]
        });
        Ok(())
    }
}
