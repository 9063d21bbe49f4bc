//! The process's own log, on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::stderr;
use crate::config::ops::LogFormat;

/// Starts the log with filter directives such as `info` or `warn,rollbook::loader=debug`. From then on nobody who writes
/// to it waits for its reader, and panics are lines of it.
///
/// # Errors
/// The directives are none, or the log was started before.
pub fn start(format: LogFormat, directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives).context("RUST_LOG does not hold filter directives")?;
    let colours = io::stderr().is_terminal();
    stderr::start().context("starting the thread that writes the log")?;
    let subscriber = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(stderr::Lines)
        .with_ansi(colours);
    let started = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log could not be started: {error}"))?;
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

/// The library's own hook would wait for a reader that does not read.
fn panicked(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        panic = panic.payload_as_str().unwrap_or("?"),
        at,
        thread = thread.name(),
        backtrace = is_captured.then_some(tracing::field::display(backtrace)),
        "a part of the process panicked"
    );
}
