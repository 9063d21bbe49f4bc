//! `rollbook serve --check`: tries what the service would work with, and says all that it finds.

use std::time::Duration;

use serde::Serialize;

use super::logins::{Checked, Login, Rights, Role};
use super::{Arguments, RoleArg};
use crate::cli::parse::Wrong;
use crate::cli::{Failure, output};
use crate::config::log::{EmbeddedSettings, LogSettings};
use crate::config::{ConfigError, DatabaseUrl, Faults, Output};
use crate::log::embedded::OpenError;
use crate::log::{Log, LogError, Outlook, Readable};
use crate::ops::chain;
use crate::ops::descriptors;
use crate::store::directory::{View, read_once};

/// A topic that `setup` made a moment ago is not known to every broker yet.
const TOPIC_TRIES: u32 = 10;
const TOPIC_PAUSE: Duration = Duration::from_millis(300);

/// What one look came to.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    message: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    items: &'a [Finding],
}

impl Finding {
    fn new(check: &'static str, found: Result<String, String>) -> Self {
        let (ok, message) = match found {
            Ok(message) => (true, message),
            Err(message) => (false, message),
        };
        Self { check, ok, message }
    }

    fn line(&self) -> String {
        let verdict = if self.ok { "ok" } else { "wrong" };
        format!("{verdict:<7}{:<16}{}", self.check, self.message)
    }
}

/// Looks at everything, whatever was found before. `settings` is what is wrong with those.
pub(super) async fn check(arguments: &Arguments, settings: &Wrong) -> Result<(), Failure> {
    let mut findings: Vec<Finding> = match &settings.lines[..] {
        [] => vec![Finding::new("settings", Ok("they go together".to_owned()))],
        wrong => wrong.iter().map(|one| Finding::new("settings", Err(one.clone()))).collect(),
    };
    findings.push(descriptors(arguments));
    // What is wrong with these settings is said already.
    let mut said = Faults::default();
    let has = |roles: &[RoleArg], url| if roles.iter().any(|role| arguments.has(*role)) { url } else { None };
    let intake = has(&[RoleArg::Intake], said.note(arguments.databases.intake(&arguments.stand_in)));
    let loader = said.note(arguments.databases.loader(&arguments.stand_in));
    // The reporter's, too.
    let loader = has(&[RoleArg::Loader, RoleArg::Reporter], loader);
    let log = arguments.needs_log().then(|| said.note(arguments.log_settings())).flatten();
    let log = log.filter(|_| !settings.is_of_two_logs);
    let (intake, loader, log) = tokio::join!(
        looked(intake, |url| intake_login(arguments, url)),
        looked(loader, |url| loader_login(arguments, url)),
        looked(log, |log| the_log(arguments, log)),
    );
    findings.extend([intake, loader, log].into_iter().flatten());
    answer(arguments, &findings)
}

/// Looks at what there is to look at.
async fn looked<T, F: Future<Output = Finding>>(
    setting: Option<T>,
    look: impl FnOnce(T) -> F,
) -> Option<Finding> {
    match setting {
        Some(setting) => Some(look(setting).await),
        None => None,
    }
}

async fn intake_login(arguments: &Arguments, url: DatabaseUrl) -> Finding {
    let login = arguments.login(Role::Intake(url.clone()));
    Finding::new("intake's login", try_login(&url, View::Intake, &login).await)
}

async fn loader_login(arguments: &Arguments, url: DatabaseUrl) -> Finding {
    let prefix = arguments.prefix.role_prefix.clone().unwrap_or_default();
    let login = arguments.login(Role::Loader(url.clone(), prefix));
    Finding::new("loader's login", try_login(&url, View::Loader, &login).await)
}

impl Arguments {
    fn login(&self, role: Role) -> Login {
        Login { role, rights: if self.allow_privileged_login { Rights::Any } else { Rights::Needed } }
    }
}

async fn try_login(url: &DatabaseUrl, view: View, login: &Login) -> Result<String, String> {
    let name = url.user();
    let read = read_once(url, view).await.map_err(|error| format!("`{name}`: {}", chain(&error)));
    match (read, login.check().await) {
        // A server that will not do has no schema of ours, either: to make one there would be the wrong advice.
        (Err(unread), Checked::Refused(error)) => Err(format!("{error}; {unread}")),
        (Err(unread), Checked::Fitting | Checked::Unanswered(_)) => Err(unread),
        (Ok(_), Checked::Fitting) if login.rights == Rights::Any => {
            Ok(format!("`{name}` reads what it needs; its rights were not looked at"))
        }
        (Ok(_), Checked::Fitting) => Ok(format!("`{name}` may do what it needs, and no more")),
        (Ok(_), Checked::Refused(error)) => Err(error.to_string()),
        (Ok(_), Checked::Unanswered(reason)) => Err(format!("`{name}`: {reason}")),
    }
}

