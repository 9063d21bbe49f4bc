//! Texts by number, and times and places as Postgres counts them.

use std::collections::HashMap;
use std::error::Error;

use bytes::{BufMut, BytesMut};
use foldhash::fast::RandomState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::ENTRY_BYTES;

const DAY_MICROS: i64 = 86_400_000_000;

/// Texts that come again and again, by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, usize, RandomState>,
    bytes: usize,
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(name.into(), number);
        self.bytes += name.len() + ENTRY_BYTES;
        number
    }

    pub(super) fn by_number(&self) -> Vec<&str> {
        let mut names = vec![""; self.numbers.len()];
        for (name, number) in &self.numbers {
            names[*number] = name;
        }
        names
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The texts of what was gathered, by number.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    pub(super) viewers: Vec<&'a str>,
    pub(super) sessions: Vec<&'a str>,
    pub(super) contents: Vec<&'a str>,
    pub(super) items: Vec<&'a str>,
}

/// Where a row lies in its table: its `ctid`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place([u8; 6]);

/// A moment, in microseconds from 2000 on, with an infinity at each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

/// A date, in days from the first of 2000 on, with an infinity at each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Day(i32);

impl Day {
    /// Days from the first of 2000 on.
    pub(super) fn number(self) -> i32 {
        self.0
    }
}

impl Moment {
    /// Its UTC day.
    pub(super) fn day(self) -> Day {
        match self.0 {
            i64::MIN => Day(i32::MIN),
            i64::MAX => Day(i32::MAX),
            micros => Day(i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX)),
        }
    }
}

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for Moment {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl ToSql for Day {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(self.0);
        Ok(IsNull::No)
    }

    accepts!(DATE);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Place {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(TID);
}

impl ToSql for Place {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(TID);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_2000_is_of_its_own_day_and_infinity_of_infinity() {
        assert_eq!(Moment(0).day(), Day(0));
        assert_eq!(Moment(-1).day(), Day(-1));
        assert_eq!(Moment(DAY_MICROS - 1).day(), Day(0));
        assert_eq!(Moment(i64::MAX).day(), Day(i32::MAX));
        assert_eq!(Moment(i64::MIN).day(), Day(i32::MIN));
    }
}
