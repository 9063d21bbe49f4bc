//! The `details` column: what has no column of its own.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::Text;
use super::value::Value;

/// Assembles a JSON object of fields under their own names, and `ext`. Takes no memory while there is nothing in it.
#[derive(Default)]
pub(super) struct Details<'a> {
    members: String,
    ext: Option<&'a str>,
}

impl<'a> Details<'a> {
    /// Adds a checked field as it was sent: numbers keep the digits they were written with.
    pub(super) fn add(&mut self, name: &'static str, value: Value<'a>) {
        self.open(name);
        let text = &mut self.members;
        match value {
            Value::Text(Text::Escaped(inside)) => {
                text.push('"');
                text.push_str(inside);
                text.push('"');
            }
            Value::Text(Text::Plain(plain)) => push_json_string(text, plain),
            Value::Number(json) | Value::Object(json) | Value::List(json) => text.push_str(json),
            Value::Bool(is) => text.push_str(if is { "true" } else { "false" }),
            Value::Whole(number) => {
                let _infallible = write!(text, "{number}");
            }
            Value::Double(number) => {
                let _infallible = write!(text, "{number}");
            }
            Value::Null | Value::Text(Text::NotUtf8) | Value::Intervals(_) | Value::Answer(_) => {
                text.push_str("null");
            }
        }
    }

    /// `ext` comes last, whenever it is judged.
    pub(super) fn set_ext(&mut self, ext: Option<&'a str>) {
        self.ext = ext;
    }

    /// The object; `None` when nothing is in it.
    pub(super) fn finish(mut self) -> Option<Cow<'a, str>> {
        if let Some(ext) = self.ext {
            self.members.reserve_exact(ext.len() + r#"{"ext":}"#.len());
            self.open("ext");
            self.members.push_str(ext);
        }
        if self.members.is_empty() {
            return None;
        }
        self.members.push('}');
        Some(Cow::Owned(self.members))
    }

    fn open(&mut self, name: &'static str) {
        let text = &mut self.members;
        text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
        text.push_str(name);
        text.push_str("\":");
    }
}

/// Appends `text` as a JSON string.
pub(super) fn push_json_string(json: &mut String, text: &str) {
    json.reserve(text.len() + 2);
    json.push('"');
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().any(needs_escape) {
        json.push_str(text);
        json.push('"');
        return;
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..'\u{20}' => {
                let _infallible = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}
