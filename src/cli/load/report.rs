//! What a run came to, for people and for machines.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::tally::Tally;

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
            seconds: (took.as_secs_f64() * 1_000.0).round() / 1_000.0,
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
    let rejections = tally.rejections.iter();
    let reasons =
        rejections.map(|(code, count, first)| format!("\nrejected: {count} × {code}, the first: {first}"));
    format!("{}{}", table.trim_fmt(), reasons.collect::<String>())
}

/// How many requests failed and why, in one line.
pub(super) fn failures(tally: &Tally) -> String {
    let kinds: Vec<_> =
        tally.failures.iter().map(|(code, count, first)| format!("{count} × {code} ({first})")).collect();
    let rest = if tally.is_hopeless() { "; nothing was ever answered, so the rest was not sent" } else { "" };
    format!("{} requests were given up: {}{rest}", tally.failed_requests, kinds.join(", "))
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn per_second(count: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

#[cfg(test)]
mod tests {
    use super::super::client::Trouble;
    use super::super::delivery::{Counts, Delivery, End};
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        let rejections = vec![("too_old".to_owned(), "occurred_at is …".to_owned())];
        let counts = Counts { sent: 3, accepted: 2, rejected: 1, rejections, ..Counts::default() };
        tally.add(Delivery { counts, end: End::Answered { latency: Duration::from_millis(2) } });
        let trouble = Trouble { code: "503 overloaded".to_owned(), message: "later".to_owned() };
        tally.add(Delivery { counts: Counts { sent: 5, ..Counts::default() }, end: End::GivenUp(trouble) });
        tally
    }

    #[test]
    fn machines_get_the_fields_of_the_contract_and_no_others() {
        let report = Report::new(&tally(), Duration::from_micros(1_234_567));
        assert_eq!(
            serde_json::to_string(&report).expect("a plain struct"),
            r#"{"sent":8,"accepted":2,"duplicate":0,"rejected":1,"retry":0,"failed_requests":1,"seconds":1.235,"p50_ms":2.0,"p99_ms":2.0}"#
        );
    }

    #[test]
    fn people_get_the_reasons_too() {
        let text = text(&tally(), Duration::from_secs(1), Some(7));
        assert!(text.ends_with("\nrejected: 1 × too_old, the first: occurred_at is …"), "{text}");
        assert_eq!(failures(&tally()), "1 requests were given up: 1 × 503 overloaded (later)");
    }
}
