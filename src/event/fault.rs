//! What is wrong with one value, before it is known which field of which event holds it.

use std::fmt::Write as _;

use uuid::Uuid;

use super::{Refusal, RefusalCode};

/// Replies quote what a client sent, up to this many characters.
const QUOTED_CHARS: usize = 80;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    code: RefusalCode,
    /// Dotted path below the field; `None` for the field itself. A key can be empty, and so can a path.
    below: Option<String>,
    /// What follows the field's name in a sentence: `is 7, the limit is 5`.
    what: String,
}

impl Fault {
    pub(super) fn new(code: RefusalCode, what: impl Into<String>) -> Self {
        Self { code, below: None, what: what.into() }
    }

    /// The value is of another kind than the field's.
    pub(super) fn kind(wanted: &str) -> Self {
        Self::new(RefusalCode::BadType, format!("must be {wanted}"))
    }

    /// The same rule broken, filed under another code.
    pub(super) fn filed_under(self, code: RefusalCode) -> Self {
        Self { code, ..self }
    }

    /// The fault is inside the member or element `step` of the value.
    pub(super) fn at(mut self, step: &str) -> Self {
        let step = quoted(step);
        self.below = Some(match self.below {
            None => step,
            Some(below) => format!("{step}.{below}"),
        });
        self
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// The refusal of the event whose field this is.
    pub(super) fn of_field(self, name: &str, id: Option<Uuid>) -> Refusal {
        let mut field = quoted(name);
        if let Some(below) = &self.below {
            let _infallible = write!(field, ".{below}");
        }
        let message = format!("{field} {}", self.what);
        Refusal { id, code: self.code, field: Some(field), message }
    }

    /// The refusal of an event as a whole.
    pub(super) fn of_event(self, id: Option<Uuid>) -> Refusal {
        Refusal { id, code: self.code, field: None, message: format!("the event {}", self.what) }
    }
}

/// `text` as far as a reply quotes it.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
