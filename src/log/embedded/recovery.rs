//! Reads the whole log when it is opened: what is there, what a crash cut off, and what is damaged. It changes nothing:
//! what a crash left behind and is to go is said, for who opens the log to be written to.
//!
//! Offsets are dense, and each segment says with which it begins. So whatever became of the bytes, a record that is
//! missing shows as soon as anything behind it can be read. What remains is the end of the last segment. A group is
//! written once the one before it is synced: wherever a frame names the group it is of, all before that group was
//! acknowledged, and what is unreadable there is damage. From the last such group on, what is unreadable was cut off by a
//! crash before it was acknowledged, and it is dropped with all that follows it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::folder::{Folder, LogFile};
use super::format::{FRAME_HEAD, Key, MAX_OFFSET, body_at, file_name};
use super::gaps::{Damage, Gaps};
use super::listing::{Listed, Listing, NeverBegun, last_written};
use super::open::OpenError;
use super::scan::{BadPlace, Found, Scan};
use super::state::Segment;
use super::{FoundDamage, Torn, partition_id};

/// What was found.
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    pub(super) next: Vec<i64>,
    pub(super) damage: Gaps,
    pub(super) found: Vec<FoundDamage>,
    pub(super) torn: Option<Torn>,
    /// The last segment where it holds no frame: the next one need not be made.
    pub(super) empty: Option<Arc<dyn LogFile>>,
    /// The greatest number of a segment so far.
    pub(super) last_number: u64,
    pub(super) leftovers: Leftovers,
}

/// What a crash left in the folder of what was never acknowledged.
#[derive(Default)]
pub(super) struct Leftovers {
    /// The file of a segment that was never begun.
    never_begun: Option<String>,
    /// The last segment, its name, and where in it nothing more is of the log, if anything is there.
    tail: Option<(String, Arc<dyn LogFile>, Option<u64>)>,
}

impl Leftovers {
    /// Takes them away, and makes what is left durable: who wrote it may have been killed before it was.
    pub(super) fn remove(self, folder: &dyn Folder) -> Result<(), OpenError> {
        if let Some(name) = self.never_begun {
            folder.remove(&name).map_err(|source| OpenError::reading(&name, source))?;
        }
        if let Some((name, file, end)) = self.tail {
            let cut = end.map_or(Ok(()), |end| file.truncate(end)).and_then(|()| file.sync());
            cut.map_err(|source| OpenError::reading(&name, source))?;
        }
        folder.sync().map_err(|source| OpenError::reading("the folder", source))
    }
}

/// Reads the log in this folder.
pub(super) fn recover(folder: &dyn Folder, partitions: usize) -> Result<Recovered, OpenError> {
    let Listing { segments, never_begun } = Listing::of(folder, partitions)?;
    let mut recovery = Recovery::begin(folder, partitions, &segments)?;
    if let Some(NeverBegun { file, written }) = never_begun {
        recovery.done.torn =
            (written > 0).then(|| Torn { file: file.clone(), position: 0, bytes: written, records: 0 });
        recovery.done.leftovers.never_begun = Some(file);
    }
    for (at, segment) in segments.iter().enumerate() {
        recovery.read(segment, segments.get(at + 1))?;
    }
    Ok(recovery.done)
}

struct Recovery<'a> {
    folder: &'a dyn Folder,
    done: Recovered,
}

impl<'a> Recovery<'a> {
    /// Where each partition begins.
    fn begin(folder: &'a dyn Folder, partitions: usize, listed: &[Listed]) -> Result<Self, OpenError> {
        let oldest = listed.first().map_or(1, |first| first.number);
        let readable = listed.iter().find_map(|segment| segment.header.as_ref());
        let next = match readable {
            // Where the very first segment is there, all from offset 0 on was written to this folder.
            _ if oldest == 1 && (readable.is_some() || listed.is_empty()) => vec![0; partitions],
            Some(header) => header.first.clone(),
            None => return Err(OpenError::Unreadable { file: file_name(oldest) }),
        };
        let done = Recovered {
            segments: VecDeque::new(),
            next,
            damage: Gaps::default(),
            found: Vec::new(),
            torn: None,
            empty: None,
            last_number: listed.last().map_or(0, |last| last.number),
            leftovers: Leftovers::default(),
        };
        Ok(Self { folder, done })
    }

