//! Why a value was refused, where the standard library and the command line library say it in words for programmers.

use std::error::Error;
use std::net::AddrParseError;
use std::num::{IntErrorKind, ParseIntError};

/// The reason in our words; `None`: it can stand as it is.
pub(super) fn in_our_words(reason: &(dyn Error + 'static)) -> Option<String> {
    if reason.is::<AddrParseError>() {
        return Some("it must be IP:PORT, such as 0.0.0.0:8080".to_owned());
    }
    match reason.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::Zero) => Some("it must be at least 1".to_owned()),
        Some(IntErrorKind::PosOverflow) => Some("it is too large".to_owned()),
        Some(IntErrorKind::NegOverflow) => Some("it is too small".to_owned()),
        Some(_) => Some("it must be a whole number, in digits alone".to_owned()),
        None => below_the_least(&reason.to_string()),
    }
}

/// A range without a greatest value of its own is said to end with the greatest that its type has.
fn below_the_least(reason: &str) -> Option<String> {
    let (value, range) = reason.split_once(" is not in ")?;
    let (least, most) = range.split_once("..")?;
    let most: u64 = most.trim_start_matches('=').parse().ok()?;
    let is_below = value.parse::<i128>().ok()? < least.parse::<i128>().ok()?;
    let is_open = most == u64::MAX || most == u64::from(u32::MAX);
    (is_open && is_below).then(|| format!("it must be at least {least}"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;

    use clap::builder::ValueParser;
    use clap::{Arg, Command, value_parser};

    use super::*;

    fn said(parser: impl Into<ValueParser>, value: &str) -> Option<String> {
        let command = Command::new("test").no_binary_name(true).arg(Arg::new("it").value_parser(parser));
        let error = command.try_get_matches_from([value]).expect_err("it is refused");
        in_our_words(error.source().expect("a reason"))
    }

    #[test]
    fn reasons_for_programmers_are_said_for_everyone() {
        let least = 1_024 * 1_024;
        for (said, expected) in [
            (said(value_parser!(NonZeroU32), "0"), "it must be at least 1"),
            (said(value_parser!(NonZeroU32), "1 000"), "it must be a whole number, in digits alone"),
            (said(value_parser!(NonZeroU32), "5000000000"), "it is too large"),
            (said(value_parser!(u32).range(1..), "x"), "it must be a whole number, in digits alone"),
            (said(value_parser!(u32).range(7..), "5"), "it must be at least 7"),
            (said(value_parser!(u64).range(least..), "5"), "it must be at least 1048576"),
            (said(value_parser!(SocketAddr), "localhost:8080"), "it must be IP:PORT, such as 0.0.0.0:8080"),
            (said(value_parser!(SocketAddr), ":8080"), "it must be IP:PORT, such as 0.0.0.0:8080"),
        ] {
            assert_eq!(said.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_range_with_an_end_of_its_own_is_said_as_it_is() {
        assert_eq!(said(value_parser!(u32).range(1..=9), "0"), None);
        assert_eq!(said(value_parser!(u32).range(7..), "5000000000"), None);
    }
}
