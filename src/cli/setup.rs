//! `rollbook setup`.

use serde::Serialize;

use super::{Failure, output};
use crate::config::log::{LogArgs, LogSettings, TopicArgs};
use crate::config::{
    AdminDatabase, ConfigError, DatabaseUrl, Faults, Idle, Operator, Output, RolePrefixSetting,
    ServiceDatabases,
};
use crate::log::{self, Difference};
use crate::ops::chain;
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
    /// Stretches of an embedded log that could not be read, and are passed over from now on.
    damage_given_up: usize,
    topic_differences: Vec<TopicDifference>,
    /// Why the topic's settings could not be compared.
    topic_unread: Option<String>,
}

/// How a topic that was there differs from what `setup` would have made.
#[derive(Serialize)]
struct TopicDifference {
    setting: &'static str,
    found: String,
    wanted: String,
    consequence: &'static str,
    #[serde(skip)]
    text: String,
}

impl From<Difference> for TopicDifference {
    fn from(difference: Difference) -> Self {
        let text = difference.to_string();
        let Difference { setting, found, wanted, consequence } = difference;
        Self { setting, found, wanted, consequence, text }
    }
}

impl Arguments {
    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        let admin = faults.note(self.admin.resolve());
        let intake = faults.note(self.service.intake(self.admin.stand_in()));
        let loader = faults.note(self.service.loader(self.admin.stand_in()));
        faults.note(self.log_settings());
        if let (Some(admin), Some(intake), Some(loader)) = (admin, intake, loader) {
            faults.note(refuse_contradictions(&admin, &intake, &loader));
        }
        faults
    }

    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.log.idle().into_iter().collect()
    }

    fn log_settings(&self) -> Result<LogSettings, ConfigError> {
        self.log.set_up(&self.topic.partitions)
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let url = self.admin.resolve()?;
        let intake = self.service.intake(self.admin.stand_in())?;
        let loader = self.service.loader(self.admin.stand_in())?;
        let log_settings = self.log_settings()?;

        // First the log: a generation is declared only for one that is there.
        let unavailable = |error: log::LogError| Failure::new("log_unavailable", chain(&error));
        let ensured = log::ensure(&log_settings, &self.topic).await.map_err(unavailable)?;
        // A process that serves it would go on in the new generation, and with what is damaged.
        let held_still = match self.new_generation {
            true => log::hold_still(&log_settings).await.map_err(unavailable)?,
            false => None,
        };
        let (kind, name) = log_settings.identity();
        let log = LogIdentity { kind, name: name.to_owned() };

        let new_generation = if self.new_generation { NewGeneration::Declare } else { NewGeneration::Keep };
        let plan = Plan { intake, loader, prefix: self.prefix.role_prefix, log, new_generation };
        let mut admin = Admin::connect(&url, Operator::from_environment()).await?;
        let outcome = match self.adopt_logins {
            true => setup::setup_adopting(&mut admin, &plan).await?,
            false => setup::setup(&mut admin, &plan).await?,
        };
        // Once it is a new log, what is damaged in it is nobody's any more.
        let given_up = held_still.as_ref().map_or(Ok(0), log::Log::give_up_damage).map_err(unavailable)?;
        if let Some(log) = held_still {
            let _closed = tokio::task::spawn_blocking(move || log.close()).await;
        }
        let answer = Answer {
            intake_login: outcome.installation.intake_login,
            loader_login: outcome.installation.loader_login,
            role_prefix: outcome.installation.prefix.as_str().to_owned(),
            log: plan.log.name,
            damage_given_up: given_up,
            partitions: ensured.partitions,
            generation: outcome.generation,
            topic_differences: ensured.differences.into_iter().map(TopicDifference::from).collect(),
            topic_unread: ensured.unread,
        };
        output::one(self.output, &answer, Answer::to_text);
        Ok(())
    }
}

impl Answer {
    fn to_text(&self) -> String {
        let Self { intake_login, loader_login, log, partitions, generation, .. } = self;
        let mut text = format!(
            "ready: intake logs in as {intake_login}, the loader as {loader_login}; the log is {log} with {partitions} \
             partitions, generation {generation}"
        );
        if self.damage_given_up > 0 {
            text += &format!("\n{} damaged stretches of the log are given up", self.damage_given_up);
        }
        if let Some(reason) = &self.topic_unread {
            text += &format!("\nthe settings of the topic {log} could not be compared: {reason}");
        }
        if !self.topic_differences.is_empty() {
            text += &format!("\nthe topic {log} was there, and is not as setup would have made it:");
        }
        for difference in &self.topic_differences {
            text += &format!("\n  {}", difference.text);
        }
        text
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
