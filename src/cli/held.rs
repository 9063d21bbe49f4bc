//! `rollbook held`: records that wait for an organization's schema.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::config::loader::TransactionArgs;
use crate::config::{Faults, LoaderDatabase};
use crate::loader::LONGEST_PROBE;
use crate::loader::drain::{Drained, NotDrained, drain_partition};
use crate::store::{self, held};
use crate::tenant::{Directory, Organization, RecordOwner, Slug, Snapshot, Tenant};

/// What can be done with held records.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists held records, in the order in which they will be stored.
    List(List),
    /// Stores held records now, instead of waiting for the loader's next attempt.
    Drain(Box<Drain>),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Whose records.
    slug: Slug,
    #[command(flatten)]
    admin: AdminArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// Whose records.
    slug: Slug,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    database: LoaderDatabase,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl Command {
    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        match self {
            Self::List(arguments) => arguments.admin.faults(),
            Self::Drain(arguments) => arguments.faults(),
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(arguments) => arguments.run().await,
            Self::Drain(arguments) => arguments.run().await,
        }
    }
}

#[derive(Serialize)]
struct Listed {
    partition: i32,
    offset: i64,
    events: i32,
    since: String,
    reason: String,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (admin, _) = self.admin.open().await?;
        let (_, held) = held::list(&admin, &self.slug).await?;
        let listed: Vec<Listed> = held
            .into_iter()
            .map(|record| Listed {
                partition: record.partition,
                offset: record.offset,
                events: record.events,
                since: output::time(record.held_at),
                reason: record.reason,
            })
            .collect();
        let header = ["partition", "offset", "events", "since", "reason"];
        output::list(self.admin.output, &listed, &header, |one| {
            vec![
                one.partition.to_string(),
                one.offset.to_string(),
                one.events.to_string(),
                one.since.clone(),
                output::printable(&one.reason),
            ]
        });
        if !self.admin.output.json && !listed.is_empty() {
            output::say(&format!(
                "\nA loader tries them again by itself, every {} s at the least, once what the reason says is mended. At once: \
                 rollbook held drain {}",
                LONGEST_PROBE.as_secs(),
                self.slug
            ));
        }
        Ok(())
    }
}

/// What became of what was held.
#[derive(Debug, Default, Serialize)]
struct Answer {
    organization: String,
    records: u64,
    stored: u64,
    duplicate: u64,
    dead: u64,
    unreadable_records: u64,
    still_held: u64,
}

impl Answer {
    fn add(&mut self, drained: &Drained) {
        self.records += drained.records as u64;
        self.stored += drained.fates.stored;
        self.duplicate += drained.fates.duplicate;
        self.dead += drained.fates.dead;
        self.unreadable_records += drained.unreadable as u64;
    }

    /// As the trail has it.
    fn what(&self) -> Value {
        json!({ "records": self.records, "stored": self.stored, "duplicate": self.duplicate, "dead": self.dead,
                "unreadable_records": self.unreadable_records })
    }

    fn text(&self) -> String {
        let Self { organization, records, stored, duplicate, dead, unreadable_records, still_held } = self;
        format!(
            "{organization}: {records} records drained, {still_held} still held; events: {stored} stored, {duplicate} \
             duplicate, {dead} dead; records that cannot be read: {unreadable_records}"
        )
    }
}

impl Drain {
    fn faults(&self) -> Faults {
        let mut faults = self.admin.faults();
        faults.note(self.database.resolve(&self.admin.database));
        faults.note(self.transaction.resolve());
        faults
    }

    async fn run(self) -> Result<(), Failure> {
        let transaction = self.transaction.resolve()?;
        let url = self.database.resolve(&self.admin.database)?;
        let (mut admin, installation) = self.admin.open().await?;
        let (organization, held) = held::list(&admin, &self.slug).await?;
        let id = organization.id;
        let mut answer = Answer { organization: self.slug.to_string(), ..Answer::default() };

        let mut client = store::connect(&url).await?;
        let tenant = tenant(organization)?;
        let bar = output::progress_bar(
            Some(held.len() as u64),
            "{bar:40} {pos}/{len} records {elapsed} (left: {eta})",
        );
        // A generation that ended may still have held records, which no lane of the loader has.
        let partitions: BTreeSet<(i32, i32)> =
            held.iter().map(|record| (record.generation, record.partition)).collect();
        // The drain and its line in the trail, each with a connection of its own.
        let (told, mut to_write) = watch::channel(Value::Null);
        let draining = async {
            let mut outcome = Ok(());
            for partition in partitions {
                let each = |drained: &Drained| {
                    answer.add(drained);
                    bar.inc(drained.records as u64);
                    told.send_replace(answer.what());
                };
                outcome = drain_partition(
                    &mut client,
                    &tenant,
                    &installation.prefix,
                    &transaction,
                    partition,
                    each,
                )
                .await;
                if outcome.is_err() {
                    break;
                }
            }
            drop(told);
            outcome
        };
        let writing = async {
            let mut line = held::DrainLine::default();
            while to_write.changed().await.is_ok() {
                let what = to_write.borrow_and_update().clone();
                line.write(&mut admin, id, &what).await?;
            }
            Ok::<(), store::Error>(())
        };
        let (outcome, written) = tokio::join!(draining, writing);
        bar.finish_and_clear();
        written?;
        answer.still_held = held::count(&admin, id).await?;
        output::one(self.admin.output, &answer, Answer::text);
        outcome.map_err(|error| Failure::new(code(&error), error.to_string()))
    }
}

fn code(error: &NotDrained) -> &'static str {
    match error {
        NotDrained::Refused(_) => "schema_refuses",
        NotDrained::Busy(_) => "busy",
        NotDrained::Server(_) => "database_unavailable",
    }
}

/// By the same door as the loader: the records name the organization, the control schema says who that is.
fn tenant(organization: Organization) -> Result<Tenant, Failure> {
    let id = organization.id;
    let directory = Directory::default();
    directory.replace(Snapshot::new([organization], [], Instant::now()));
    match directory.of_record(id) {
        Some(RecordOwner::Tenant(tenant)) => Ok(tenant),
        Some(RecordOwner::Removed | RecordOwner::Unknown) | None => {
            Err(Failure::new("organization_removed", "the organization was removed"))
        }
    }
}
