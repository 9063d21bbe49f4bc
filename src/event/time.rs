//! Points in time: the two forms they are sent in, and the one form they have past the edge.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::RefusalCode::{InFuture, TooOld};
use super::fault::{Fault, quoted};
use super::number::whole_of_any_size;
use super::value::Value;

/// A point in time in milliseconds since 1970 UTC; finer parts are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

impl UnixMillis {
    /// 0000-01-01T00:00:00Z, the first time that RFC 3339 can write.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Reads a **time** of the contract in its text form: an RFC 3339 string with an offset, or the decimal digits of
    /// an integer of milliseconds (what a header carries). `None` when it is neither, or outside the years 0 to 9999.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_integer = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let time = if is_integer { Self(text.parse().ok()?) } else { Self::from_rfc3339(text)? };
        time.is_writable().then_some(time)
    }

    /// The current time of this machine.
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }

    /// Whether it lies in the years 0 to 9999, which RFC 3339 can write and Postgres can hold.
    pub fn is_writable(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }

    /// Reads a time in an event or an envelope.
    pub(super) fn read(value: Value<'_>) -> Result<Self, Fault> {
        let no_time = || Fault::kind("a time: milliseconds since 1970 UTC, or RFC 3339 with an offset");
        let time = match value {
            Value::Text(_) => Self::from_rfc3339(&value.text()?).ok_or_else(no_time)?,
            _ => match whole_of_any_size(value).map_err(|_| no_time())? {
                Ok(millis) => Self(millis),
                Err(token) => return Err(far_off(&quoted(token))),
            },
        };
        if time.is_writable() { Ok(time) } else { Err(far_off(&time.0.to_string())) }
    }

    /// Reads `2026-11-22T21:48:20.123+01:00`. Strict: the grammar of RFC 3339 and nothing else.
    fn from_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date_time, rest) = bytes.split_at_checked(19)?;
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', h1, h2, b':', n1, n2, b':', s1, s2] =
            date_time
        else {
            return None;
        };
        let (year, month, day) = (pair(y1, y2)? * 100 + pair(y3, y4)?, pair(m1, m2)?, pair(d1, d2)?);
        let (hour, minute, second) = (pair(h1, h2)?, pair(n1, n2)?, pair(s1, s2)?);
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour <= 23
            && minute <= 59
            && second <= 60;
        if !in_range {
            return None;
        }
        let (fraction_ms, rest) = fraction(rest)?;
        let wall_ms = days_since_1970(year, month, day) * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS;
        let minute_ms = wall_ms - offset_ms(rest)?;
        // A leap second exists only as the last second of a UTC day; here it is the first one of the next.
        let is_possible = second < 60 || minute_ms.rem_euclid(DAY_MS) == DAY_MS - MINUTE_MS;
        is_possible.then_some(Self(minute_ms + second * SECOND_MS + fraction_ms))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T21:48:20.123Z`.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Jiff stops a day short of the year 10000.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Further off than any clock that is put right.
fn far_off(millis: &str) -> Fault {
    let code = if millis.starts_with('-') { TooOld } else { InFuture };
    Fault::new(code, format!("is {millis}, outside the years 0 to 9999"))
}

/// Two ASCII digits as a number.
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// An optional `.123456`, cut to milliseconds, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(length);
    let millis = (0..3).fold(0, |ms, at| ms * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0')));
    Some((millis, rest))
}

/// `Z` or `±hh:mm`, to the end of the text. (`-00:00`, "offset unknown", still says which UTC time is meant.)
fn offset_ms(text: &[u8]) -> Option<i64> {
    let &[sign, h1, h2, b':', m1, m2] = text else {
        return matches!(text, b"Z" | b"z").then_some(0);
    };
    let (hours, minutes) = (pair(h1, h2)?, pair(m1, m2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    match sign {
        b'+' => Some(hours * HOUR_MS + minutes * MINUTE_MS),
        b'-' => Some(-(hours * HOUR_MS + minutes * MINUTE_MS)),
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that a leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests;
