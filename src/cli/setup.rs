//! `rollbook setup`.

use serde::Serialize;

use super::failure::chain;
use super::{Failure, output};
use crate::config::log::{LogArgs, TopicArgs};
use crate::config::{
    AdminDatabase, ConfigError, DatabaseUrl, Operator, Output, RolePrefixSetting, ServiceDatabases,
};
use crate::log::topic::{self, Ensured};
use crate::store::Admin;
use crate::store::setup::{self, LogIdentity, NewGeneration, Plan};

/// What `setup` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Declares the configured log a new one, whose offsets start again: after a topic was deleted and made anew, or
    /// a move to another log. Without it a log by another name is refused.
    #[arg(long)]
    new_generation: bool,
    /// Takes logins of the URLs' names that exist already, and that no installation marked as its own, for this one's:
    /// gives them the URLs' passwords and its rights. Without it they are named, and nothing is done.
    #[arg(long)]
    adopt_logins: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    admin: AdminDatabase,
    #[command(flatten)]
    service: ServiceDatabases,
    #[command(flatten)]
    prefix: RolePrefixSetting,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    topic: TopicArgs,
}

#[derive(Serialize)]
struct Answer {
    intake_login: String,
    loader_login: String,
    role_prefix: String,
    log: String,
    partitions: usize,
    generation: i32,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let url = self.admin.resolve()?;
        let intake = self.service.intake(self.admin.stand_in())?;
        let loader = self.service.loader(self.admin.stand_in())?;
        refuse_contradictions(&url, &intake, &loader)?;

        let log_settings = self.log.resolve()?;

        // First the log: a generation is declared only for one that is there.
        let ensured = topic::ensure(&log_settings, &self.topic)
            .await
            .map_err(|error| Failure::new("log_unavailable", chain(&error)))?;
        let (Ensured::Created { partitions } | Ensured::Existed { partitions }) = ensured;
        let log = LogIdentity { kind: "kafka", name: log_settings.topic };

        let new_generation = if self.new_generation { NewGeneration::Declare } else { NewGeneration::Keep };
        let plan = Plan { intake, loader, prefix: self.prefix.role_prefix, log, new_generation };
        let mut admin = Admin::connect(&url, Operator::from_environment()).await?;
        let outcome = match self.adopt_logins {
            true => setup::setup_adopting(&mut admin, &plan).await?,
            false => setup::setup(&mut admin, &plan).await?,
        };
        let answer = Answer {
            intake_login: outcome.installation.intake_login,
            loader_login: outcome.installation.loader_login,
            role_prefix: outcome.installation.prefix.as_str().to_owned(),
            log: plan.log.name,
            partitions,
            generation: outcome.generation,
        };
        output::one(self.output, &answer, |answer| {
            format!(
                "ready: intake logs in as {}, the loader as {}; the log is {} with {} partitions, generation {}",
                answer.intake_login, answer.loader_login, answer.log, answer.partitions, answer.generation
            )
        });
        Ok(())
    }
}

/// Three URLs of one installation name one database; and intake and loader are one login only where it is the
/// administrator's own.
fn refuse_contradictions(
    admin: &DatabaseUrl,
    intake: &DatabaseUrl,
    loader: &DatabaseUrl,
) -> Result<(), ConfigError> {
    for (variable, url) in
        [("ROLLBOOK_INTAKE_DATABASE_URL", intake), ("ROLLBOOK_LOADER_DATABASE_URL", loader)]
    {
        if url.database() != admin.database() {
            return Err(ConfigError::Contradiction(format!(
                "{variable} names the database `{}`, ROLLBOOK_ADMIN_DATABASE_URL names `{}`",
                url.database(),
                admin.database()
            )));
        }
    }
    if intake.user() == loader.user() && intake.user() != admin.user() {
        return Err(ConfigError::Contradiction(format!(
            "ROLLBOOK_INTAKE_DATABASE_URL and ROLLBOOK_LOADER_DATABASE_URL both log in as `{}`: each needs a login of \
             its own",
            intake.user()
        )));
    }
    Ok(())
}
