//! What a viewer answered: exactly one of five kinds.

use std::borrow::Cow;
use std::collections::HashSet;

use super::RefusalCode::{BadAnswer, BadType};
use super::fault::Fault;
use super::number::{MAX_EXPONENT, digit_count, has_small_exponent, is_decimal_string};
use super::text::{Text, check_length};
use super::value::Value;
use super::wire::Malformed;
use super::{json, protobuf};

const MAX_CHOICE_CHARS: usize = 64;
const MAX_CHOICES: usize = 64;
const MAX_TEXT_CHARS: usize = 10_000;
const MAX_DIGITS: usize = 34;

/// The JSON text of the answer: as it was sent, for numbers keep their exact decimal value.
///
/// Wrong lengths are `out_of_range` and wrong text is `bad_text`, as everywhere; all else is `bad_answer`.
pub(super) fn answer<'a>(value: Value<'a>) -> Result<Cow<'a, str>, Fault> {
    match value {
        Value::Object(object) => {
            let (kind, inner) = only_member(object)?;
            check(&kind, inner).map_err(|fault| fault.at(&kind))?;
            Ok(Cow::Borrowed(object))
        }
        Value::Answer(message) => {
            let (kind, inner) =
                protobuf::answer(message).ok_or_else(|| bad("must be exactly one kind of answer"))?;
            check(kind, inner).map_err(|fault| fault.at(kind))?;
            Ok(Cow::Owned(format!(r#"{{"{kind}":{}}}"#, inner.to_json())))
        }
        _ => Err(bad("must be an object")),
    }
}

/// The one member that an answer has.
fn only_member<'a>(object: &'a str) -> Result<(Cow<'a, str>, Value<'a>), Fault> {
    let mut members = json::members(object);
    match (members.next(), members.next()) {
        (Some((key, inner)), None) => Ok((read_key(key)?, inner)),
        (None, _) => Err(bad("must have exactly one member, not none")),
        (Some(_), Some(_)) => Err(why_not_only(object)),
    }
}

fn why_not_only(object: &str) -> Fault {
    let mut seen = HashSet::new();
    for (key, _) in json::members(object) {
        match read_key(key) {
            Err(fault) => return fault,
            Ok(key) if seen.contains(&key) => return Fault::new(BadType, "is there more than once").at(&key),
            Ok(key) => seen.insert(key),
        };
    }
    bad(format!("must have exactly one member, not {}", seen.len()))
}

fn read_key(key: Text<'_>) -> Result<Cow<'_, str>, Fault> {
    key.read().map_err(|fault| fault.at(&key.show()))
}

fn check(kind: &str, inner: Value<'_>) -> Result<(), Fault> {
    match kind {
        "choice" => check_choice(inner).map(drop),
        "choices" => check_choices(inner),
        "text" => check_length(&text(inner)?, 0, MAX_TEXT_CHARS),
        "number" => check_number(inner),
        "bool" => inner.boolean().map(drop).map_err(|fault| fault.filed_under(BadAnswer)),
        _ => Err(bad("is no kind of answer (choice, choices, text, number, bool)")),
    }
}

fn check_choice(value: Value<'_>) -> Result<Cow<'_, str>, Fault> {
    let choice = text(value)?;
    check_length(&choice, 1, MAX_CHOICE_CHARS)?;
    Ok(choice)
}

fn check_choices(value: Value<'_>) -> Result<(), Fault> {
    let mut earlier = Vec::new();
    match value {
        Value::List(list) => {
            for (index, choice) in json::elements(list).enumerate() {
                push_choice(&mut earlier, index, choice)?;
            }
        }
        Value::Choices(message) => {
            for (index, choice) in protobuf::choices(message).enumerate() {
                push_choice(&mut earlier, index, choice.map_err(|Malformed| bad("is malformed"))?)?;
            }
        }
        _ => return Err(bad("must be a list of strings")),
    }
    Ok(())
}

fn push_choice<'a>(earlier: &mut Vec<Cow<'a, str>>, index: usize, value: Value<'a>) -> Result<(), Fault> {
    if index >= MAX_CHOICES {
        return Err(bad(format!("has more than {MAX_CHOICES} choices, the limit")));
    }
    let choice = check_choice(value).map_err(|fault| fault.at(&index.to_string()))?;
    if earlier.contains(&choice) {
        return Err(bad("repeats an earlier choice").at(&index.to_string()));
    }
    earlier.push(choice);
    Ok(())
}

fn check_number(value: Value<'_>) -> Result<(), Fault> {
    match value {
        Value::Text(_) => {
            let decimal = text(value)?;
            if is_decimal_string(&decimal) {
                check_digits(&decimal)
            } else {
                Err(bad("must be a decimal such as -12.50"))
            }
        }
        Value::Number(token) if !has_small_exponent(token) => {
            Err(bad(format!("has an exponent over {MAX_EXPONENT} either way")))
        }
        Value::Number(token) => check_digits(token),
        _ => Err(bad("must be a number or a decimal string")),
    }
}

fn check_digits(token: &str) -> Result<(), Fault> {
    match digit_count(token) {
        ..=MAX_DIGITS => Ok(()),
        digits => Err(bad(format!("has {digits} digits, the limit is {MAX_DIGITS}"))),
    }
}

fn text(value: Value<'_>) -> Result<Cow<'_, str>, Fault> {
    match value {
        Value::Text(text) => text.read(),
        _ => Err(bad("must be a string")),
    }
}

fn bad(what: impl Into<String>) -> Fault {
    Fault::new(BadAnswer, what)
}
