//! The organization's own fields: any JSON object within limits that Postgres can hold.

use super::RefusalCode::{OutOfRange, TooLarge};
use super::fault::Fault;
use super::json;
use super::number::{MAX_EXPONENT, has_small_exponent};
use super::value::Value;

const MAX_BYTES: usize = 4 * 1_024;
const MAX_DEPTH: usize = 4;
const MAX_KEYS: usize = 32;

/// The text of the object as it was sent; `None` when there is nothing in it.
///
/// A repeated key is not an error here: the last one wins, as in `jsonb`. All of them are judged and counted.
pub(super) fn ext<'a>(value: Value<'a>) -> Result<Option<&'a str>, Fault> {
    let Value::Object(object) = value else { return Err(Fault::kind("an object")) };
    if object.len() > MAX_BYTES {
        let bytes = object.len();
        return Err(Fault::new(TooLarge, format!("is {bytes} bytes, the limit is {MAX_BYTES}")));
    }
    let depth = json::depth(object);
    if depth > MAX_DEPTH {
        return Err(Fault::new(TooLarge, format!("is nested {depth} deep, the limit is {MAX_DEPTH}")));
    }
    let keys = json::members(object).count();
    if keys > MAX_KEYS {
        return Err(Fault::new(TooLarge, format!("has {keys} keys, the limit is {MAX_KEYS}")));
    }
    check_inside(value)?;
    Ok((keys > 0).then_some(object))
}

/// Recurses no deeper than `MAX_DEPTH`.
fn check_inside(value: Value<'_>) -> Result<(), Fault> {
    match value {
        Value::Object(object) => {
            for (key, inner) in json::members(object) {
                let fault = match key.read() {
                    Ok(_) => check_inside(inner),
                    Err(fault) => Err(fault),
                };
                fault.map_err(|fault| fault.at(&key.show()))?;
            }
            Ok(())
        }
        Value::List(list) => {
            for (index, inner) in json::elements(list).enumerate() {
                check_inside(inner).map_err(|fault| fault.at(&index.to_string()))?;
            }
            Ok(())
        }
        Value::Number(token) if !has_small_exponent(token) => {
            Err(Fault::new(OutOfRange, format!("has an exponent over {MAX_EXPONENT} either way")))
        }
        Value::Text(text) => text.read().map(drop),
        _ => Ok(()),
    }
}
