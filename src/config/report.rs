//! The reporter: how often.

use std::time::Duration;

use clap::Args;

/// Flags and variables of the reporter.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reporter")]
pub struct ReportArgs {
    /// Seconds between two turns of an organization at which its reports take in what is new: how old they may be. Each
    /// costs the database a look where nothing is.
    #[arg(long, env = "ROLLBOOK_REPORT_PERIOD_SECONDS", value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub report_period_seconds: u32,
}

impl ReportArgs {
    /// How often each organization has its turn.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.report_period_seconds.into())
    }
}
