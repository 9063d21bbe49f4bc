//! A field's value as it arrived: what the rules see, whichever form the event had.

use std::borrow::Cow;

use super::fault::Fault;
use super::protobuf;
use super::text::Text;

/// One value, borrowed from the body and not looked into yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Stands for a field that was left out.
    Null,
    Bool(bool),
    Text(Text<'a>),
    /// The text of a JSON number.
    Number(&'a str),
    /// The text of a JSON object.
    Object(&'a str),
    /// The text of a JSON list.
    List(&'a str),
    /// A whole number of protobuf, or one of its truth values.
    Whole(i64),
    /// A `double` of protobuf.
    Double(f64),
    /// An encoded `rollbook.v1.Intervals`.
    Intervals(&'a [u8]),
    /// An encoded `rollbook.v1.Answer`.
    Answer(&'a [u8]),
    /// An encoded `rollbook.v1.Choices`.
    Choices(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The text of a string.
    #[inline]
    pub(super) fn text(self) -> Result<Cow<'a, str>, Fault> {
        match self {
            Self::Text(text) => text.read(),
            _ => Err(Fault::kind("a string")),
        }
    }

    /// The decimal text of a number.
    #[inline]
    pub(super) fn number(self) -> Result<Cow<'a, str>, Fault> {
        match self {
            Self::Number(token) => Ok(Cow::Borrowed(token)),
            Self::Double(number) => Ok(Cow::Owned(number.to_string())),
            _ => Err(Fault::kind("a number")),
        }
    }

    /// A truth value.
    pub(super) fn boolean(self) -> Result<bool, Fault> {
        match self {
            Self::Bool(is) => Ok(is),
            Self::Whole(bits) => Ok(bits != 0),
            _ => Err(Fault::kind("true or false")),
        }
    }

    /// The value as JSON text: a part of JSON as it was sent, anything else in its plainest form.
    pub(super) fn to_json(self) -> String {
        let mut json = String::new();
        self.push_json(&mut json);
        json
    }

    /// Appends [`Self::to_json`].
    pub(super) fn push_json(self, json: &mut String) {
        match self {
            Self::Number(part) | Self::Object(part) | Self::List(part) => json.push_str(part),
            Self::Text(Text::Escaped(inside)) => json.extend(["\"", inside, "\""]),
            Self::Text(Text::Plain(text)) => push_string(json, text),
            Self::Bool(true) => json.push_str("true"),
            Self::Bool(false) => json.push_str("false"),
            Self::Whole(number) => json.push_str(&number.to_string()),
            Self::Double(number) => json.push_str(&number.to_string()),
            Self::Choices(message) => push_list(json, protobuf::choices(message).filter_map(Result::ok)),
            // No rule lets these through to a place where they would be written.
            Self::Null | Self::Text(Text::Unfit) | Self::Intervals(_) | Self::Answer(_) => {
                json.push_str("null")
            }
        }
    }
}

fn push_list<'a>(json: &mut String, elements: impl Iterator<Item = Value<'a>>) {
    json.push('[');
    for (index, element) in elements.enumerate() {
        if index > 0 {
            json.push(',');
        }
        element.push_json(json);
    }
    json.push(']');
}

/// Nearly every text comes from JSON, where it stood without an escape, and goes back as it is.
fn push_string(json: &mut String, text: &str) {
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    json.reserve(text.len() + 2);
    json.push('"');
    if text.bytes().any(needs_escape) {
        for character in text.chars() {
            match character {
                '"' | '\\' => json.extend(['\\', character]),
                '\0'..'\u{20}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
                _ => json.push(character),
            }
        }
    } else {
        json.push_str(text);
    }
    json.push('"');
}
