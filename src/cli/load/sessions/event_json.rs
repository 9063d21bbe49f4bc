//! An event as JSON text, written straight to bytes: no tree in between, for a generator must not be what is measured.

use std::fmt::{Display, Write as _};

use rand::{Rng, RngExt};
use uuid::Uuid;

use super::Random;
use super::catalogue::{Answer, Attempt, Item, Judged};
use super::step::{Intervals, Rate, Watch, What};
use super::timeline::{Moment, Mount, TimeForm};
use crate::event::UnixMillis;

/// Appends `moment` as an object of contract 1.2, with an id of its time.
pub(super) fn write(json: &mut String, moment: &Moment, random: &mut Random) {
    let mount = &moment.mount;
    json.push('{');
    first(json, "id", id(moment.at_ms, random));
    text(json, "type", type_name(&moment.step.what));
    occurred_at(json, mount.time_form, UnixMillis(moment.at_ms));
    text(json, "session_id", mount.session_id);
    text(json, "viewer_id", format_args!("viewer-{:04}", mount.viewer));
    text(json, "content_id", mount.video);
    bare(json, "seq", moment.seq);
    bare(json, "position_ms", moment.step.position_ms);
    if moment.step.rate != Rate::NORMAL {
        bare(json, "rate", moment.step.rate);
    }
    own_fields(json, &moment.step.what);
    ext(json, mount, &moment.step.what, random);
    json.push('}');
}

fn id(at_ms: i64, random: &mut Random) -> Uuid {
    let mut bytes = [0; 10];
    random.fill_bytes(&mut bytes);
    let since_1970_ms = u64::try_from(at_ms).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(since_1970_ms, &bytes).into_uuid()
}

fn occurred_at(json: &mut String, form: TimeForm, at: UnixMillis) {
    match form {
        TimeForm::Millis => bare(json, "occurred_at", at.0),
        TimeForm::Rfc3339 => text(json, "occurred_at", at),
    }
}

fn type_name(what: &What) -> &'static str {
    match what {
        What::Ready { .. } => "video.ready",
        What::Played => "video.played",
        What::Paused(_) => "video.paused",
        What::Ended(_) => "video.ended",
        What::Heartbeat(_) => "video.heartbeat",
        What::SessionEnded(_) => "session.ended",
        What::Seeked { .. } => "video.seeked",
        What::RateChanged { .. } => "video.rate_changed",
        What::QualityChanged { .. } => "video.quality_changed",
        What::FullscreenChanged { .. } => "video.fullscreen_changed",
        What::Buffered { .. } => "video.buffered",
        What::Error { .. } => "video.error",
        What::ItemShown(_) => "item.shown",
        What::OptionSelected(..) => "item.option_selected",
        What::Answered { .. } => "item.answered",
        What::Revised { .. } => "item.revised",
        What::Skipped { .. } => "item.skipped",
        What::Closed { .. } => "item.closed",
    }
}

fn own_fields(json: &mut String, what: &What) {
    match what {
        What::Ready { duration_ms } => {
            bare(json, "duration_ms", duration_ms);
            text(json, "player", "rollbook-load");
        }
        What::Played => {}
        What::Paused(watch) | What::Ended(watch) | What::Heartbeat(watch) | What::SessionEnded(watch) => {
            self::watch(json, watch);
        }
        What::Seeked { from_ms, to_ms, watched } => {
            bare(json, "from_ms", from_ms);
            bare(json, "to_ms", to_ms);
            if let Some(watched) = watched {
                self::watched(json, watched);
            }
        }
        What::RateChanged { from, to } => {
            bare(json, "from", from);
            bare(json, "to", to);
        }
        What::QualityChanged { from, to } => {
            text(json, "from", from);
            text(json, "to", to);
        }
        What::FullscreenChanged { on } => bare(json, "on", on),
        What::Buffered { stall_ms } => bare(json, "stall_ms", stall_ms),
        What::Error { code, message } => {
            text(json, "code", code);
            text(json, "message", message);
        }
        What::ItemShown(item) => {
            text(json, "item_id", item);
            text(json, "item_kind", item.kind());
        }
        What::OptionSelected(item, attempt) => {
            text(json, "item_id", item);
            answer(json, attempt.answer);
        }
        What::Answered { item, attempt, number, elapsed_ms } => {
            answered(json, *item, *attempt, *number);
            bare(json, "elapsed_ms", elapsed_ms);
        }
        What::Revised { item, elapsed_ms }
        | What::Skipped { item, elapsed_ms }
        | What::Closed { item, elapsed_ms } => {
            text(json, "item_id", item);
            bare(json, "elapsed_ms", elapsed_ms);
        }
    }
}

