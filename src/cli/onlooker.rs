//! What every command takes that looks at the log without serving it.

use super::Failure;
use crate::config::ConfigError;
use crate::config::log::{GroupArg, LogArgs, LogSettings};
use crate::config::ops::AdminAddr;
use crate::log::Readable;
use crate::ops::chain;

/// Which log, and how to get at it.
#[derive(clap::Args, Debug)]
pub(super) struct OnlookerArguments {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    group: GroupArg,
    #[command(flatten)]
    admin: AdminAddr,
}

impl OnlookerArguments {
    /// Which log.
    ///
    /// # Errors
    /// Its settings cannot be used, or there are none.
    pub(super) fn settings(&self) -> Result<LogSettings, ConfigError> {
        self.log.look()
    }

    /// The log, to be looked at: a topic, or what the process tells of its own that has it open.
    pub(super) fn readable(&self, settings: &LogSettings) -> Result<Readable, Failure> {
        Readable::of(settings, &self.group.kafka_group, self.admin.admin_addr)
            .map_err(|error| Failure::new("log_unavailable", chain(&error)))
    }
}
