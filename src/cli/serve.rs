//! `rollbook serve`.

mod logins;
mod service;

use std::net::IpAddr;

use clap::ValueEnum;

use super::Failure;
use crate::config::intake::{IntakeArgs, IntakeSettings};
use crate::config::loader::{LoaderArgs, LoaderSettings};
use crate::config::log::{ConsumeArgs, LogArgs, LogSettings, PublishArgs};
use crate::config::ops::{DrainArgs, DrainSettings, OpsArgs};
use crate::config::{ConfigError, DatabaseUrl, RolePrefixSetting, ServiceDatabases, StandInDatabase};
use crate::tenant::RolePrefix;

/// What `serve` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// What this process does; both unless told otherwise. Processes of one role each can be added as load grows.
    #[arg(
        long = "role",
        env = "ROLLBOOK_ROLE",
        value_name = "ROLE,…",
        value_delimiter = ',',
        default_value = "intake,loader"
    )]
    roles: Vec<RoleArg>,
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
    publish: PublishArgs,
    #[command(flatten)]
    consume: ConsumeArgs,
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    loader: LoaderArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    drain: DrainArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    Intake,
    Loader,
}

/// Everything that the service runs by: checked.
#[derive(Debug)]
struct Settings {
    intake: Option<IntakeRole>,
    loader: Option<LoaderRole>,
    log: LogSettings,
    prefix: RolePrefix,
    allow_privileged_login: bool,
    ops: OpsArgs,
    drain: DrainSettings,
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

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let settings = self.resolve()?;
        crate::ops::tracing::start(settings.ops.log_format, &settings.ops.log_filter)
            .map_err(|error| Failure::new("log_not_started", format!("{error:#}")))?;
        service::run(settings).await
    }

    fn resolve(self) -> Result<Settings, ConfigError> {
        self.check_addresses()?;
        let intake = if self.roles.contains(&RoleArg::Intake) {
            Some(IntakeRole {
                database: self.databases.intake(&self.stand_in)?,
                http_addr: self.intake.http_addr,
                settings: self.intake.resolve()?,
                publish: self.publish,
            })
        } else {
            None
        };
        let loader = if self.roles.contains(&RoleArg::Loader) {
            Some(LoaderRole {
                database: self.databases.loader(&self.stand_in)?,
                settings: self.loader.resolve()?,
                consume: self.consume,
            })
        } else {
            None
        };
        Ok(Settings {
            intake,
            loader,
            log: self.log.resolve()?,
            prefix: self.prefix.role_prefix.unwrap_or_default(),
            allow_privileged_login: self.allow_privileged_login,
            drain: self.drain.resolve()?,
            ops: self.ops,
        })
    }

    /// One address cannot take batches and be the operator's. (Port 0 is another free one each time.)
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let (http, admin) = (self.intake.http_addr, self.ops.admin_addr);
        // Linux takes IPv4 for `[::]`, too.
        let takes_all =
            |ip: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || http.is_ipv4() == admin.is_ipv4());
        let is_shared = http.ip() == admin.ip() || takes_all(http.ip()) || takes_all(admin.ip());
        let has_intake = self.roles.contains(&RoleArg::Intake);
        if has_intake && is_shared && http.port() == admin.port() && http.port() != 0 {
            return Err(ConfigError::Contradiction(format!(
                "ROLLBOOK_HTTP_ADDR ({http}) and ROLLBOOK_ADMIN_ADDR ({admin}) must not be the same address"
            )));
        }
        Ok(())
    }
}
