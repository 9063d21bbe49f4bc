//! `Content-Type`: which form a body has.
//!
//! The essence decides. Of the parameters one matters, and only of `text/plain`: its charset says how the text was made
//! into bytes, and JSON is UTF-8 whatever its parameters say (RFC 8259, 11). Parameters are cut as browsers cut them
//! (the WHATWG's MIME Sniffing Standard, 4.4): a value may be quoted, and the first of a name counts.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::problem::Problem;

/// What the encoding standard of the WHATWG calls UTF-8, and the part of it that every charset shares.
const READABLE: [&str; 7] =
    ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8", "us-ascii"];

/// The forms a batch can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Also what `text/plain` carries: a page that is going away can send no other type without a preflight.
    Json,
    Protobuf,
    /// NDJSON, whose envelope is in the headers.
    Lines,
}

impl Form {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::UnsupportedType);
        };
        let value = String::from_utf8_lossy(value.as_bytes());
        let (essence, parameters) = value.split_once(';').unwrap_or((&value, ""));
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "text/plain" if is_readable(parameters) => Ok(Self::Json),
            "application/x-ndjson" => Ok(Self::Lines),
            "application/x-protobuf" => Ok(Self::Protobuf),
            _ => Err(Problem::UnsupportedType),
        }
    }
}

/// Whether text with these parameters can be read as UTF-8. Without a charset it is.
fn is_readable(parameters: &str) -> bool {
    let charset = Parameters { rest: parameters }.find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    charset.is_none_or(|(_, value)| READABLE.iter().any(|label| label.eq_ignore_ascii_case(value.trim())))
}

/// The parameters of a media type that have a value, in their order.
struct Parameters<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = self.rest.find([';', '=']).unwrap_or(self.rest.len());
            let name = self.rest[..end].trim();
            let Some(value) = self.rest[end..].strip_prefix('=') else {
                // A name without a value, or nothing between two semicolons.
                self.rest = self.rest[end..].strip_prefix(';').unwrap_or("");
                continue;
            };
            let (value, rest) = match value.strip_prefix('"') {
                Some(inside) => unquote(inside),
                None => {
                    let (value, rest) = value.split_once(';').unwrap_or((value, ""));
                    if value.trim().is_empty() {
                        self.rest = rest;
                        continue;
                    }
                    (Cow::Borrowed(value.trim()), rest)
                }
            };
            self.rest = rest;
            return Some((name, value));
        }
        None
    }
}

/// A quoted value, from behind its first quote to behind the next semicolon.
fn unquote(inside: &str) -> (Cow<'_, str>, &str) {
    let mut value = String::new();
    let mut characters = inside.char_indices();
    let mut end = inside.len();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                end = at;
                break;
            }
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    let behind = inside[end..].split_once(';').map_or("", |(_, behind)| behind);
    (Cow::Owned(value), behind)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn form(content_type: &str) -> Option<Form> {
        let value = HeaderValue::from_str(content_type).expect("a header value");
        Form::of(&HeaderMap::from_iter([(CONTENT_TYPE, value)])).ok()
    }

    #[test]
    fn types_are_known_by_their_essence() {
        for text in ["application/json", "Application/JSON ; charset=utf-8", "text/plain"] {
            assert_eq!(form(text), Some(Form::Json), "{text}");
        }
        assert_eq!(form("application/x-ndjson;"), Some(Form::Lines));
        assert_eq!(
            form("application/x-protobuf; messageType=\"rollbook.v1.IngestRequest\""),
            Some(Form::Protobuf)
        );
        for text in ["", "*/*", "application/jsonx", "text/html", "application/json, text/plain", ";"] {
            assert_eq!(form(text), None, "{text}");
        }
        assert!(matches!(Form::of(&HeaderMap::new()), Err(Problem::UnsupportedType)));
    }

    #[test]
    fn parameters_of_json_and_ndjson_mean_nothing() {
        for parameters in
            ["charset=utf8", "charset=utf-16", "charset=\"", "a=\"b;c\"", "q", "=", "charset=latin1;;"]
        {
            assert_eq!(form(&format!("application/json; {parameters}")), Some(Form::Json), "{parameters}");
            assert_eq!(
                form(&format!("application/x-ndjson;{parameters}")),
                Some(Form::Lines),
                "{parameters}"
            );
        }
    }

    #[test]
    fn plain_text_is_read_where_its_charset_is_utf_8_by_any_of_its_names_or_a_part_of_it() {
        for label in READABLE {
            for charset in [label.to_owned(), label.to_ascii_uppercase(), format!("\"{label}\"")] {
                assert_eq!(form(&format!("text/plain;charset={charset}")), Some(Form::Json), "{charset}");
            }
        }
        for parameters in [
            "charset=",
            "charset",
            "format=flowed; charset=utf-8",
            "x=\"a;charset=utf-16\"; charset=utf-8",
            "x=\"a\\\";charset=utf-16\"; Charset=\"utf\\-8\"",
            "charset=utf-8; charset=utf-16",
            "charset=\"utf-8",
        ] {
            assert_eq!(form(&format!("text/plain; {parameters}")), Some(Form::Json), "{parameters}");
        }
        for parameters in [
            "charset=utf-16",
            "charset=utf-7",
            "charset=latin1",
            "charset=\"\"",
            "charset='utf-8'",
            "charset=utf-8x",
            "charset=\"utf-16\"; charset=utf-8",
            "a;b;CHARSET=iso-8859-1",
            "x=\"y\"z; charset=koi8-r",
        ] {
            assert_eq!(form(&format!("text/plain; {parameters}")), None, "{parameters}");
        }
    }
}
