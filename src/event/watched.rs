//! The media intervals that were played since the session's last event that carried some.

use super::RefusalCode::BadWatched;
use super::fault::Fault;
use super::number::whole;
use super::table::TWO_DAYS_MS;
use super::value::Value;
use super::wire::Malformed;
use super::{json, protobuf};

const MAX_INTERVALS: usize = 64;

/// Reads a list of `[start_ms, end_ms]`. Empty intervals are dropped; order and overlaps stay, for watching again counts.
pub(super) fn watched(value: Value<'_>) -> Result<Vec<(u32, u32)>, Fault> {
    match value {
        Value::List(list) => {
            // `[[1,2]` is the least that an interval takes.
            let mut intervals = Vec::with_capacity((list.len() / 6).min(MAX_INTERVALS));
            for (index, interval) in json::elements(list).enumerate() {
                push(&mut intervals, index, bounds(interval))?;
            }
            Ok(intervals)
        }
        Value::Intervals(message) => {
            let mut intervals = Vec::new();
            for (index, interval) in protobuf::intervals(message).enumerate() {
                let interval = interval.map_err(|Malformed| Fault::kind("an interval"));
                push(&mut intervals, index, interval.and_then(|(start, end)| whole_bounds(start, end)))?;
            }
            Ok(intervals)
        }
        _ => Err(Fault::new(BadWatched, "must be a list of [start_ms, end_ms]")),
    }
}

fn push(
    intervals: &mut Vec<(u32, u32)>,
    index: usize,
    interval: Result<(u32, u32), Fault>,
) -> Result<(), Fault> {
    if index >= MAX_INTERVALS {
        return Err(Fault::new(BadWatched, format!("has more than {MAX_INTERVALS} intervals, the limit")));
    }
    let (start, end) =
        interval.and_then(in_order).map_err(|fault| fault.filed_under(BadWatched).at(&index.to_string()))?;
    if start < end {
        intervals.push((start, end));
    }
    Ok(())
}

fn in_order((start, end): (u32, u32)) -> Result<(u32, u32), Fault> {
    if start <= end {
        Ok((start, end))
    } else {
        Err(Fault::new(BadWatched, format!("starts at {start} and ends before, at {end}")))
    }
}

fn bounds(interval: Value<'_>) -> Result<(u32, u32), Fault> {
    let not_a_pair = || Fault::kind("[start_ms, end_ms]");
    let Value::List(list) = interval else { return Err(not_a_pair()) };
    let mut elements = json::elements(list);
    match (elements.next(), elements.next(), elements.next()) {
        (Some(start), Some(end), None) => whole_bounds(start, end),
        _ => Err(not_a_pair()),
    }
}

fn whole_bounds(start: Value<'_>, end: Value<'_>) -> Result<(u32, u32), Fault> {
    Ok((whole(start, 0, TWO_DAYS_MS)?, whole(end, 0, TWO_DAYS_MS)?))
}
