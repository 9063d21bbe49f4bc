//! Numbers, judged by the digits that were written and never by a rounded float.

use std::cmp::Ordering;

use super::RefusalCode::{BadType, OutOfRange};
use super::fault::{Fault, quoted};
use super::table::Limit;
use super::value::Value;

/// The largest decimal exponent, either way, that is taken inside `answer` and `ext`.
pub(super) const MAX_EXPONENT: i64 = 308;

/// A whole number within limits.
#[inline]
pub(super) fn whole(value: Value<'_>, min: u32, max: u32) -> Result<u32, Fault> {
    let number = whole_of_any_size(value)?;
    match number {
        Ok(number) => match u32::try_from(number) {
            Ok(within) if (min..=max).contains(&within) => Ok(within),
            _ => Err(outside(&number.to_string(), number < i64::from(min), &min, &max)),
        },
        Err(token) => Err(outside(&quoted(token), token.starts_with('-'), &min, &max)),
    }
}

/// A whole number; the inner error is the text of one that is too large for an `i64`.
#[inline]
pub(super) fn whole_of_any_size(value: Value<'_>) -> Result<Result<i64, &str>, Fault> {
    match value {
        Value::Number(token) => match plain_digits(token) {
            Some(number) => Ok(Ok(number)),
            None if token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => {
                Err(Fault::new(BadType, "must be a whole number, without fraction or exponent"))
            }
            None => Ok(token.parse().map_err(|_too_large| token)),
        },
        Value::Whole(number) => Ok(Ok(number)),
        _ => Err(Fault::kind("a whole number")),
    }
}

/// Nearly every number that is sent: digits and nothing else, so few that they fit.
#[inline]
fn plain_digits(token: &str) -> Option<i64> {
    const FITTING: usize = 18;
    if token.len() > FITTING {
        return None;
    }
    token.bytes().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + i64::from(digit))
    })
}

/// A number within decimal limits, as the nearest `f32`.
pub(super) fn number(value: Value<'_>, min: Limit, max: Limit) -> Result<f32, Fault> {
    let written = value.number()?;
    // Rounding never changes an order: what is well within after it was so before.
    match written.parse::<f32>() {
        Ok(nearest) if min.nearest < nearest && nearest < max.nearest => Ok(nearest),
        nearest => judged_by_digits(&written, nearest.ok(), min, max),
    }
}

fn judged_by_digits(written: &str, nearest: Option<f32>, min: Limit, max: Limit) -> Result<f32, Fault> {
    let Some(decimal) = Decimal::parse(written) else {
        return Err(Fault::new(OutOfRange, format!("is {written}, not a finite number")));
    };
    let below = Decimal::parse(min.written).is_some_and(|min| decimal.cmp(&min) == Ordering::Less);
    let above = Decimal::parse(max.written).is_some_and(|max| decimal.cmp(&max) == Ordering::Greater);
    match nearest {
        // Adding zero makes -0 a 0.
        Some(nearest) if !below && !above => Ok(nearest + 0.0),
        _ => Err(outside(&quoted(written), below, &min.written, &max.written)),
    }
}

fn outside(written: &str, below: bool, min: &dyn std::fmt::Display, max: &dyn std::fmt::Display) -> Fault {
    let what = if below {
        format!("is {written}, the least is {min}")
    } else {
        format!("is {written}, the limit is {max}")
    };
    Fault::new(OutOfRange, what)
}

