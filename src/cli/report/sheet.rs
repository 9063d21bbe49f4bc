//! One content, for people: numbers, curve, items.

use std::fmt::Write as _;

use super::chart;
use crate::cli::output::{or_dash, printable};
use crate::report::{Item, Sheet};

/// Columns of a bar that is full.
const BAR: usize = 24;

/// All that the reports say, `width` columns wide.
pub(super) fn text(sheet: &Sheet, width: usize) -> String {
    let content = &sheet.content;
    let duration = content.duration_ms.map(|ms| chart::clock(ms / 1000));
    let mut text = format!(
        "{id} ({duration})\n  {viewers}, {sessions}, {plays}, {minutes} watched\n  \
         {completion} average completion, {completed} completed; last seen {last}\n\n",
        id = printable(&content.content_id),
        duration = or_dash(duration),
        viewers = counted(content.viewers, "viewer"),
        sessions = counted(content.sessions, "session"),
        plays = counted(content.plays, "play"),
        minutes = counted(content.watched_ms / 60_000, "minute"),
        completion = or_dash(content.average_completion.map(percent)),
        completed = content.completed_viewers,
        last = content.last_at,
    );
    text += &chart::curve(&sheet.retention, width);
    if let Some((second, lost)) = chart::greatest_drop(&sheet.retention) {
        let _ = writeln!(
            text,
            "\ngreatest drop        {} ({} within 5 s)",
            chart::clock(second.into()),
            counted(lost, "viewer")
        );
    }
    if let Some((second, again)) = chart::most_watched_again(&sheet.retention) {
        let _ = writeln!(
            text,
            "most watched again   {} ({})",
            chart::clock(second.into()),
            counted(again, "time")
        );
    }
    for item in &sheet.items {
        text += &describe(item);
    }
    text
}

fn describe(item: &Item) -> String {
    let mut text = format!(
        "\n{id}\n  {shown} shown, {answered} answered ({attempts}), {skipped} skipped\n",
        id = printable(&item.item_id),
        shown = item.shown_viewers,
        answered = item.answered_viewers,
        attempts = counted(item.attempts, "answer"),
        skipped = item.skipped_viewers,
    );
    let right = item.first_accuracy.map(|first| {
        format!("right at first {}, at last {}", percent(first), or_dash(item.last_accuracy.map(percent)))
    });
    let median = item.median_elapsed_ms.map(|ms| format!("median {:.1} s", ms / 1000.0));
    let told: Vec<String> = right.into_iter().chain(median).collect();
    if !told.is_empty() {
        let _ = writeln!(text, "  {}", told.join("; "));
    }
    let choices: Vec<String> = item.options.iter().map(|one| shortened(&printable(&one.choice))).collect();
    let widest = choices.iter().map(|choice| choice.chars().count()).max().unwrap_or_default();
    for (one, choice) in item.options.iter().zip(&choices) {
        let bar = bar(one.first_viewers, item.answered_viewers);
        let _ = writeln!(
            text,
            "  {choice:<widest$} {bar} {} first, {} last",
            one.first_viewers, one.last_viewers
        );
    }
    text
}

/// A number with what it counts.
fn counted(count: i64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// A share of a whole as a bar.
fn bar(part: i64, whole: i64) -> String {
    let (part, whole) = (u128::from(part.unsigned_abs()), u128::from(whole.unsigned_abs()).max(1));
    let full =
        usize::try_from((2 * part * BAR as u128 + whole) / (2 * whole)).map_or(BAR, |full| full.min(BAR));
    format!("{}{}", "█".repeat(full), "·".repeat(BAR - full))
}

fn shortened(text: &str) -> String {
    match text.chars().count() {
        0..=30 => text.to_owned(),
        _ => text.chars().take(29).chain(['…']).collect(),
    }
}

/// A share for people.
pub(super) fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}
