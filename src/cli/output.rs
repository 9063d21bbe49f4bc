//! The one place that prints: answers on standard output, complaints on standard error.
//!
//! A reader that went away (`rollbook org list | head -1`) is no failure of ours. A disk that is full is: the answer may
//! be a key that is shown once. A terminal is sent nothing that it would obey: much of what is said comes from events.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;

use super::Failure;
use crate::config::Output;
use crate::ops::stderr;

/// Whoever read the answers has gone.
static IS_UNREAD: AtomicBool = AtomicBool::new(false);
/// Why the first answer that could not be written was not.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Prints text for people.
pub(super) fn say(text: &str) {
    let text = if is_terminal() { harmless(text) } else { text.to_owned() };
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if has_gone(&error) => IS_UNREAD.store(true, Ordering::Relaxed),
        Err(error) => drop(UNWRITTEN.set(error.to_string())),
    }
}

/// Whether somebody may still read what is said: who goes on saying things has to ask.
pub(super) fn has_reader() -> bool {
    !IS_UNREAD.load(Ordering::Relaxed)
}

/// Of a pipe, or of a terminal that was closed; that one is no terminal any more.
fn has_gone(error: &std::io::Error) -> bool {
    let is_device =
        || fstat(std::io::stdout()).is_ok_and(|file| FileType::from_raw_mode(file.st_mode).is_char_device());
    error.kind() == ErrorKind::BrokenPipe
        || (error.raw_os_error() == Some(Errno::IO.raw_os_error()) && is_device())
}

/// Fails if an answer could not be written, for the end of a command that otherwise did what it was asked.
pub(super) fn written() -> Result<(), Failure> {
    UNWRITTEN.get().map_or(Ok(()), |why| {
        Err(Failure::new(
            "answer_not_written",
            format!("it is done, but the answer could not be written: {why}"),
        ))
    })
}

/// Prints a failure for people.
pub(super) fn complain(message: &str) {
    let message = if std::io::stderr().is_terminal() { harmless(message) } else { message.to_owned() };
    stderr::write(&format!("error: {message}\n"));
}

/// Prints help that nobody asked for.
pub(super) fn explain(help: &str) {
    stderr::write(&format!("{}\n", help.trim_end()));
}

/// Prints one value for machines where standard output is taken: on standard error, where a failure would stand.
pub(super) fn beside_the_answer<T: Serialize>(value: &T) {
    stderr::write(&format!("{}\n", json(value)));
}

/// Prints a failure for machines.
pub(super) fn complain_in_json(code: &str, message: &str) {
    let failure = serde_json::json!({ "error": { "code": code, "message": message } });
    stderr::write(&format!("{failure}\n"));
}

/// Prints one value: as JSON, or as `text` says it to people.
pub(super) fn one<T: Serialize>(output: Output, value: &T, text: impl FnOnce(&T) -> String) {
    if output.json { say(&json(value)) } else { say(&text(value)) }
}

/// Columns of what the row is about: a UUID and a few more.
const WIDEST_SUBJECT: u16 = 40;

/// Prints a list: as `{"items":[…]}`, or as a table with one row an item.
pub(super) fn list<T: Serialize>(
    output: Output,
    items: &[T],
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) {
    #[derive(Serialize)]
    struct List<'a, T> {
        items: &'a [T],
    }
    if output.json {
        return say(&json(&List { items }));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    let mut longest = 0;
    for item in items {
        let row = row(item);
        longest = longest.max(row.first().map_or(0, |first| first.chars().count()));
        table.add_row(row);
    }
    // On a narrow terminal other columns wrap first: this one says what the row is about. Not all of it leaves them any room.
    if let Some(first) = table.column_mut(0) {
        first.set_constraint(match longest {
            longest if longest <= usize::from(WIDEST_SUBJECT) => ColumnConstraint::ContentWidth,
            _ => ColumnConstraint::UpperBoundary(Width::Fixed(WIDEST_SUBJECT)),
        });
    }
    say(&table.trim_fmt());
}

/// Text that comes from events, as one line of a terminal: what would move its cursor, colour it or turn its direction is
/// shown as what it is.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if is_harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Text of several lines, each of them [`printable`].
pub(super) fn harmless(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a person's terminal shows the answer.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns that the answer may take.
pub(super) fn width() -> usize {
    Table::new().width().map_or(80, usize::from)
}

/// A value that may be missing, for a table.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// With what a terminal would obey written as JSON can write it: JSON itself demands that only of the first 32.
fn json<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("answers are plain structs of strings and numbers");
    if !json.contains(is_harmful) {
        return json;
    }
    let written = |c: char| if is_harmful(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(written).collect()
}

/// A bar for work that takes long, drawn on standard error where that is a terminal. `None`: nobody knows how much there is.
pub(super) fn progress_bar(of: Option<u64>, template: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template without unknown keys");
    ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr()).with_style(style)
}

/// Asks something on standard error, so that standard output stays the answer alone.
pub(super) fn ask(question: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
}

/// A moment as machines and people read it: UTC, milliseconds.
pub(super) fn time(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_sent_nothing_that_it_would_obey() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a\\u{a}b\\u{1b}[31m");
        assert_eq!(harmless("a\nb\u{9b}\u{202e}é"), "a\nb\\u{9b}\\u{202e}é");
    }

    #[test]
    fn json_says_the_same_whatever_a_terminal_would_obey() {
        let text = "\u{1b}\u{7f}\u{9b}\u{202e}é😀\\";
        let written = json(&text);
        assert!(!written.contains(is_harmful), "{written}");
        assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
    }
}
