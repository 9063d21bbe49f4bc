//! A field's value as it arrived: what the rules see, whichever form the event had.

use std::borrow::Cow;

use super::fault::Fault;
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
    /// A whole number of protobuf.
    Whole(i64),
    /// A `double` of protobuf.
    Double(f64),
    /// An encoded `rollbook.v1.Intervals`.
    Intervals(&'a [u8]),
    /// An encoded `rollbook.v1.Answer`.
    Answer(&'a [u8]),
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
            Self::Whole(number) => Ok(Cow::Owned(number.to_string())),
            Self::Double(number) => Ok(Cow::Owned(number.to_string())),
            _ => Err(Fault::kind("a number")),
        }
    }

    /// A truth value.
    pub(super) fn boolean(self) -> Result<bool, Fault> {
        match self {
            Self::Bool(is) => Ok(is),
            _ => Err(Fault::kind("true or false")),
        }
    }
}
