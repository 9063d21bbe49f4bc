//! Rows as RFC 4180 has them, with the views' own column names. NULL is nothing, and so is an empty text.

use std::fmt::Write as _;

use crate::cli::output;
use crate::report::{Content, Second};

pub(super) fn contents(contents: &[Content]) -> String {
    let mut csv = "content_id,duration_ms,viewers,sessions,plays,unique_ms,watched_ms,average_completion,\
                   completed_viewers,items,answers,first_at,last_at\n"
        .to_owned();
    for one in contents {
        let (id, duration) = (field(&one.content_id), or_nothing(one.duration_ms));
        let completion = or_nothing(one.average_completion);
        let Content { viewers, sessions, plays, unique_ms, watched_ms, .. } = one;
        let Content { completed_viewers, items, answers, first_at, last_at, .. } = one;
        let _ = writeln!(
            csv,
            "{id},{duration},{viewers},{sessions},{plays},{unique_ms},{watched_ms},{completion},{completed_viewers},\
             {items},{answers},{first_at},{last_at}"
        );
    }
    csv
}

pub(super) fn retention(content_id: &str, retention: &[Second]) -> String {
    let mut csv = "content_id,second,viewers,times\n".to_owned();
    let id = field(content_id);
    for Second { second, viewers, times } in retention {
        let _ = writeln!(csv, "{id},{second},{viewers},{times}");
    }
    csv
}

fn or_nothing<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// On a terminal what comes from events is made harmless; a file gets it as it is.
fn field(text: &str) -> String {
    let text = if output::is_terminal() { output::printable(text) } else { text.to_owned() };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_field_is_in_quotes() {
        assert_eq!(field("plain"), "plain");
        assert_eq!(field("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
    }
}
