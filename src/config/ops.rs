//! How the process is watched, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::ConfigError;

/// Where the operator's listener is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct AdminAddr {
    /// The operator's address: /metrics, /healthz, /readyz, and what `audit` and `status` ask about an embedded log. It asks
    /// nobody who they are: keep it private.
    #[arg(long, env = "ROLLBOOK_ADMIN_ADDR", value_name = "IP:PORT", default_value = "127.0.0.1:9090")]
    pub admin_addr: SocketAddr,
}

/// Flags and variables of the operator's listener and of the process's own log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct OpsArgs {
    /// The operator's address.
    #[command(flatten)]
    pub admin: AdminAddr,

    /// How the process writes its log to standard error.
    #[arg(long, env = "ROLLBOOK_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What the process writes to its log, as filter directives: `debug`, or `warn,rollbook::loader=debug`.
    #[arg(long, env = "RUST_LOG", value_name = "DIRECTIVES", default_value = "info",
          value_parser = filter_directives)]
    pub log_filter: String,
}

/// Flags and variables of the end.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Drain")]
pub struct DrainArgs {
    /// Seconds from SIGTERM until unfinished requests are dropped. Keep it below the time after which the machine
    /// kills the process.
    #[arg(long, env = "ROLLBOOK_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 25,
          value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub drain_seconds: u32,

    /// Milliseconds between turning unready and no longer accepting connections: as long as load balancers need to
    /// notice. Part of the drain's seconds.
    #[arg(long, env = "ROLLBOOK_DRAIN_PAUSE_MS", value_name = "MS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    pub drain_pause_ms: u32,
}

/// How the process writes its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

fn filter_directives(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How long a drain takes: checked.
#[derive(Clone, Copy, Debug)]
pub struct DrainSettings {
    /// From the signal until unfinished requests are dropped.
    pub limit: Duration,
    /// Between turning unready and no longer accepting; below the limit.
    pub pause: Duration,
}

impl DrainArgs {
    /// How long a drain takes.
    ///
    /// # Errors
    /// The pause leaves no time for the drain.
    pub fn resolve(&self) -> Result<DrainSettings, ConfigError> {
        let limit = Duration::from_secs(self.drain_seconds.into());
        let pause = Duration::from_millis(self.drain_pause_ms.into());
        if pause >= limit {
            return Err(ConfigError::Contradiction(format!(
                "ROLLBOOK_DRAIN_PAUSE_MS ({}) must be below ROLLBOOK_DRAIN_SECONDS ({})",
                self.drain_pause_ms, self.drain_seconds
            )));
        }
        Ok(DrainSettings { limit, pause })
    }
}
