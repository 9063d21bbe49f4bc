//! Walks over JSON text that is known to be well-formed, without building anything.
//!
//! `scan` has proved it before, when the body was cut; here a value is only found and told from the
//! next. Nothing recurses, so no depth of nesting can hurt; what is inside an object or a list is looked into when it
//! is asked for. On text that is not JSON the walk ends early, and never panics.

use super::text::Text;
use super::value::Value;

mod scan;

pub(super) use scan::{NotJson, Scanner};

/// The members of an object, in the order sent; repeated keys come repeatedly.
pub(super) fn members(object: &str) -> Members<'_> {
    Members(Walker { text: object, at: 0 })
}

/// The elements of a list.
pub(super) fn elements(list: &str) -> Elements<'_> {
    Elements(Walker { text: list, at: 0 })
}

/// How deep objects and lists are nested: 0 for a number, 1 for `{}`.
pub(super) fn depth(text: &str) -> usize {
    let mut walker = Walker { text, at: 0 };
    let (mut depth, mut deepest) = (0_usize, 0);
    while let Some(byte) = walker.next_byte() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let _skipped = walker.rest_of_string();
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// See [`members`].
pub(super) struct Members<'a>(Walker<'a>);

/// See [`elements`].
pub(super) struct Elements<'a>(Walker<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // What stands before a member is the opening brace or a comma.
        if !matches!(self.0.next_token()?, b'{' | b',') || self.0.next_token()? != b'"' {
            return None;
        }
        let key = self.0.rest_of_string()?;
        if self.0.next_token()? != b':' {
            return None;
        }
        Some((key, self.0.value()?))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        matches!(self.0.next_token()?, b'[' | b',').then(|| self.0.value())?
    }
}

struct Walker<'a> {
    text: &'a str,
    /// The next byte to look at; always at a character's boundary when text is sliced, for it follows ASCII.
    at: usize,
}

impl<'a> Walker<'a> {
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte that is no white space.
    #[inline]
    fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.next_byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => {}
                byte => return Some(byte),
            }
        }
    }

    /// The next value; `None` at the end of an enclosing list.
    #[inline]
    fn value(&mut self) -> Option<Value<'a>> {
        let first = self.next_token()?;
        let start = self.at - 1;
        match first {
            b'"' => self.rest_of_string().map(Value::Text),
            b'{' => self.rest_of_compound(start).map(Value::Object),
            b'[' => self.rest_of_compound(start).map(Value::List),
            b'-' | b'0'..=b'9' => self.rest_of_word(start).map(Value::Number),
            b't' => self.rest_of_word(start).map(|_| Value::Bool(true)),
            b'f' => self.rest_of_word(start).map(|_| Value::Bool(false)),
            b'n' => self.rest_of_word(start).map(|_| Value::Null),
            _ => None,
        }
    }

    /// What is between the quote that was just read and the closing one, which is read too.
    #[inline]
    fn rest_of_string(&mut self) -> Option<Text<'a>> {
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += quote_or_escape(self.text.as_bytes().get(self.at..)?)?;
            if self.next_byte()? == b'"' {
                break;
            }
            escaped = true;
            self.at += 1;
        }
        let inside = self.text.get(start..self.at - 1)?;
        Some(if escaped { Text::Escaped(inside) } else { Text::Plain(inside) })
    }

    /// A number, `true`, `false` or `null`: everything up to white space or punctuation.
    #[inline]
    fn rest_of_word(&mut self, start: usize) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while let Some(b'0'..=b'9' | b'.' | b'-' | b'+' | b'a'..=b'z' | b'E') = bytes.get(self.at) {
            self.at += 1;
        }
        self.text.get(start..self.at)
    }

    /// An object or a list whose opening bracket, at `start`, was just read. In well-formed text it is enough to count
    /// brackets, whatever their kind.
    fn rest_of_compound(&mut self, start: usize) -> Option<&'a str> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next_byte()? {
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                b'"' => {
                    let _skipped = self.rest_of_string()?;
                }
                _ => {}
            }
        }
        self.text.get(start..self.at)
    }
}

/// Where the next `"` or `\` is. Most strings are short and there are many of them, so this looks at eight bytes at once
/// right here instead of calling a search that is made for long ones.
#[inline]
fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ (EACH_BYTE * u64::from(b'"')))
            | zero_bytes(word ^ (EACH_BYTE * u64::from(b'\\')));
        if hits != 0 {
            return Some(index * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(words.len() * 8 + at)
}

const EACH_BYTE: u64 = u64::MAX / 0xff;

/// The highest bit of each byte that is zero; above the first of them it may be set for others too.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH_BYTE) & !word & (EACH_BYTE << 7)
}

#[cfg(test)]
mod tests;
