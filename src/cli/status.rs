//! `rollbook status`.

use serde::Serialize;

use super::admin::AdminArguments;
use super::onlooker::OnlookerArguments;
use super::{Failure, output};
use crate::config::{ConfigError, Faults, Idle};
use crate::loader::LONGEST_PROBE;
use crate::log::{Anchor, PartitionStanding, Remembered, partition_of, standings};
use crate::ops::chain;
use crate::store::Admin;
use crate::store::status::{self, Rewound, Standing};
use crate::tenant::Slug;

/// What `status` takes.
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
struct Answer {
    organization: String,
    state: &'static str,
    schema_version: i32,
    stored: Option<i64>,
    duplicate: Option<i64>,
    dead: Option<i64>,
    held: i64,
    lag_records: Option<u64>,
    freshness_seconds: Option<f64>,
    stopped: Option<String>,
    /// How its reports stand: `current`, `behind`, `building` or `unreadable`.
    reports: Option<&'static str>,
}

impl Answer {
    fn new(standing: &Standing, partition: Option<&PartitionStanding>) -> Self {
        let organization = &standing.organization.organization;
        Self {
            organization: organization.slug.to_string(),
            state: organization.state.as_str(),
            schema_version: organization.schema_version,
            stored: standing.totals.map(|totals| totals.stored),
            duplicate: standing.totals.map(|totals| totals.duplicate),
            dead: standing.totals.map(|totals| totals.dead),
            held: standing.held,
            lag_records: partition.map(|partition| partition.lag_records),
            freshness_seconds: standing.totals.and_then(|totals| totals.freshness_seconds),
            stopped: partition.and_then(|partition| partition.stopped).map(|why| why.to_string()),
            reports: standing.reports.map(status::Reports::as_str),
        }
    }
}

impl Arguments {
    /// What is wrong with the settings. A log that is not configured is not asked.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = self.admin.faults();
        if let Err(fault) = self.onlooker.settings()
            && !is_unset(&fault)
        {
            faults.note(Err::<(), _>(fault));
        }
        faults
    }

    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.onlooker.idle()
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut admin, _) = self.admin.open().await?;
        let standings = status::status(&mut admin, self.slug.as_ref()).await?;
        let partitions = self.partitions(&admin).await?;
        let partition_of = |slug: &Slug| {
            let count = u32::try_from(partitions.len()).ok()?;
            partitions.get(partition_of(slug.as_str(), count) as usize)
        };
        let answers: Vec<Answer> = standings
            .iter()
            .map(|standing| Answer::new(standing, partition_of(&standing.organization.organization.slug)))
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
            "reports",
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
                output::or_dash(one.reports),
                output::or_dash(one.stopped.as_ref()),
            ]
        });
        if !self.admin.output.json {
            standings.iter().for_each(say_why_held);
            status::rewound(&admin).await?.iter().for_each(say_rewound);
        }
        Ok(())
    }

    /// How each partition stands; none where the log is not configured here or does not answer: then it is unknown,
    /// which is null, and the rest of the answer still stands.
    async fn partitions(&self, admin: &Admin) -> Result<Vec<PartitionStanding>, Failure> {
        let log = match self.onlooker.settings() {
            Ok(settings) => self.onlooker.readable(&settings)?,
            Err(fault) if is_unset(&fault) => return Ok(Vec::new()),
            Err(bad) => return Err(bad.into()),
        };
        // Before the log is asked: what it has only grows.
        let anchors =
            status::anchors(admin).await?.partitions.into_iter().map(|(partition, place)| Remembered {
                partition,
                next_offset: Some(place.next_offset),
                anchor: place.record_id.map(|record_id| Anchor { next_offset: place.next_offset, record_id }),
            });
        let asked = standings(&log, anchors.collect()).await;
        Ok(asked.unwrap_or_else(|error| {
            output::complain(&format!("the log does not answer, so lag is unknown: {}", chain(&error)));
            Vec::new()
        }))
    }
}

fn is_unset(fault: &ConfigError) -> bool {
    matches!(fault, ConfigError::Missing { .. } | ConfigError::NoLog)
}

fn say_rewound(rewound: &Rewound) {
    let partitions: Vec<String> = rewound.partitions.iter().map(ToString::to_string).collect();
    output::say(&format!(
        "Postgres was found to have gone back in time, last at {}, in partitions {}: the log brings again what it forgot. \
         Whether all of it is there: rollbook audit",
        rewound.at,
        partitions.join(", ")
    ));
}

fn say_why_held(standing: &Standing) {
    let Some(reason) = &standing.held_because else { return };
    let slug = &standing.organization.organization.slug;
    output::say(&format!(
        "{slug}: {} events are held: {}. They are tried again by themselves, every {} s at the least; at once: rollbook \
         held drain {slug}",
        standing.held,
        output::printable(reason),
        LONGEST_PROBE.as_secs()
    ));
}
