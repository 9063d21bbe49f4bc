//! One line: an event and whose it is.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Changes, Ids};
use crate::event::UnixMillis;
use crate::tenant::Slug;

/// The members of a line's object in their order; one that is repeated stays so, for intake to refuse.
pub(super) struct Line<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("is not a JSON object: {error}"))
    }

    /// Which of `organizations` it names.
    pub(super) fn organization_among(&self, organizations: &[Slug]) -> Result<usize, String> {
        let name: Cow<'_, str> = self
            .member("organization")
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .ok_or("has no `organization` that says whose event it is")?;
        organizations
            .iter()
            .position(|known| known.as_str() == name)
            .ok_or_else(|| format!("organization {name:?} has no --key"))
    }

    /// When it happened, if that can be read.
    pub(super) fn occurred_at(&self) -> Option<UnixMillis> {
        self.member("occurred_at").and_then(time).map(|(at, _)| at)
    }

    /// Appends the event: every member but `organization`, with the changes asked for.
    pub(super) fn write(&self, json: &mut String, changes: Changes) {
        let mut separator = '{';
        let mut put = |name: &str, value: &str| {
            let _infallible = write!(json, "{separator}{}:{value}", quoted(name));
            separator = ',';
        };
        if changes.ids == Ids::Fresh {
            put("id", &format!("\"{}\"", Uuid::now_v7()));
        }
        for (name, value) in &self.members {
            match name.as_ref() {
                "organization" => {}
                "id" if changes.ids == Ids::Fresh => {}
                "occurred_at" if changes.shift_ms != 0 => put(name, &shifted(value, changes.shift_ms)),
                _ => put(name, value.get()),
            }
        }
        if separator == '{' {
            json.push('{');
        }
        json.push('}');
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// How a time is written.
enum Form {
    Text,
    Millis,
}

fn time(raw: &RawValue) -> Option<(UnixMillis, Form)> {
    let (text, form) = match serde_json::from_str::<Cow<'_, str>>(raw.get()) {
        Ok(text) => (text, Form::Text),
        Err(_) => (Cow::Borrowed(raw.get()), Form::Millis),
    };
    UnixMillis::parse(&text).map(|at| (at, form))
}

/// The time moved, in the form it had; what is no time stays as it is.
fn shifted(raw: &RawValue, shift_ms: i64) -> Cow<'_, str> {
    let moved = time(raw).map(|(at, form)| (UnixMillis(at.0.saturating_add(shift_ms)), form));
    match moved {
        Some((at, Form::Text)) => Cow::Owned(format!("\"{at}\"")),
        Some((at, Form::Millis)) => Cow::Owned(at.0.to_string()),
        None => Cow::Borrowed(raw.get()),
    }
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).expect("any text can be written as a JSON string")
}

impl<'de: 'a, 'a> Deserialize<'de> for Line<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Line<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Line { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}
