//! `rollbook serve`.

mod check;
mod logins;
mod service;
mod spans;

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;

use super::Failure;
use super::parse::Wrong;
use super::settings::{Setting, Source};
use crate::config::intake::{IntakeArgs, IntakeSettings};
use crate::config::loader::{LoaderArgs, LoaderSettings};
use crate::config::log::{
    ConsumeArgs, LogArgs, LogKind, LogSettings, PartitionsArg, PublishArgs, RetentionArg,
};
use crate::config::ops::{DrainArgs, DrainSettings, OpsArgs};
use crate::config::otlp::OtlpSettings;
use crate::config::report::ReportArgs;
use crate::config::{
    ConfigError, DatabaseUrl, Faults, Idle, RolePrefixSetting, ServiceDatabases, StandInDatabase,
};
use crate::tenant::RolePrefix;

/// What `serve` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// What this process does; all of it unless told otherwise. Processes of one role each can be added as load grows.
    #[arg(
        long = "role",
        env = "ROLLBOOK_ROLE",
        value_name = "ROLE,…",
        value_delimiter = ',',
        default_value = "intake,loader,reporter"
    )]
    roles: Vec<RoleArg>,
    /// Reads the settings, tries Postgres, the logins and the log, says a line of each and ends: with 0, or with 64
    /// where something is wrong, and then all of it was said.
    #[arg(long)]
    pub(super) check: bool,
    /// With --check: prints one JSON value on standard output instead of lines.
    #[arg(long, requires = "check")]
    json: bool,
    /// Starts even with a database login that may do more than its role needs: for development. The second fence
    /// between organizations is then down.
    #[arg(
        long,
        env = "ROLLBOOK_ALLOW_PRIVILEGED_LOGIN",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    allow_privileged_login: bool,
    #[command(flatten)]
    databases: ServiceDatabases,
    #[command(flatten)]
    stand_in: StandInDatabase,
    #[command(flatten)]
    prefix: RolePrefixSetting,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    partitions: PartitionsArg,
    #[command(flatten)]
    retention: RetentionArg,
    #[command(flatten)]
    publish: PublishArgs,
    #[command(flatten)]
    consume: ConsumeArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    loader: LoaderArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    drain: DrainArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    Intake,
    Loader,
    Reporter,
}

/// Everything that the service runs by: checked.
#[derive(Debug)]
struct Settings {
    intake: Option<IntakeRole>,
    loader: Option<LoaderRole>,
    reporter: Option<ReporterRole>,
    /// `None`: no role of this process needs it.
    log: Option<LogSettings>,
    group: String,
    prefix: RolePrefix,
    allow_privileged_login: bool,
    ops: OpsArgs,
    drain: DrainSettings,
    /// `None`: spans go nowhere.
    spans: Option<OtlpSettings>,
}

#[derive(Debug)]
struct IntakeRole {
    database: DatabaseUrl,
    http_addr: std::net::SocketAddr,
    publish: PublishArgs,
    settings: IntakeSettings,
}

#[derive(Debug)]
struct LoaderRole {
    database: DatabaseUrl,
    consume: ConsumeArgs,
    settings: LoaderSettings,
}

/// It works with the loader's login, and like the loader becomes an organization's role for each transaction.
#[derive(Debug)]
struct ReporterRole {
    database: DatabaseUrl,
    period: Duration,
}

impl Arguments {
    /// Runs the service by these settings, which are said once; or only looks, whatever is wrong with them.
    pub(super) async fn run(self, said: &[Setting], wrong: &Wrong) -> Result<(), Failure> {
        if self.check {
            return check::check(&self, wrong).await;
        }
        let settings = self.resolve()?;
        crate::ops::tracing::start(settings.ops.log_format, &settings.ops.log_filter)
            .map_err(|error| Failure::new("log_not_started", format!("{error:#}")))?;
        say(said);
        service::run(settings).await
    }

    /// What is wrong with the settings.
    pub(super) fn faults(&self) -> Faults {
        self.resolve().err().unwrap_or_default()
    }

    /// What has no effect beside the rest. What another role needs is no slip: processes of all roles may share their flags.
    pub(super) fn idle(&self) -> Vec<Idle> {
        self.log.idle().into_iter().chain(self.consume.idle()).collect()
    }

