//! SIGTERM and SIGINT: the first asks for a drain, the second for the end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::stderr;

/// As a shell reports a process that a second signal ended: 128 and SIGTERM.
const EXIT_AT_ONCE: i32 = 143;

/// Listens from now on; the first signal cancels `stop`, the second one exits at once.
///
/// # Errors
/// The operating system does not let us listen.
pub fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Outside every awaited set on purpose: it has to outlive the drain that it can cut short.
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "draining; a second signal exits at once");
        stop.cancel();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "second signal: what was unfinished is dropped");
        stderr::flush();
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