/// How many digits a decimal has before any exponent.
pub(super) fn digit_count(token: &str) -> usize {
    let mantissa = token.split(['e', 'E']).next().unwrap_or(token);
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

/// Whether the exponent that is written in a JSON number is small enough for `answer` and `ext`.
pub(super) fn has_small_exponent(token: &str) -> bool {
    (-MAX_EXPONENT..=MAX_EXPONENT).contains(&written_exponent(token))
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?`
pub(super) fn is_decimal_string(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = match unsigned.split_once('.') {
        Some((integer, fraction)) => (integer, Some(fraction)),
        None => (unsigned, None),
    };
    digits(integer) && (integer == "0" || !integer.starts_with('0')) && fraction.is_none_or(digits)
}

/// The exponent after `e`; one too long for an `i64` counts as the largest there can be, for no text is that long.
fn written_exponent(token: &str) -> i64 {
    const HUGE: i64 = i64::MAX / 4;
    let Some((_, exponent)) = token.split_once(['e', 'E']) else { return 0 };
    match exponent.parse::<i64>() {
        Ok(exponent) => exponent.clamp(-HUGE, HUGE),
        Err(_) if exponent.starts_with('-') => -HUGE,
        Err(_) => HUGE,
    }
}

/// A decimal number as `±0.d₁d₂d₃… × 10^magnitude` with d₁ ≠ 0, over the digits where they stand.
struct Decimal<'a> {
    negative: bool,
    /// Integer and fraction part from the first digit that is not 0; empty for zero.
    integer: &'a [u8],
    fraction: &'a [u8],
    magnitude: i64,
}

impl<'a> Decimal<'a> {
    /// `None` when it is no number: the text of a NaN or an infinity.
    fn parse(token: &'a str) -> Option<Self> {
        let mantissa = token.split(['e', 'E']).next().unwrap_or(token);
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_number =
            !integer.is_empty() && integer.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        if !is_number {
            return None;
        }
        let integer = integer.trim_start_matches('0').as_bytes();
        let mut magnitude = written_exponent(token) + length(integer);
        let mut fraction = fraction.as_bytes();
        if integer.is_empty() {
            let zeros = fraction.iter().take_while(|digit| **digit == b'0').count();
            magnitude -= length(&fraction[..zeros]);
            fraction = &fraction[zeros..];
        }
        Some(Self { negative: token.starts_with('-'), integer, fraction, magnitude })
    }

    fn is_zero(&self) -> bool {
        self.integer.is_empty() && self.fraction.is_empty()
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) => {
                if other.negative {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, true) => {
                if self.negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, false) if self.negative != other.negative => other.negative.cmp(&self.negative),
            (false, false) if self.negative => other.cmp_sizes(self),
            (false, false) => self.cmp_sizes(other),
        }
    }

    /// Compares without signs; neither is zero.
    fn cmp_sizes(&self, other: &Self) -> Ordering {
        self.magnitude.cmp(&other.magnitude).then_with(|| self.digits().cmp(other.digits()))
    }

    /// The digits without the zeros at the end, so that 1.50 is 1.5.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let all = || self.integer.iter().chain(self.fraction).copied();
        let zeros_at_end = all().rev().take_while(|digit| *digit == b'0').count();
        all().take(self.integer.len() + self.fraction.len() - zeros_at_end)
    }
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        let (a, b) = (Decimal::parse(a).expect("a number"), Decimal::parse(b).expect("a number"));
        a.cmp(&b)
    }

    const NOUGHT: Limit = Limit { written: "0", nearest: 0.0 };
    const ONE: Limit = Limit { written: "1", nearest: 1.0 };

    #[test]
    fn limits_are_exact() {
        let rate = (Limit { written: "0.0625", nearest: 0.0625 }, Limit { written: "16", nearest: 16.0 });
        for (written, taken) in [
            ("0.0625", true),
            ("6.25e-2", true),
            ("625E-4", true),
            ("0.06249999999999999999999999999999", false),
            ("0.06250000000000000000000000000001", true),
            ("15.99999999999999999999999999999999", true),
            ("16", true),
            ("16.000", true),
            ("1.6e+1", true),
            ("16.00000000000000000000000000001", false),
            ("0.0000000000000000016e19", true),
            ("1e999999999999999999999", false),
            ("1e-999999999999999999999", false),
            ("-1", false),
            ("0", false),
        ] {
            assert_eq!(number(Value::Number(written), rate.0, rate.1).is_ok(), taken, "{written}");
        }
        for (written, taken) in [
            ("-0", true),
            ("0e9", true),
            ("-1e-400", false),
            ("1e-400", true),
            ("1", true),
            ("1.0000000000000000001", false),
        ] {
            assert_eq!(number(Value::Number(written), NOUGHT, ONE).is_ok(), taken, "{written}");
        }
        assert!(number(Value::Double(f64::NAN), NOUGHT, ONE).is_err());
        assert!(number(Value::Double(f64::INFINITY), NOUGHT, ONE).is_err());
        assert_eq!(number(Value::Number("-0"), NOUGHT, ONE).map(f32::to_bits), Ok(0));
    }

    #[test]
    fn whole_numbers_have_neither_fraction_nor_exponent() {
        let code = |written| whole(Value::Number(written), 1, 5).map_err(|fault| fault.of_event(None).code);
        assert_eq!(code("5"), Ok(5));
        for not_whole in ["1.0", "1e0", "1E1", "0.5e1"] {
            assert_eq!(code(not_whole), Err(BadType), "{not_whole}");
        }
        for outside in ["0", "-1", "6", "99999999999999999999999", "-99999999999999999999999"] {
            assert_eq!(code(outside), Err(OutOfRange), "{outside}");
        }
        assert_eq!(whole(Value::Number("-0"), 0, 5), Ok(0));
    }

    #[test]
    fn decimal_strings() {
        for text in ["0", "-0", "12.50", "-1", "0.0", "10"] {
            assert!(is_decimal_string(text), "{text}");
        }
        for text in ["", "-", "+1", "01", "-01", ".5", "1.", "1e3", "1,5", " 1", "--1", "٣", "1.2.3", "NaN"]
        {
            assert!(!is_decimal_string(text), "{text}");
        }
    }

    #[test]
    fn exponents_are_limited_as_written() {
        for (token, small) in [
            ("1e308", true),
            ("1E+308", true),
            ("1e-308", true),
            ("1e309", false),
            ("1e-309", false),
            ("1e0308", true),
            ("1e99999999999999999999999", false),
            ("0e-99999999999999999999", false),
            ("5", true),
        ] {
            assert_eq!(has_small_exponent(token), small, "{token}");
        }
    }

    proptest! {
        #[test]
        fn decimals_compare_as_floats_do_where_floats_are_exact(a in -1000..1000i32, b in -1000..1000i32, e in 0..4u32) {
            // Multiples of 1/1024 print exactly.
            let (x, y) = (f64::from(a) / 1024.0, f64::from(b) / 1024.0);
            let shifted = format!("{}e-{e}", x * f64::from(10_u32.pow(e)));
            prop_assert_eq!(Some(compare(&format!("{x}"), &format!("{y}"))), x.partial_cmp(&y));
            if (x * f64::from(10_u32.pow(e))).fract() == 0.0 {
                prop_assert_eq!(compare(&shifted, &format!("{x}")), Ordering::Equal);
            }
        }
    }
}
