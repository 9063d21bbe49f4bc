//! The `details` column: what has no column of its own.

use std::borrow::Cow;

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
        value.push_json(&mut self.members);
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
        self.members.push_str(if self.members.is_empty() { "{\"" } else { ",\"" });
        self.members.push_str(name);
        self.members.push_str("\":");
    }
}