    fn resolve(&self) -> Result<Settings, Faults> {
        let mut faults = Faults::default();
        faults.note(self.check_addresses());
        let intake = self.has(RoleArg::Intake).then(|| self.intake(&mut faults));
        let loader = self.has(RoleArg::Loader).then(|| self.loader(&mut faults));
        let reporter = self.has(RoleArg::Reporter).then(|| self.reporter(&mut faults));
        let log = self.needs_log().then(|| faults.note(self.log_settings())).flatten();
        faults.note(self.check_roles());
        let spans = spans::settings(&mut faults);
        let drain = faults.note(self.drain.resolve());
        let settings = drain.map(|drain| Settings {
            intake: intake.flatten(),
            loader: loader.flatten(),
            reporter: reporter.flatten(),
            log,
            group: self.consume.group.kafka_group.clone(),
            prefix: self.prefix.role_prefix.clone().unwrap_or_default(),
            allow_privileged_login: self.allow_privileged_login,
            drain,
            ops: self.ops.clone(),
            spans,
        });
        faults.none_or(settings)
    }

    fn log_settings(&self) -> Result<LogSettings, ConfigError> {
        self.log.resolve(&self.partitions, &self.retention)
    }

    /// A reporter alone asks Postgres for all that it needs.
    fn needs_log(&self) -> bool {
        self.has(RoleArg::Intake) || self.has(RoleArg::Loader)
    }

    /// Nobody else can take what an intake alone writes into files of its own, or bring a loader alone anything.
    fn check_roles(&self) -> Result<(), ConfigError> {
        let is_alone = !(self.has(RoleArg::Intake) && self.has(RoleArg::Loader));
        if is_alone && self.log.kind() == Ok(LogKind::Embedded) {
            return Err(ConfigError::Contradiction(
                "ROLLBOOK_LOG is `embedded`, a log of one process: ROLLBOOK_ROLE has to name both intake and loader".to_owned(),
            ));
        }
        Ok(())
    }

    fn has(&self, role: RoleArg) -> bool {
        self.roles.contains(&role)
    }

    fn intake(&self, faults: &mut Faults) -> Option<IntakeRole> {
        let database = faults.note(self.databases.intake(&self.stand_in));
        let settings = faults.note(self.intake.resolve());
        Some(IntakeRole {
            database: database?,
            http_addr: self.intake.http_addr,
            settings: settings?,
            publish: self.publish.clone(),
        })
    }

    fn loader(&self, faults: &mut Faults) -> Option<LoaderRole> {
        let database = faults.note(self.databases.loader(&self.stand_in));
        let settings = faults.note(self.loader.resolve());
        Some(LoaderRole { database: database?, settings: settings?, consume: self.consume.clone() })
    }

    fn reporter(&self, faults: &mut Faults) -> Option<ReporterRole> {
        let database = self.databases.loader(&self.stand_in);
        // With a loader beside it, the loader's fault is the same.
        let database = if self.has(RoleArg::Loader) { database.ok() } else { faults.note(database) };
        Some(ReporterRole { database: database?, period: self.report.period() })
    }

    /// One address cannot take batches and be the operator's. (Port 0 is another free one each time.)
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let (http, admin) = (self.intake.http_addr, self.ops.admin.admin_addr);
        // Linux takes IPv4 for `[::]`, too.
        let takes_all =
            |ip: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || http.is_ipv4() == admin.is_ipv4());
        let is_shared = http.ip() == admin.ip() || takes_all(http.ip()) || takes_all(admin.ip());
        if self.has(RoleArg::Intake) && is_shared && http.port() == admin.port() && http.port() != 0 {
            return Err(ConfigError::Contradiction(format!(
                "ROLLBOOK_HTTP_ADDR ({http}) and ROLLBOOK_ADMIN_ADDR ({admin}) must not be the same address"
            )));
        }
        Ok(())
    }
}

/// Writes the settings in effect to the log: a line for each kind of place that they come from.
fn say(settings: &[Setting]) {
    for (source, from) in [
        (Source::CommandLine, "the command line"),
        (Source::Variable, "variables"),
        (Source::File, "files that variables name"),
        (Source::Default, "defaults"),
    ] {
        let of_it = settings.iter().filter(|setting| setting.source == source);
        let said: Vec<String> = of_it.map(ToString::to_string).collect();
        if !said.is_empty() {
            tracing::info!(from, settings = said.join(" "), "settings in effect");
        }
    }
}