async fn the_log(arguments: &Arguments, settings: LogSettings) -> Finding {
    let found = match &settings {
        LogSettings::Kafka(kafka) => match Log::open(&settings, &arguments.consume.group.kafka_group) {
            Ok(log) => topic(&log, &kafka.topic, &kafka.brokers).await,
            Err(error) => Err(chain(&error)),
        },
        LogSettings::Embedded(embedded) => folder(arguments, embedded).await,
    };
    Finding::new("log", found)
}

/// It is only looked at: a folder that the check made as root, the service could not open as itself.
async fn folder(arguments: &Arguments, settings: &EmbeddedSettings) -> Result<String, String> {
    let looking = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Log::outlook(&settings))
    };
    let EmbeddedSettings { folder, partitions, .. } = settings;
    let folder = folder.display();
    match looking.await.map_err(|error| error.to_string())? {
        Ok(Outlook::Log) => Ok(format!("the log in `{folder}` can be opened, with {partitions} partitions")),
        Ok(Outlook::NoLogYet) => {
            Ok(format!("there is no log in `{folder}` yet: it will be made, with {partitions} partitions"))
        }
        Err(error) if error.is_in_use() => in_use(arguments, settings, &error).await,
        Err(error) => Err(chain(&error)),
    }
}

/// Nothing is wrong where the service is running already: before an upgrade it is.
async fn in_use(
    arguments: &Arguments,
    settings: &EmbeddedSettings,
    locked: &LogError,
) -> Result<String, String> {
    let addr = arguments.ops.admin.admin_addr;
    let running = Readable::of(&LogSettings::Embedded(settings.clone()), "", addr);
    let running = running.map_err(|error| chain(&error))?;
    let asked = settings.partitions as usize;
    match running.ask(|scanner| Ok(scanner.ends()?.len())).await {
        Ok(found) if found != asked => Err(OpenError::Partitions { found, asked }.to_string()),
        Ok(partitions) => Ok(format!("the service at {addr} has it open, with {partitions} partitions")),
        Err(error) => Err(format!("{locked}; {}", chain(&error))),
    }
}

async fn topic(log: &Log, topic: &str, brokers: &str) -> Result<String, String> {
    let log = log.readable();
    let ask = async || log.ask(|scanner| Ok(scanner.ends()?.len())).await;
    let mut partitions = ask().await;
    for _ in 0..TOPIC_TRIES {
        if !matches!(partitions, Ok(0)) {
            break;
        }
        tokio::time::sleep(TOPIC_PAUSE).await;
        partitions = ask().await;
    }
    match partitions {
        Ok(0) => Err(format!("there is no topic `{topic}`: run `rollbook setup`")),
        Ok(partitions) => Ok(format!("the topic `{topic}` has {partitions} partitions")),
        Err(error) => Err(format!("{brokers}: {}", chain(&error))),
    }
}

/// Not wrong either way: the service says it, and lets in fewer.
fn descriptors(arguments: &Arguments) -> Finding {
    let limit = descriptors::raise_limit();
    let wanted = arguments.intake.http_connections;
    let fit = descriptors::connections_that_fit(wanted, limit, arguments.loader.loader_connections);
    let limit = limit.map_or("any number of".to_owned(), |limit| limit.to_string());
    let found = format!("{limit} files may be open, which lets in {fit} of {wanted} connections");
    Finding::new("descriptors", Ok(found))
}

fn answer(arguments: &Arguments, findings: &[Finding]) -> Result<(), Failure> {
    let wrong: Vec<&Finding> = findings.iter().filter(|finding| !finding.ok).collect();
    let answer = Answer { ok: wrong.is_empty(), items: findings };
    output::one(Output { json: arguments.json }, &answer, |answer| {
        answer.items.iter().map(|finding| finding.line() + "\n").collect()
    });
    if wrong.is_empty() {
        return Ok(());
    }
    let mut names: Vec<&str> = wrong.iter().map(|finding| finding.check).collect();
    names.dedup();
    Err(ConfigError::Check { wrong: names.join(", ") }.into())
}