    /// Reads one segment. What follows it says where it ended.
    fn read(&mut self, listed: &Listed, behind: Option<&Listed>) -> Result<(), OpenError> {
        let name = file_name(listed.number);
        let reading = |source| OpenError::reading(&name, source);
        let Some(header) = &listed.header else {
            self.read_headless(listed, behind);
            return Ok(());
        };
        for partition in 0..self.done.next.len() {
            if header.first[partition] < self.done.next[partition] {
                return Err(OpenError::Mixed { file: name });
            }
            // The records before this segment end where it says that they do.
            self.pass_to(partition, header.first[partition], &name, 0);
        }
        let file = self.folder.open(&name).map_err(reading)?;
        let end = match behind.and_then(|behind| Some((behind.number, behind.header.as_ref()?))) {
            Some((number, header)) if number == listed.number + 1 => header.previous_end.min(listed.length),
            _ => listed.length,
        };
        let mut segment = Segment::new(listed.number, Some(header.key), &self.done.next, end);
        let begin = body_at(self.done.next.len()).min(end);
        match behind {
            Some(_) => self.read_sealed(&file, header.key, &mut segment, begin).map_err(reading)?,
            None => {
                self.read_last(&file, header.key, &mut segment, begin).map_err(reading)?;
                if segment.end == begin && listed.copies == 2 {
                    self.done.empty = Some(file);
                }
            }
        }
        if self.done.empty.is_none() {
            segment.seal();
        }
        self.done.segments.push_back(segment);
        Ok(())
    }

    /// A segment without a header: all that it held is lost. The next one's header says what that was.
    fn read_headless(&mut self, listed: &Listed, behind: Option<&Listed>) {
        self.done.segments.push_back(Segment::new(listed.number, None, &self.done.next, listed.length));
        if behind.is_none() {
            let most = most_frames(body_at(self.done.next.len()), listed.length);
            for partition in 0..self.done.next.len() {
                self.give_up(partition, most, &file_name(listed.number), 0);
            }
        }
    }

    fn read_sealed(
        &mut self,
        file: &Arc<dyn LogFile>,
        key: Key,
        segment: &mut Segment,
        begin: u64,
    ) -> io::Result<()> {
        let mut scan = Scan::new(Arc::clone(file), key, self.done.next.len(), begin, segment.end);
        let name = file_name(segment.number);
        while let Some(found) = scan.step()? {
            if let Found::Frame { position, head } = found {
                let whole = scan.payload(position, &head)?.is_some();
                self.take(segment, &name, position, (head.partition as usize, head.offset), whole);
            }
        }
        Ok(())
    }

    fn read_last(
        &mut self,
        file: &Arc<dyn LogFile>,
        key: Key,
        segment: &mut Segment,
        begin: u64,
    ) -> io::Result<()> {
        let partitions = self.done.next.len();
        let length = segment.end;
        // What a bad place at the end held may have been acknowledged, and is not dropped for it.
        let walk = |from: u64| {
            Scan::new(Arc::clone(file), key, partitions, from, length).with_bad_places(BadPlace::Error)
        };
        let acknowledged = last_group(&mut walk(begin))?.unwrap_or(begin);
        let name = file_name(segment.number);
        let mut lost = Lost { stretches: Vec::new(), seen_at: vec![0; partitions] };
        let mut scan = walk(begin);
        let mut end = begin;
        while let Some(found) = scan.step()? {
            match found {
                Found::Unreadable { from, .. } if from >= acknowledged => break,
                Found::Unreadable { from, to } => lost.stretches.push((from, to)),
                Found::Frame { position, head } => {
                    let whole = scan.payload(position, &head)?.is_some();
                    if !whole && position >= acknowledged {
                        break;
                    }
                    let partition = head.partition as usize;
                    lost.seen_at[partition] = position;
                    self.take(segment, &name, position, (partition, head.offset), whole);
                }
            }
            end = scan.position();
        }
        for partition in 0..partitions {
            if let Some((at, most)) = lost.of(partition) {
                self.give_up(partition, most, &name, at);
            }
        }
        self.leave_tail(file, &mut walk(end), segment, end)
    }

