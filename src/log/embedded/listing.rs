//! Which segments a folder holds, by their names and headers.

use std::io;

use super::folder::{Folder, LogFile, Patience, read_around_bad_places, read_full};
use super::format::{MAX_PARTITIONS, NoHeader, SegmentHeader, as_index, body_at, file_name, number_of};
use super::open::OpenError;

/// Read at a time where bytes are only looked at.
const PIECE: usize = 1 << 20;

/// A segment's file, before its frames are read.
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) length: u64,
    pub(super) header: Option<SegmentHeader>,
    /// How many copies of it are whole.
    pub(super) copies: usize,
}

/// All segments by number.
pub(super) struct Listing {
    pub(super) segments: Vec<Listed>,
    /// One more at the end whose making a crash cut short.
    pub(super) never_begun: Option<NeverBegun>,
}

/// A file that was to be the next segment.
pub(super) struct NeverBegun {
    pub(super) file: String,
    /// Bytes of its header that were written.
    pub(super) written: u64,
}

impl Listing {
    /// The segments in this folder.
    pub(super) fn of(folder: &dyn Folder, partitions: usize) -> Result<Self, OpenError> {
        let numbers = numbers(folder)?;
        let mut segments = Vec::with_capacity(numbers.len());
        for number in numbers {
            let segment = look_at(folder, number, partitions)?;
            if let Some(found) = segment.header.as_ref().filter(|found| found.first.len() != partitions) {
                return Err(OpenError::Partitions { found: found.first.len(), asked: partitions });
            }
            segments.push(segment);
        }
        let mut never_begun = None;
        if let Some(last) = segments.last().filter(|last| last.header.is_none()) {
            let name = file_name(last.number);
            let reading = |source| OpenError::reading(&name, source);
            let file = folder.open(&name).map_err(reading)?;
            let written = last_written(&*file, 0, last.length).map_err(reading)?.map_or(0, |at| at + 1);
            // Frames are written once the header is durable. So there never was any.
            if written <= body_at(partitions) && (last.number == 1 || segments.len() > 1) {
                segments.pop();
                never_begun = Some(NeverBegun { file: name, written });
            }
        }
        Ok(Self { segments, never_begun })
    }
}

/// How many partitions the log was made with, as the first header tells that can be read; `None`: there is no log.
pub(super) fn partitions_of(folder: &dyn Folder) -> Result<Option<usize>, OpenError> {
    let numbers = numbers(folder)?;
    for number in &numbers {
        // A header of more partitions is read as far as it goes.
        if let Some(header) = look_at(folder, *number, 1)?.header {
            return Ok(Some(header.first.len()));
        }
    }
    numbers.first().map_or(Ok(None), |oldest| Err(OpenError::Unreadable { file: file_name(*oldest) }))
}

fn numbers(folder: &dyn Folder) -> Result<Vec<u64>, OpenError> {
    let names = folder.names().map_err(|source| OpenError::reading("the folder", source))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn look_at(folder: &dyn Folder, number: u64, partitions: usize) -> Result<Listed, OpenError> {
    let name = file_name(number);
    let reading = |source| OpenError::reading(&name, source);
    let file = folder.open(&name).map_err(reading)?;
    let length = file.length().map_err(reading)?;
    let mut patience = Patience::default();
    let mut front = vec![0; as_index(body_at(partitions))];
    let read = read_around_bad_places(&*file, &mut front, 0, &mut patience).map_err(reading)?;
    front.truncate(read);
    // A header of more partitions than are asked for is longer than what was read.
    if let Some(count) = front.get(12..16).and_then(<[u8]>::first_chunk).map(|four| u32::from_le_bytes(*four))
    {
        let count = as_index(u64::from(count));
        if count > partitions && count <= MAX_PARTITIONS {
            front.resize(as_index(body_at(count)), 0);
            let read = read_around_bad_places(&*file, &mut front, 0, &mut patience).map_err(reading)?;
            front.truncate(read);
        }
    }
    let mut header = None;
    let mut copies = 0;
    for copy in [&front[..], SegmentHeader::second_copy(partitions, &front)] {
        match SegmentHeader::decode(copy) {
            Ok(found) if found.number == number => {
                copies += 1;
                header = header.or(Some(found));
            }
            Ok(_) | Err(NoHeader::Damaged) => {}
            Err(NoHeader::OtherVersion) => return Err(OpenError::Version { file: name }),
        }
    }
    Ok(Listed { number, length, header, copies })
}

/// The last byte in this stretch that is not 0, and everything before it: what was written there.
pub(super) fn last_written(file: &dyn LogFile, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    let mut last = None;
    let mut at = from;
    while at < to {
        let wanted = as_index(to - at).min(PIECE);
        let read = read_full(file, &mut piece[..wanted], at)?;
        if read == 0 {
            break;
        }
        if let Some(place) = piece[..read].iter().rposition(|byte| *byte != 0) {
            last = Some(at + place as u64);
        }
        at += read as u64;
    }
    Ok(last)
}
