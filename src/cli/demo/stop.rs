//! What asks the demo to end: a first signal in order, a second one at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::failure::Failure;

/// Signals within so long are one: `timeout` sends to the process, and to its group.
const ONE: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stop {
    asked: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// Listens from now on, to Ctrl-C, to SIGTERM, and to the terminal that is closed.
    pub(super) fn on_signal() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new("demo_not_started", format!("listening for signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
        let stop = Self::default();
        let (asked, at_once) = (stop.asked.clone(), stop.at_once.clone());
        // Outside every awaited set on purpose: it has to outlive the end that it can cut short.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
                () = asked.cancelled() => {}
            }
            asked.cancel();
            tokio::time::sleep(ONE).await;
            // These hear only what comes from now on. A terminal is closed once, and its shell says so again.
            let listening = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
            let (Ok(mut terminate), Ok(mut interrupt)) = listening else { return };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            at_once.cancel();
        });
        Ok(stop)
    }

    /// It ends, for whatever reason: from now on a signal is the second.
    pub(super) fn ask(&self) {
        self.asked.cancel();
    }

    /// Whether it is to end, and until it is.
    pub(super) fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// Until it is to end at once.
    pub(super) async fn at_once(&self) {
        self.at_once.cancelled().await;
    }
}
