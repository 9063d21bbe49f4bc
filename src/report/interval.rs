//! Intervals of a video on the wire: `int4range`, and lists and sets of it.

use std::error::Error;

use bytes::{Buf, BufMut, BytesMut};
use postgres_protocol::types::{self as wire, Range, RangeBound};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

type Failure = Box<dyn Error + Sync + Send>;

/// From a millisecond of the video up to another.
pub(super) type Span = (i32, i32);

/// An `int4range`; `None`: it is empty or has no bounds, as none of intake's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval(pub(super) Option<Span>);

impl<'a> FromSql<'a> for Interval {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let Range::Nonempty(RangeBound::Inclusive(Some(from)), RangeBound::Exclusive(Some(to))) =
            wire::range_from_sql(raw)?
        else {
            return Ok(Self(None));
        };
        Ok(Self(Some((wire::int4_from_sql(from)?, wire::int4_from_sql(to)?))))
    }

    accepts!(INT4_RANGE);
}

/// All intervals of an `int4range[]`, whatever its dimensions: a hand may have written several.
#[derive(Clone, Debug)]
pub(super) struct Intervals(pub(super) Vec<Span>);

impl<'a> FromSql<'a> for Intervals {
    fn from_sql(_: &Type, mut raw: &'a [u8]) -> Result<Self, Failure> {
        let dimensions = usize::try_from(raw.try_get_i32()?)?;
        // Whether there are NULLs, and the type; then each dimension's length and lower bound.
        raw = raw.get(8 + 8 * dimensions..).ok_or("an array without its dimensions")?;
        let mut intervals = Vec::new();
        while raw.has_remaining() {
            // -1: NULL.
            let Ok(length) = usize::try_from(raw.try_get_i32()?) else { continue };
            let (interval, rest) = raw.split_at_checked(length).ok_or("an array that ends early")?;
            intervals.extend(Interval::from_sql(&Type::INT4_RANGE, interval)?.0);
            raw = rest;
        }
        Ok(Self(intervals))
    }

    accepts!(INT4_RANGE_ARRAY);
}

/// An `int4multirange`: intervals in order, no two of which meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Union(Vec<Span>);

impl Union {
    /// What is in any of these, which it puts in order.
    pub(super) fn of(spans: &mut [Span]) -> Self {
        spans.sort_unstable();
        let mut union: Vec<Span> = Vec::new();
        for (from, to) in spans.iter().copied() {
            match union.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => union.push((from, to)),
            }
        }
        Self(union)
    }
}

/// An `int4range` with both bounds, the lower one inclusive (`rangetypes.h`).
const LOWER_INCLUSIVE: u8 = 0x02;
/// Its bytes: flags, and two numbers with their lengths.
const SPAN_BYTES: i32 = 17;

impl ToSql for Union {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.put_i32(i32::try_from(self.0.len())?);
        for (from, to) in self.0.iter().copied() {
            out.put_i32(SPAN_BYTES);
            out.put_u8(LOWER_INCLUSIVE);
            for bound in [from, to] {
                out.put_i32(4);
                out.put_i32(bound);
            }
        }
        Ok(IsNull::No)
    }

    accepts!(INT4MULTI_RANGE);
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_is_in_order_and_what_meets_is_one() {
        let union = |spans: &[Span]| Union::of(&mut spans.to_vec()).0;
        assert_eq!(union(&[(5, 9), (0, 2), (2, 4)]), [(0, 4), (5, 9)]);
        assert_eq!(union(&[(0, 9), (1, 2), (3, 10)]), [(0, 10)]);
        assert_eq!(union(&[]), []);
    }

    #[test]
    fn an_array_that_ends_early_is_an_error() {
        let array = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 15, 64, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 17, 2];
        for end in 0..array.len() {
            let parsed = Intervals::from_sql(&Type::INT4_RANGE_ARRAY, &array[..end]);
            assert!(end == 20 || parsed.is_err(), "{end} bytes");
        }
    }
}
