//! The reporter: how often.

use std::time::Duration;

use clap::Args;

/// An organization's turns are no farther apart: `report_state` moves at least so often, by which `rollbook status` tells reports
/// that are kept from those that nobody keeps.
const LONGEST_PERIOD: Duration = Duration::from_secs(60);

/// Flags and variables of the reporter.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reporter")]
pub struct ReportArgs {
    /// Seconds between two turns of an organization at which its reports take in what is new: how old they may be. Each
    /// costs the database a look where nothing is. More than 60 is taken as 60.
    #[arg(long, env = "ROLLBOOK_REPORT_PERIOD_SECONDS", value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub report_period_seconds: u32,
}

impl ReportArgs {
    /// How often each organization has its turn.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.report_period_seconds.into()).min(LONGEST_PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_a_minute_apart_at_most() {
        let period = |report_period_seconds| ReportArgs { report_period_seconds }.period().as_secs();
        assert_eq!((period(1), period(60), period(61), period(3_600)), (1, 60, 60, 60));
    }
}
