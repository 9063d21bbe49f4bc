//! What the operator's listener tells of this process's own log, for `audit` and `status` of another process: where
//! partitions begin and end, and of each record whose it is and which events it holds. Nothing that they say.

use hyper::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::{LocalLog, Scanner};
use crate::log::record::outline;
use crate::log::{Go, PartitionEnds, ScanError, Stretch};

/// Where partitions begin and end.
pub(super) const ENDS: &str = "/log";
/// The outlines of a partition's records, a part at a time.
pub(super) const RECORDS: &str = "/log/records";
/// A part is over when it is as large as this.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// A partition as [`ENDS`] tells it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Partition {
    pub(super) partition: i32,
    pub(super) start: i64,
    pub(super) end: i64,
    /// From and to.
    pub(super) damaged: Vec<(i64, i64)>,
}

impl Partition {
    pub(super) fn ends(&self) -> PartitionEnds {
        PartitionEnds { start: self.start, end: self.end }
    }
}

/// How a part of [`RECORDS`] ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartEnd {
    /// There is more, from this offset on.
    More(i64),
    /// The whole stretch was read.
    Whole,
    /// The record at this offset is damaged.
    Damaged(i64),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Pages {
    log: LocalLog,
}

/// What is asked for in [`RECORDS`].
fn stretch_of(uri: &Uri) -> Option<Stretch> {
    let value = |name: &str| {
        let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
    };
    Some(Stretch {
        partition: value("partition")?.parse().ok()?,
        from: value("from")?.parse().ok()?,
        to: value("to")?.parse().ok()?,
    })
}

impl Pages {
    pub(in crate::log) fn new(log: &LocalLog) -> Self {
        Self { log: log.clone() }
    }

    /// Answers; `None`: the page is not one of these. Blocks: call it off the async threads.
    pub fn answer(&self, uri: &Uri) -> Option<(StatusCode, Vec<u8>)> {
        match uri.path() {
            ENDS => Some((StatusCode::OK, self.ends())),
            RECORDS => Some(match stretch_of(uri).map(|stretch| self.records(stretch)) {
                None => (StatusCode::BAD_REQUEST, b"asks for partition, from and to\n".to_vec()),
                Some(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string().into_bytes()),
                Some(Ok(part)) => (StatusCode::OK, part),
            }),
            _ => None,
        }
    }

    fn ends(&self) -> Vec<u8> {
        let mut damage = self.log.engine.damage();
        let all = (0..self.log.partitions()).filter_map(|partition| {
            let ends = self.log.ends_of(partition)?;
            let damaged = damage.remove(&partition).unwrap_or_default();
            let damaged = damaged.iter().map(|one| (one.from, one.to)).collect();
            Some(Partition { partition, start: ends.start, end: ends.end, damaged })
        });
        serde_json::to_vec(&all.collect::<Vec<_>>()).unwrap_or_default()
    }

    fn records(&self, stretch: Stretch) -> Result<Vec<u8>, ScanError> {
        Scanner::new(&self.log).ends_of(stretch.partition)?;
        let mut part = Vec::new();
        let mut end = PartEnd::Whole;
        let read = Scanner::new(&self.log).read_until(&[stretch], &mut |_, offset, bytes| {
            put(&mut part, offset, &outline(bytes));
            if part.len() < PART_BYTES {
                return Go::On;
            }
            end = PartEnd::More(offset + 1);
            Go::NoFurther
        });
        match read {
            Ok(()) => {}
            Err(ScanError::Damaged { offset, .. }) => end = PartEnd::Damaged(offset),
            Err(error) => return Err(error),
        }
        put_end(&mut part, end);
        Ok(part)
    }
}

/// An offset below 0 is no record but how the part ends.
fn put(part: &mut Vec<u8>, offset: i64, bytes: &[u8]) {
    part.extend_from_slice(&offset.to_le_bytes());
    part.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    part.extend_from_slice(bytes);
}

fn put_end(part: &mut Vec<u8>, end: PartEnd) {
    let (mark, offset) = match end {
        PartEnd::Whole => (-1, 0),
        PartEnd::More(offset) => (-2, offset),
        PartEnd::Damaged(offset) => (-3, offset),
    };
    put(part, mark, &offset.to_le_bytes());
}

/// Takes one record off the front, or the end of the part. `None`: these are not such bytes.
pub(super) fn take<'a>(part: &mut &'a [u8]) -> Option<Result<(i64, &'a [u8]), PartEnd>> {
    let (offset, rest) = part.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *part = rest;
    let told = || Some(i64::from_le_bytes(bytes.try_into().ok()?));
    match i64::from_le_bytes(*offset) {
        -1 => Some(Err(PartEnd::Whole)),
        -2 => Some(Err(PartEnd::More(told()?))),
        -3 => Some(Err(PartEnd::Damaged(told()?))),
        offset if offset < 0 => None,
        offset => Some(Ok((offset, bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_back_and_one_that_is_cut_off_is_none() {
        for end in [PartEnd::Whole, PartEnd::More(7), PartEnd::Damaged(9)] {
            let mut part = Vec::new();
            put(&mut part, 5, b"outline");
            put_end(&mut part, end);
            let mut rest = &part[..];
            assert_eq!(take(&mut rest), Some(Ok((5, &b"outline"[..]))));
            assert_eq!(take(&mut rest), Some(Err(end)));
            assert!(rest.is_empty());
            for cut in 0..part.len() {
                let mut rest = &part[..cut];
                while let Some(taken) = take(&mut rest) {
                    assert_eq!(taken, Ok((5, &b"outline"[..])), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_stretch_is_asked_for_with_three_numbers() {
        let of = |text: &str| stretch_of(&text.parse().expect("a URI"));
        assert_eq!(
            of("/log/records?partition=3&from=5&to=9"),
            Some(Stretch { partition: 3, from: 5, to: 9 })
        );
        for bad in ["/log/records", "/log/records?partition=3&from=5", "/log/records?partition=x&from=1&to=2"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
