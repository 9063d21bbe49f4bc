//! Strings: how they arrive, and which of them Postgres can hold.

use std::borrow::Cow;

use super::RefusalCode::{BadText, OutOfRange};
use super::fault::Fault;

/// A string as it arrived, not read yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Text<'a> {
    /// It reads as it stands: the inside of a JSON string without escapes, or a protobuf string that is fit. U+0000 is in
    /// neither.
    Plain(&'a str),
    /// The inside of a JSON string, with escapes in it.
    Escaped(&'a str),
    /// A protobuf string with U+0000 in it, or that is not UTF-8.
    Unfit,
}

impl<'a> Text<'a> {
    /// The string of a protobuf message. (In JSON a bare U+0000 is no JSON, and the body was checked to be UTF-8.)
    pub(super) fn of_protobuf(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if memchr::memchr(0, bytes).is_none() => Self::Plain(text),
            _ => Self::Unfit,
        }
    }

    /// The text itself, borrowed unless an escape forces a copy.
    ///
    /// # Errors
    /// U+0000 and lone surrogates, neither of which fits in a Postgres text.
    #[inline]
    pub(super) fn read(self) -> Result<Cow<'a, str>, Fault> {
        match self {
            Self::Plain(text) => Ok(Cow::Borrowed(text)),
            Self::Escaped(inside) => unescape(inside).map(Cow::Owned),
            Self::Unfit => Err(unfit("contains U+0000 or is not UTF-8")),
        }
    }

    /// The text for the eyes of a person, whatever is wrong with it.
    pub(super) fn show(self) -> Cow<'a, str> {
        self.read().unwrap_or(match self {
            Self::Plain(text) | Self::Escaped(text) => Cow::Borrowed(text),
            Self::Unfit => Cow::Borrowed("\u{fffd}"),
        })
    }
}

/// Checks a length in Unicode characters, both limits inclusive.
#[inline]
pub(super) fn check_length(text: &str, min_chars: usize, max_chars: usize) -> Result<(), Fault> {
    // A character has one to four bytes: most texts are settled without counting.
    if text.len() >= min_chars * 4 && text.len() <= max_chars {
        return Ok(());
    }
    check_count(text.chars().count(), min_chars, max_chars)
}

fn check_count(chars: usize, min_chars: usize, max_chars: usize) -> Result<(), Fault> {
    if chars > max_chars {
        return Err(Fault::new(OutOfRange, format!("has {chars} characters, the limit is {max_chars}")));
    }
    if chars < min_chars {
        return Err(Fault::new(OutOfRange, format!("has {chars} characters, the least is {min_chars}")));
    }
    Ok(())
}

/// Refuses what is shaped like an e-mail address: viewers are pseudonyms.
#[inline]
pub(super) fn check_is_pseudonym(text: &str) -> Result<(), Fault> {
    if looks_like_email(text) {
        return Err(Fault::new(BadText, "is shaped like an e-mail address; send an opaque pseudonym"));
    }
    Ok(())
}

/// One `@`, text before it, a dot in the text after it, no white space.
fn looks_like_email(text: &str) -> bool {
    let Some(at) = memchr::memchr(b'@', text.as_bytes()) else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    !local.is_empty() && domain.contains('.') && !domain.contains('@') && !text.contains(char::is_whitespace)
}

fn unfit(what: &str) -> Fault {
    Fault::new(BadText, what)
}

/// Resolves the escapes inside a well-formed JSON string.
fn unescape(inside: &str) -> Result<String, Fault> {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let (character, length) = escape(&rest[at..])?;
        text.push(character);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The character that the escape at the start of `text` stands for, and the bytes that the escape takes.
fn escape(text: &str) -> Result<(char, usize), Fault> {
    let character = match text.as_bytes().get(1) {
        Some(b'u') => return unicode_escape(text),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(literal @ (b'"' | b'\\' | b'/')) => char::from(*literal),
        _ => return Err(unfit("has a broken escape")),
    };
    Ok((character, 2))
}

/// `\uXXXX`, or two of them that are a surrogate pair.
fn unicode_escape(text: &str) -> Result<(char, usize), Fault> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        // `from_str_radix` takes a sign.
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let first = unit(0).ok_or_else(|| unfit("has a broken escape"))?;
    if first == 0 {
        return Err(unfit("contains U+0000"));
    }
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Ok((character, 6));
    }
    let pair = [first, unit(6).unwrap_or(0)];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => Ok((character, 12)),
        _ => Err(unfit("contains a lone surrogate")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: Text<'_>) -> Result<String, String> {
        text.read().map(Cow::into_owned).map_err(|fault| fault.what().to_owned())
    }

    #[test]
    fn escapes_are_resolved_and_text_without_any_is_borrowed() {
        assert!(matches!(Text::Plain("añb").read(), Ok(Cow::Borrowed("añb"))));
        assert_eq!(
            code(Text::Escaped(r#"\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00."#)),
            Ok("\"\\/\u{8}\u{c}\n\r\téé😀.".to_owned())
        );
    }

    #[test]
    fn what_postgres_cannot_hold_is_refused() {
        for lone in
            [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\ud800\ud800", r"\udc00\ud800"]
        {
            assert_eq!(code(Text::Escaped(lone)), Err("contains a lone surrogate".to_owned()), "{lone}");
        }
        assert_eq!(code(Text::Escaped(r"a\u0000b")), Err("contains U+0000".to_owned()));
        assert!(code(Text::of_protobuf(b"a\0b")).is_err());
        assert!(code(Text::of_protobuf(b"\xed\xa0\x80")).is_err(), "a surrogate is not UTF-8");
        assert_eq!(code(Text::of_protobuf("aé".as_bytes())), Ok("aé".to_owned()));
    }

    #[test]
    fn broken_escapes_are_no_panic() {
        for broken in ["\\", "\\u", "\\u12", "\\u+123", "\\ué", "\\ud800\\u", "\\x", "\\é"] {
            assert!(Text::Escaped(broken).read().is_err(), "{broken}");
        }
    }

    #[test]
    fn lengths_count_characters() {
        assert!(check_length("éééé", 1, 4).is_ok());
        assert!(check_length("ééééé", 1, 4).is_err());
        assert!(check_length("", 1, 4).is_err());
        assert!(check_length("é", 1, 4).is_ok());
        assert!(check_length("", 0, 4).is_ok());
        assert!(check_length("😀", 2, 4).is_err());
    }

    #[test]
    fn shapes_of_email_addresses() {
        for email in ["a@b.c", "a@.", "ä@b.c", "a.b@c.d"] {
            assert!(check_is_pseudonym(email).is_err(), "{email}");
        }
        for pseudonym in ["", "a", "@b.c", "a@b", "a.b@c", "a@b@c.d", "a b@c.d", "a@b.c\u{a0}", "a@b.c\n"] {
            assert!(check_is_pseudonym(pseudonym).is_ok(), "{pseudonym:?}");
        }
    }
}
