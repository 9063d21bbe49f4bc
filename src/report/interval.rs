//! Intervals of a video: `int4range`, and lists and sets of it.

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

    /// With what is in any of these, too, which it puts in order; and what that is more.
    pub(super) fn and(&self, spans: &mut [Span]) -> (Self, Vec<Span>) {
        let more = Self::of(spans);
        if self.0.is_empty() {
            let gained = more.0.clone();
            return (more, gained);
        }
        let mut all = [self.0.as_slice(), &more.0].concat();
        let union = Self::of(&mut all);
        let gained = union.without(self);
        (union, gained)
    }

    /// But for what is in another one, each part of which is in a part of this one.
    fn without(&self, other: &Self) -> Vec<Span> {
        let mut left = Vec::new();
        let mut others = other.0.iter().copied().peekable();
        for (mut from, to) in self.0.iter().copied() {
            while let Some((other_from, other_to)) = others.next_if(|(_, other_to)| *other_to <= to) {
                left.extend((from < other_from).then_some((from, other_from)));
                from = other_to;
            }
            left.extend((from < to).then_some((from, to)));
        }
        left
    }
}

impl<'a> FromSql<'a> for Union {
    fn from_sql(_: &Type, mut raw: &'a [u8]) -> Result<Self, Failure> {
        let mut spans = Vec::with_capacity(usize::try_from(raw.try_get_i32()?)?.min(raw.len()));
        while raw.has_remaining() {
            let length = usize::try_from(raw.try_get_i32()?)?;
            let (span, rest) = raw.split_at_checked(length).ok_or("a set of intervals that ends early")?;
            spans.extend(Interval::from_sql(&Type::INT4_RANGE, span)?.0);
            raw = rest;
        }
        Ok(Self(spans))
    }

    accepts!(INT4MULTI_RANGE);
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
    fn what_a_union_gains_is_what_it_did_not_have() {
        let old = Union(vec![(2, 4), (6, 8), (20, 30)]);
        for (new, union, gained) in [
            (vec![(0, 10)], vec![(0, 10), (20, 30)], vec![(0, 2), (4, 6), (8, 10)]),
            (vec![(3, 7)], vec![(2, 8), (20, 30)], vec![(4, 6)]),
            (vec![(20, 30), (21, 22)], vec![(2, 4), (6, 8), (20, 30)], vec![]),
            (vec![(25, 35), (10, 12)], vec![(2, 4), (6, 8), (10, 12), (20, 35)], vec![(10, 12), (30, 35)]),
            (vec![(8, 20)], vec![(2, 4), (6, 30)], vec![(8, 20)]),
            (vec![], vec![(2, 4), (6, 8), (20, 30)], vec![]),
        ] {
            assert_eq!(old.and(&mut new.clone()), (Union(union), gained), "{new:?}");
        }
        assert_eq!(Union::default().and(&mut [(1, 2)]), (Union(vec![(1, 2)]), vec![(1, 2)]));
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
