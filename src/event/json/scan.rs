//! The one pass over JSON that came from outside: it proves the text to be JSON, by RFC 8259 and to the byte as strictly as
//! `serde_json`, and gives each value as it goes by.
//!
//! Nothing recurses and nothing is built, so no depth of nesting can hurt. What is found is cut where it stands; what is inside
//! an object or a list is looked into by the walk, when it is asked for.

use super::super::names::{Slot, Word};
use super::super::text::Text;
use super::super::value::Value;
use super::{EACH_BYTE, zero_bytes};

/// The text is no JSON. Where and why is for `serde_json` to say, once it matters to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct NotJson;

/// What a value is, and with what its text begins and ends.
///
/// The reading functions return this and not the value, for it fits in a register: a value comes back in memory, and copying
/// it on before its parts are written out stalls a processor for longer than most strings take to read.
#[derive(Clone, Copy)]
enum Shape {
    PlainText,
    EscapedText,
    Number,
    Object,
    List,
    True,
    False,
    Null,
}

/// Reads a text from its beginning to its end.
pub(in super::super) struct Scanner<'a> {
    text: &'a str,
    /// The next byte to look at; always at a character's boundary when text is sliced, for it follows ASCII.
    at: usize,
    /// The brackets that are open below the value that is being read.
    open: Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub(in super::super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new() }
    }

    /// The one value that the whole text is.
    pub(in super::super) fn whole(text: &'a str) -> Result<Value<'a>, NotJson> {
        let mut scanner = Self::new(text);
        let value = scanner.value()?;
        scanner.end().map(|()| value)
    }

    /// The next value, whatever it is.
    #[inline]
    pub(in super::super) fn value(&mut self) -> Result<Value<'a>, NotJson> {
        let first = self.token()?;
        self.value_from(first)
    }

    /// The next byte that is no white space.
    #[inline]
    pub(in super::super) fn token(&mut self) -> Result<u8, NotJson> {
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => {}
                byte => return Ok(byte),
            }
        }
    }

    /// In an object, behind its brace or a value: the next key, with its colon, or `None` and the closing brace.
    #[inline]
    pub(in super::super) fn key(&mut self, is_first: bool) -> Result<Option<Text<'a>>, NotJson> {
        if !self.has_key(is_first)? {
            return Ok(None);
        }
        let key = self.string()?;
        self.colon().map(|()| Some(key))
    }

    /// As [`Self::key`], where only the names of an event's fields matter: the inner `None` is a key that is none of them, or is
    /// written with an escape. A name is found by one look at what 16 bytes there are.
    #[inline]
    pub(in super::super) fn field(&mut self, is_first: bool) -> Result<Option<Option<Slot>>, NotJson> {
        if !self.has_key(is_first)? {
            return Ok(None);
        }
        let ahead = self.text.as_bytes().get(self.at..).and_then(<[u8]>::first_chunk);
        if let Some(&bytes) = ahead
            && let Some(length) = first_special(&bytes)
            && bytes[length] == b'"'
        {
            self.at += length + 1;
            return self.colon().map(|()| Some(Slot::of_word(Word::first(bytes, length))));
        }
        let slot = match self.string()? {
            Text::Plain(name) => Slot::find(name),
            _ => None,
        };
        self.colon().map(|()| Some(slot))
    }

    /// Reads up to a key's first quote, or past the closing brace.
    #[inline]
    fn has_key(&mut self, is_first: bool) -> Result<bool, NotJson> {
        let quote = match self.token()? {
            b'}' => return Ok(false),
            byte if is_first => byte,
            b',' => self.token()?,
            _ => return Err(NotJson),
        };
        if quote == b'"' { Ok(true) } else { Err(NotJson) }
    }

    #[inline]
    fn colon(&mut self) -> Result<(), NotJson> {
        if self.token()? == b':' { Ok(()) } else { Err(NotJson) }
    }

    /// In a list, behind its bracket or a value: the first byte of the next element, or `None` and the closing bracket.
    #[inline]
    pub(in super::super) fn element(&mut self, is_first: bool) -> Result<Option<u8>, NotJson> {
        match self.token()? {
            b']' => Ok(None),
            byte if is_first => Ok(Some(byte)),
            b',' => self.token().map(Some),
            _ => Err(NotJson),
        }
    }

    /// The value whose first byte was just read.
    #[expect(
        clippy::inline_always,
        reason = "called, it would return what `Shape` is there to avoid: see there"
    )]
    #[inline(always)]
    pub(in super::super) fn value_from(&mut self, first: u8) -> Result<Value<'a>, NotJson> {
        let start = self.at - 1;
        let shape = self.rest_of_value(first)?;
        Ok(match shape {
            Shape::PlainText | Shape::EscapedText => Value::Text(self.text(shape, start + 1)?),
            Shape::Number => Value::Number(self.since(start)?),
            Shape::Object => Value::Object(self.since(start)?),
            Shape::List => Value::List(self.since(start)?),
            Shape::True => Value::Bool(true),
            Shape::False => Value::Bool(false),
            Shape::Null => Value::Null,
        })
    }

    /// The string whose quote was just read.
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, NotJson> {
        let start = self.at;
        let shape = self.rest_of_string()?;
        self.text(shape, start)
    }

    /// The string of that shape that was just read, whose first character is at `start`.
    #[inline]
    fn text(&self, shape: Shape, start: usize) -> Result<Text<'a>, NotJson> {
        let inside = self.text.get(start..self.at - 1).ok_or(NotJson)?;
        Ok(if matches!(shape, Shape::EscapedText) { Text::Escaped(inside) } else { Text::Plain(inside) })
    }

    /// What was read from `start` on.
    #[inline]
    pub(in super::super) fn since(&self, start: usize) -> Result<&'a str, NotJson> {
        self.text.get(start..self.at).ok_or(NotJson)
    }

    /// Where the byte that was just read stands.
    #[inline]
    pub(in super::super) fn position(&self) -> usize {
        self.at - 1
    }

    /// What is not read yet.
    pub(in super::super) fn bytes_left(&self) -> usize {
        self.text.len() - self.at
    }

    /// Nothing but white space is left.
    pub(in super::super) fn end(&mut self) -> Result<(), NotJson> {
        match self.token() {
            Ok(_) => Err(NotJson),
            Err(NotJson) => Ok(()),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, NotJson> {
        let byte = *self.text.as_bytes().get(self.at).ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest_of_value(&mut self, first: u8) -> Result<Shape, NotJson> {
        match first {
            b'"' => self.rest_of_string(),
            b'{' => self.rest_of_compound(first).map(|()| Shape::Object),
            b'[' => self.rest_of_compound(first).map(|()| Shape::List),
            _ => self.rest_of_scalar(first),
        }
    }

    /// Everything behind an opening bracket, to the one that closes it.
    fn rest_of_compound(&mut self, bracket: u8) -> Result<(), NotJson> {
        let mut innermost = bracket;
        let mut is_first = true;
        self.open.clear();
        loop {
            let value = if innermost == b'{' {
                match self.key(is_first)? {
                    Some(_) => Some(self.token()?),
                    None => None,
                }
            } else {
                self.element(is_first)?
            };
            is_first = false;
            match value {
                Some(b'"') => _ = self.rest_of_string()?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.open.push(innermost);
                    innermost = bracket;
                    is_first = true;
                }
                Some(first) => _ = self.rest_of_scalar(first)?,
                None => match self.open.pop() {
                    Some(outer) => innermost = outer,
                    None => return Ok(()),
                },
            }
        }
    }

    #[inline]
    fn rest_of_scalar(&mut self, first: u8) -> Result<Shape, NotJson> {
        match first {
            b'-' | b'0'..=b'9' => self.rest_of_number(first),
            b't' => self.rest_of_word(b"rue", Shape::True),
            b'f' => self.rest_of_word(b"alse", Shape::False),
            b'n' => self.rest_of_word(b"ull", Shape::Null),
            _ => Err(NotJson),
        }
    }

    fn rest_of_word(&mut self, rest: &[u8], shape: Shape) -> Result<Shape, NotJson> {
        let end = self.at + rest.len();
        if self.text.as_bytes().get(self.at..end) != Some(rest) {
            return Err(NotJson);
        }
        self.at = end;
        Ok(shape)
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
    #[inline]
    fn rest_of_number(&mut self, first: u8) -> Result<Shape, NotJson> {
        let digit = if first == b'-' { self.byte()? } else { first };
        match digit {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(NotJson),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.at_least_one_digit()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.at_least_one_digit()?;
        }
        Ok(Shape::Number)
    }

    #[inline]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn at_least_one_digit(&mut self) -> Result<(), NotJson> {
        let first = self.at;
        self.digits();
        if self.at > first { Ok(()) } else { Err(NotJson) }
    }

    /// What is between the quote that was just read and the closing one, which is read too.
    #[inline]
    fn rest_of_string(&mut self) -> Result<Shape, NotJson> {
        let mut shape = Shape::PlainText;
        loop {
            self.at += special(self.text.as_bytes().get(self.at..).ok_or(NotJson)?).ok_or(NotJson)?;
            match self.byte()? {
                b'"' => return Ok(shape),
                b'\\' => {
                    shape = Shape::EscapedText;
                    self.rest_of_escape()?;
                }
                // A control character.
                _ => return Err(NotJson),
            }
        }
    }

    fn rest_of_escape(&mut self) -> Result<(), NotJson> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(NotJson)?;
                self.at += 4;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(NotJson) }
            }
            _ => Err(NotJson),
        }
    }
}

