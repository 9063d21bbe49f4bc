//! A progress bar on standard error, when that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::Tally;

const TICK: Duration = Duration::from_millis(200);

/// What a person watches while it runs.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `total` is how many events there will be, if that is known.
    pub(super) fn begin(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{bar:20} {human_pos}/{human_len}  {elapsed}  {wide_msg}")
            }
            None => (ProgressBar::no_length(), "{spinner} {human_pos}  {elapsed}  {wide_msg}"),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is one of the two above"));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    pub(super) fn show(&self, tally: &Tally) {
        self.0.set_position(tally.sent);
        // The text is only made when someone looks.
        if !self.0.is_hidden() {
            self.0.set_message(summary(tally, self.0.elapsed()));
        }
    }

    /// Clears the line, so that the result stands alone.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn summary(tally: &Tally, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    format!(
        "{} events/s  accepted {}  duplicate {}  rejected {}  retry {}  failed requests {}",
        tally.sent.saturating_mul(1_000) / millis,
        tally.accepted,
        tally.duplicate,
        tally.rejected,
        tally.retry,
        tally.failed_requests,
    )
}