fn watch(json: &mut String, watch: &Watch) {
    watched(json, &watch.watched);
    bare(json, "played_ms", watch.played_ms);
}

fn watched(json: &mut String, intervals: &Intervals) {
    json.push_str(r#","watched":["#);
    list(json, intervals, |json, (start_ms, end_ms)| put(json, format_args!("[{start_ms},{end_ms}]")));
    json.push(']');
}

fn answered(json: &mut String, item: Item, attempt: Attempt, number: u16) {
    text(json, "item_id", item);
    answer(json, attempt.answer);
    bare(json, "attempt", number);
    if let Some(judged) = attempt.judged {
        bare(json, "correct", judged == Judged::Right);
        let score = match judged {
            Judged::Right => "1",
            Judged::HalfRight => "0.5",
            Judged::Wrong => "0",
        };
        bare(json, "score", score);
    }
}

fn answer(json: &mut String, answer: Answer) {
    json.push_str(r#","answer":{"#);
    match answer {
        Answer::Choice(option) => first(json, "choice", option),
        Answer::Choices(ticked) => {
            let options = (0..8).filter(|bit| ticked >> bit & 1 == 1).map(|bit| bit + 1);
            json.push_str(r#""choices":["#);
            list(json, options, |json, option: u8| put(json, format_args!("\"{option}\"")));
            json.push(']');
        }
        Answer::Text(quoted) => put(json, format_args!(r#""text":{quoted}"#)),
        // The contract takes a decimal string, which keeps its last zeros, and a JSON number.
        Answer::Number(hundredths) if hundredths.is_multiple_of(2) => {
            first(json, "number", format_args!("{}.{:02}", hundredths / 100, hundredths % 100));
        }
        Answer::Number(hundredths) => {
            put(json, format_args!(r#""number":{}.{:02}"#, hundredths / 100, hundredths % 100));
        }
        Answer::Bool(is) => put(json, format_args!(r#""bool":{is}"#)),
    }
    json.push('}');
}

/// Some organizations add fields of their own.
fn ext(json: &mut String, mount: &Mount, what: &What, random: &mut Random) {
    match what {
        What::Ready { .. } => put(
            json,
            format_args!(
                r#","ext":{{"course":"course-{}","lesson":{},"cohort":{{"year":2026,"term":"autumn"}}}}"#,
                mount.video.course(),
                mount.video.lesson(),
            ),
        ),
        What::Answered { .. } if random.random_ratio(1, 4) => {
            put(json, format_args!(r#","ext":{{"hints":[{},"see 2.1"],"points":2.50}}"#, mount.viewer % 3));
        }
        _ => {}
    }
}

/// The first member, which no comma precedes: a string without anything to escape.
fn first(json: &mut String, name: &str, value: impl Display) {
    put(json, format_args!(r#""{name}":"{value}""#));
}

/// A further member that is a string without anything to escape.
fn text(json: &mut String, name: &str, value: impl Display) {
    put(json, format_args!(r#","{name}":"{value}""#));
}

/// A further member that is a number or a truth value.
fn bare(json: &mut String, name: &str, value: impl Display) {
    put(json, format_args!(r#","{name}":{value}"#));
}

fn list<T>(json: &mut String, values: impl IntoIterator<Item = T>, write_one: impl Fn(&mut String, T)) {
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        write_one(json, value);
    }
}

fn put(json: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = json.write_fmt(arguments);
}