/// Where the next `"`, `\` or control character is.
#[inline]
fn special(bytes: &[u8]) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        if let Some(at) = first_special(chunk) {
            return Some(index * Word::BYTES + at);
        }
    }
    let at = rest.iter().position(|byte| is_special(*byte))?;
    Some(chunks.len() * Word::BYTES + at)
}

/// As [`special`], in as many bytes as the longest name has; eight at once.
#[inline]
fn first_special(chunk: &[u8; Word::BYTES]) -> Option<usize> {
    let ([low, high], []) = chunk.as_chunks::<8>() else { return None };
    let (low, high) = (hits(*low), hits(*high));
    if low != 0 {
        Some(low.trailing_zeros() as usize / 8)
    } else if high != 0 {
        Some(8 + high.trailing_zeros() as usize / 8)
    } else {
        None
    }
}

/// The highest bit of each byte that is special; above the first of them it may be set for others too.
#[inline]
fn hits(chunk: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(chunk);
    zero_bytes(word ^ (EACH_BYTE * u64::from(b'"')))
        | zero_bytes(word ^ (EACH_BYTE * u64::from(b'\\')))
        | (word.wrapping_sub(EACH_BYTE * 0x20) & !word & (EACH_BYTE << 7))
}

#[inline]
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..0x20)
}
