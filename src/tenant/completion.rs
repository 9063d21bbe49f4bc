//! From which share of a video on its reports call a viewer done.

use std::fmt;
use std::str::FromStr;

/// A share above 0 and at most 1, exact to six decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Completion {
    millionths: u32,
}

const WHOLE: u32 = 1_000_000;
const DECIMALS: usize = 6;

impl Completion {
    /// As a number for people and JSON; Postgres is given the decimal, as it is displayed.
    pub fn as_f64(self) -> f64 {
        f64::from(self.millionths) / f64::from(WHOLE)
    }

    /// Whether so much of a duration is enough, in decimal arithmetic.
    pub fn is_reached(self, watched_ms: i64, duration_ms: i64) -> bool {
        i128::from(watched_ms) * i128::from(WHOLE) >= i128::from(duration_ms) * i128::from(self.millionths)
    }
}

impl Default for Completion {
    /// Nine tenths.
    fn default() -> Self {
        Self { millionths: 900_000 }
    }
}

impl fmt::Display for Completion {
    /// The decimal, without zeros at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = format!("{}.{:06}", self.millionths / WHOLE, self.millionths % WHOLE);
        f.write_str(decimal.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// What is no [`Completion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a completion threshold is a decimal above 0 and at most 1, such as 0.9, with at most six decimals")]
pub struct BadCompletion;

impl FromStr for Completion {
    type Err = BadCompletion;

    fn from_str(text: &str) -> Result<Self, BadCompletion> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(decimals) || whole.len() > 1 {
            return Err(BadCompletion);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > DECIMALS {
            return Err(BadCompletion);
        }
        let digits = format!("{whole}{decimals:0<DECIMALS$}");
        match digits.parse() {
            Ok(millionths @ 1..=WHOLE) => Ok(Self { millionths }),
            _ => Err(BadCompletion),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_reached_to_the_millisecond() {
        let completion = Completion { millionths: 900_000 };
        assert!(completion.is_reached(9, 10) && !completion.is_reached(8, 10));
        assert!(!completion.is_reached(i64::MAX / 10 * 9 - 10, i64::MAX), "beyond what a float tells apart");
        assert!(completion.is_reached(i64::MAX, i64::MAX));
    }

    #[test]
    fn a_threshold_is_above_nothing_and_at_most_all() {
        for (written, shown) in [
            ("0.9", "0.9"),
            ("1", "1"),
            ("1.000", "1"),
            ("0.000001", "0.000001"),
            ("0.85", "0.85"),
            ("0.5000000", "0.5"),
        ] {
            assert_eq!(written.parse::<Completion>().map(|one| one.to_string()), Ok(shown.to_owned()));
        }
        for bad in
            ["0", "0.0", "1.1", "-0.5", "+0.5", "0.0000001", ".5", "0.", "9e-1", "", "NaN", "01", "0,9", "10"]
        {
            assert_eq!(bad.parse::<Completion>(), Err(BadCompletion), "{bad}");
        }
    }
}
