//! What a run came to, for people and for machines.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::tally::{Reasons, Tally};

/// The shape of contract 4.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    sent: u64,
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    retry: u64,
    failed_requests: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Report {
    pub(super) fn new(tally: &Tally, took: Duration) -> Self {
        Self {
            sent: tally.sent,
            accepted: tally.accepted,
            duplicate: tally.duplicate,
            rejected: tally.rejected,
            retry: tally.retry,
            failed_requests: tally.failed_requests,
            seconds: millis(took) / 1_000.0,
            p50_ms: millis(tally.latency(0.5)),
            p99_ms: millis(tally.latency(0.99)),
        }
    }
}

/// The report with what only people get: more figures, and the reasons.
pub(super) fn text(tally: &Tally, took: Duration, seed: Option<u64>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("sent", tally.sent.to_string());
    row("accepted", tally.accepted.to_string());
    row("duplicate", tally.duplicate.to_string());
    row("rejected", tally.rejected.to_string());
    row("retry", tally.retry.to_string());
    row("sent again", tally.sent_again.to_string());
    row("requests", tally.answered_requests.to_string());
    row("failed requests", tally.failed_requests.to_string());
    row("seconds", format!("{:.3}", took.as_secs_f64()));
    row("accepted/s", per_second(tally.accepted, took).to_string());
    for (name, share) in [("p50 ms", 0.5), ("p90 ms", 0.9), ("p99 ms", 0.99), ("max ms", 1.0)] {
        row(name, format!("{:.1}", millis(tally.latency(share))));
    }
    if let Some(seed) = seed {
        row("seed", seed.to_string());
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}{}", table.trim_fmt(), lines("rejected", &tally.rejections))
}

/// Why requests failed, in one text; empty when none did.
pub(super) fn failures(tally: &Tally) -> String {
    format!("{} requests were given up{}", tally.failed_requests, lines("failed", &tally.failures))
}

/// One line a code, each after a line break.
fn lines(what: &str, reasons: &Reasons) -> String {
    reasons
        .iter()
        .map(|(code, count, first)| format!("\n{what}: {count} × {code}, the first: {first}"))
        .collect()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn per_second(count: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}
