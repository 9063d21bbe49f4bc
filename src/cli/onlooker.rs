//! What every command takes that looks at the log without serving it.

use super::Failure;
use crate::config::log::{GroupArg, LogArgs, LogKind, LogSettings};
use crate::config::ops::AdminAddr;
use crate::config::{ConfigError, Idle};
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

    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Vec<Idle> {
        let is_embedded = matches!(self.log.kind(), Ok(LogKind::Embedded));
        let why = "is where a process is asked about its embedded log, and the log is not that one (--log embedded)";
        let address = Idle::if_so(!is_embedded, &["admin_addr"], why);
        [self.log.idle(), self.log.idle_without_log(), address].into_iter().flatten().collect()
    }

    /// The log, to be looked at: a topic, or what the process tells of its own that has it open, or the folder of one that none has.
    pub(super) fn readable(&self, settings: &LogSettings) -> Result<Readable, Failure> {
        Readable::of(settings, &self.group.kafka_group, self.admin.admin_addr)
            .map_err(|error| Failure::new("log_unavailable", chain(&error)))
    }
}
