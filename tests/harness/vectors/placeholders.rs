//! What stands in `{{…}}`: in requests it is filled in, in replies it says what may stand there.

use std::collections::BTreeMap;

use rollbook::event::UnixMillis;
use serde_json::Value;
use uuid::Uuid;

/// Fills every placeholder of a text in.
pub(super) fn fill(text: &str, names: &BTreeMap<&str, String>) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after.split_once("}}").expect("a placeholder ends");
        filled.push_str(before);
        filled.push_str(&value(inside, names));
        rest = after;
    }
    filled + rest
}

/// The same for JSON, where a string that is nothing but `{{now…}}` stands for a number.
pub(super) fn fill_json(json: &str, names: &BTreeMap<&str, String>) -> String {
    let (mut unquoted, mut rest) = (String::with_capacity(json.len()), json);
    while let Some((before, after)) = rest.split_once("\"{{now") {
        let (inside, after) = after.split_once("}}\"").expect("a time stands alone in its string");
        unquoted.extend([before, "{{now", inside, "}}"]);
        rest = after;
    }
    fill(&(unquoted + rest), names)
}

fn value(inside: &str, names: &BTreeMap<&str, String>) -> String {
    let (word, rest) = inside.split_once(' ').unwrap_or((inside, ""));
    match word {
        "repeat" => {
            let (times, text) = rest.split_once(' ').expect("how often, and what");
            text.repeat(times.parse().expect("a number"))
        }
        "noise" => {
            let (chars, seed) = rest.split_once(' ').expect("how much, and which");
            noise(chars.parse().expect("a number"), seed.parse().expect("a number"))
        }
        "rfc3339" => time(rest).to_string(),
        "varint" => varint(time(rest)),
        _ if word.starts_with("now") => time(word).0.to_string(),
        _ => names.get(word).unwrap_or_else(|| panic!("{{{{{inside}}}}} stands for nothing")).clone(),
    }
}

/// `now`, `now-31d`, `now+25h`.
fn time(text: &str) -> UnixMillis {
    let offset = text.strip_prefix("now").expect("a time begins with now");
    let split = offset.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(offset.len());
    let (count, unit) = offset.split_at(split);
    let unit_ms = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => panic!("{text}: a unit is ms, s, h or d"),
    };
    let count: i64 = if count.is_empty() { 0 } else { count.parse().expect("a number") };
    UnixMillis(UnixMillis::now().0 + count * unit_ms)
}

/// Letters that no compression makes much smaller, always the same ones for a seed.
fn noise(chars: usize, seed: u64) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ (seed << 32);
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state >> 58).expect("six bits");
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[at])
    };
    (0..chars).map(|_| letter()).collect()
}

/// A time as protobuf writes it, in hexadecimal digits.
fn varint(time: UnixMillis) -> String {
    let (mut bits, mut hex) = (time.0.cast_unsigned(), String::new());
    while bits >= 0x80 {
        hex.push_str(&format!("{:02x}", bits & 0x7f | 0x80));
        bits >>= 7;
    }
    hex + &format!("{bits:02x}")
}

/// What differs, and where.
pub(crate) fn compare(expected: &Value, seen: &Value, at: &str) -> Vec<String> {
    match (expected, seen) {
        (Value::Object(expected), Value::Object(seen)) => {
            let missing = expected.keys().filter(|key| !seen.contains_key(*key));
            let surplus = seen.keys().filter(|key| !expected.contains_key(*key));
            let missing = missing.map(|key| format!("{at}.{key} is missing"));
            let surplus = surplus.map(|key| format!("{at}.{key} is not expected"));
            let both = expected.iter().filter_map(|(key, value)| Some((key, value, seen.get(key)?)));
            let inside = both.flat_map(|(key, value, seen)| compare(value, seen, &format!("{at}.{key}")));
            missing.chain(surplus).chain(inside).collect()
        }
        (Value::Array(expected), Value::Array(seen)) if expected.len() == seen.len() => {
            let pairs = expected.iter().zip(seen).enumerate();
            pairs.flat_map(|(index, (value, seen))| compare(value, seen, &format!("{at}.{index}"))).collect()
        }
        (Value::String(pattern), _) if pattern.starts_with("{{") => {
            let inside = pattern.trim_start_matches("{{").trim_end_matches("}}");
            if is_within(inside, seen) { Vec::new() } else { vec![format!("{at} is {seen}, not {pattern}")] }
        }
        _ if expected == seen => Vec::new(),
        _ => vec![format!("{at} is {seen} instead of {expected}")],
    }
}

fn is_within(pattern: &str, seen: &Value) -> bool {
    let Some(text) = seen.as_str() else { return false };
    match pattern.split_once(' ').unwrap_or((pattern, "")) {
        ("uuid", "") => Uuid::parse_str(text).is_ok(),
        ("time", "") => text.len() == 24 && text.ends_with('Z') && UnixMillis::parse(text).is_some(),
        ("text", "") => !text.is_empty(),
        ("text", with) => text.contains(with.strip_prefix("with ").expect("text with something")),
        ("seconds", range) => {
            let (least, most) = range.split_once("..").expect("from..to");
            let bound = |text: &str| text.parse::<u64>().expect("whole seconds");
            text.parse().is_ok_and(|seconds: u64| (bound(least)..=bound(most)).contains(&seconds))
        }
        _ => panic!("{{{{{pattern}}}}} means nothing in a reply"),
    }
}