    /// Nothing from here on was acknowledged.
    fn leave_tail(
        &mut self,
        file: &Arc<dyn LogFile>,
        scan: &mut Scan,
        segment: &mut Segment,
        end: u64,
    ) -> io::Result<()> {
        let length = segment.end;
        segment.end = end;
        if let Some(last) = last_written(&**file, end, length)? {
            let mut records = 0;
            while let Some(found) = scan.step()? {
                records += u64::from(matches!(found, Found::Frame { .. }));
            }
            self.done.torn =
                Some(Torn { file: file_name(segment.number), position: end, bytes: last + 1 - end, records });
        }
        let cut = (length != end).then_some(end);
        self.done.leftovers.tail = Some((file_name(segment.number), Arc::clone(file), cut));
        Ok(())
    }

    /// A frame of this record stands here; its payload is whole, or not.
    fn take(
        &mut self,
        segment: &mut Segment,
        name: &str,
        position: u64,
        (partition, offset): (usize, i64),
        whole: bool,
    ) {
        let expected = self.done.next[partition];
        // Not one of this log's own making: what should be there instead is missing, and shows.
        if offset < expected {
            return;
        }
        self.pass_to(partition, offset, name, position);
        segment.note(partition, offset, position);
        match whole {
            true => self.done.next[partition] = offset + 1,
            false => self.pass_to(partition, offset + 1, name, position),
        }
    }

    /// So many records of the partition may have been there.
    fn give_up(&mut self, partition: usize, most: i64, file: &str, position: u64) {
        let to = (self.done.next[partition] + most).min(MAX_OFFSET);
        self.pass_to(partition, to, file, position);
    }

    /// The partition goes on with this offset; what lies before it is damaged.
    fn pass_to(&mut self, partition: usize, offset: i64, file: &str, position: u64) {
        let from = self.done.next[partition];
        if from < offset {
            let damage = Damage { from, to: offset };
            self.done.damage.add(partition, damage);
            let partition = partition_id(partition);
            self.done.found.push(FoundDamage { partition, damage, file: file.to_owned(), position });
        }
        self.done.next[partition] = offset;
    }
}

/// Unreadable stretches of the last segment that had been synced, and where each partition was seen last.
struct Lost {
    stretches: Vec<(u64, u64)>,
    seen_at: Vec<u64>,
}

impl Lost {
    /// How many records of the partition they may have held of which nothing further on tells, and where.
    fn of(&self, partition: usize) -> Option<(u64, i64)> {
        let behind = self.stretches.iter().filter(|(from, _)| *from > self.seen_at[partition]);
        let mut untold = behind.map(|(from, to)| (*from, most_frames(*from, *to)));
        let (at, first) = untold.next()?;
        Some((at, first + untold.map(|(_, most)| most).sum::<i64>()))
    }
}

/// How many frames these bytes may have held.
fn most_frames(from: u64, to: u64) -> i64 {
    i64::try_from(to.saturating_sub(from).div_ceil(FRAME_HEAD as u64)).unwrap_or(MAX_OFFSET)
}

/// Where the last group begins that any frame names.
fn last_group(scan: &mut Scan) -> io::Result<Option<u64>> {
    let mut last = None;
    while let Some(found) = scan.step()? {
        if let Found::Frame { head, .. } = found {
            last = last.max(Some(u64::from(head.group)));
        }
    }
    Ok(last)
}
