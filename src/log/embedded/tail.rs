//! The end of the log: the segment that is written to, the next one, and the oldest, which goes to make room.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::folder::{Folder, LogFile};
use super::format::{Key, SegmentHeader, body_at, file_name, frame_bytes};
use super::state::{Segment, Shared};
use super::trouble::Trouble;

/// A disk that refuses is not asked again sooner.
const PAUSE: Duration = Duration::from_millis(100);
/// A segment on a disk that has no room for a usual one: more than the longest record.
const SMALL_SEGMENT_BYTES: u64 = 1 << 20;

/// What happens when a sync fails. Where it comes back, nothing is written any more.
pub(super) type OnSyncFailed = Box<dyn Fn(&io::Error) + Send>;

/// The segment that is written to.
struct Active {
    file: Arc<dyn LogFile>,
    key: Key,
    /// Where the next group begins.
    position: u64,
    /// What is reserved for it.
    limit: u64,
}

/// Where a record goes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Where its group begins in the segment.
    pub(super) group: u64,
    pub(super) key: Key,
}

/// Why there is no place for a record.
pub(super) enum NoPlace {
    /// The group before it must be written first.
    InThisGroup,
    /// The log is full of what is not loaded.
    Full,
    Disk(Arc<io::Error>),
}

/// The end of the log.
pub(super) struct Tail {
    folder: Arc<dyn Folder>,
    shared: Arc<Shared>,
    on_sync_failed: OnSyncFailed,
    segment_bytes: u64,
    last_number: u64,
    /// Where the frames of a segment begin.
    body_at: u64,
    active: Option<Active>,
    /// When the disk refused last, and why, unless it has taken something since.
    refused: Option<(Instant, Arc<io::Error>)>,
    /// A sync has failed.
    dead: bool,
}

impl Tail {
    pub(super) fn new(
        folder: Arc<dyn Folder>,
        shared: Arc<Shared>,
        segment_bytes: u64,
        last_number: u64,
        on_sync_failed: OnSyncFailed,
    ) -> Self {
        let body_at = body_at(shared.lock().partitions());
        let (active, refused, dead) = (None, None, false);
        Self { folder, shared, on_sync_failed, segment_bytes, last_number, body_at, active, refused, dead }
    }

    /// Goes on with the last segment, which is empty.
    pub(super) fn adopt(&mut self, file: Arc<dyn LogFile>) {
        let key = self.shared.lock().segments.back().and_then(|last| last.key);
        let limit = self.segment_bytes;
        match (key, file.reserve(limit.max(self.body_at))) {
            (Some(key), Ok(())) => self.active = Some(Active { file, key, position: self.body_at, limit }),
            (None, _) => {}
            (_, Err(error)) => drop(self.refuse(error)),
        }
    }

    /// Begins a segment if none is open, so that what went before it is on record.
    pub(super) fn begin(&mut self) {
        if self.active.is_none() && !self.dead {
            // A disk that refuses is said, and asked again.
            let _later = self.make();
        }
    }

    /// Whether the disk refuses for now.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some() && !self.dead
    }

    /// The place of a record in the group of which so many bytes are gathered.
    pub(super) fn place(&mut self, payload: usize, gathered: u64) -> Result<Place, NoPlace> {
        let bytes = frame_bytes(payload);
        loop {
            let active = self.active()?;
            let (place, limit) = (Place { group: active.position, key: active.key }, active.limit);
            let used = place.group + gathered;
            // A segment takes at least one record, however long.
            let segment_is_full = used > self.body_at && used + bytes > limit;
            let extra = if segment_is_full { self.body_at } else { 0 };
            let has_room = self.make_room(gathered + bytes + extra);
            match (segment_is_full, has_room) {
                (false, true) => return Ok(place),
                (true, _) | (_, false) if gathered > 0 => return Err(NoPlace::InThisGroup),
                (true, true) => self.seal(),
                // Where all is loaded, the segment that is written to goes, too.
                (_, false) if used > self.body_at && self.shared.lock().is_all_loaded() => self.seal(),
                (_, false) => return Err(NoPlace::Full),
            }
        }
    }

    /// Writes a group and syncs it. Gives back where it ends.
    pub(super) fn write(&mut self, group: &[u8]) -> Result<u64, Arc<io::Error>> {
        let written = match &self.active {
            Some(active) => active.file.write_all_at(group, active.position),
            None => Err(io::Error::other("no segment is open")),
        };
        let synced = written.and_then(|()| {
            let synced = self.active.as_ref().map_or(Ok(()), |active| sync(&*active.file));
            synced.map_err(|error| self.sync_failed(error))
        });
        match (synced, &mut self.active) {
            (Ok(()), Some(active)) => {
                active.position += group.len() as u64;
                Ok(active.position)
            }
            (outcome, _) => {
                self.seal();
                let error = outcome.err().unwrap_or_else(|| io::Error::other("no segment is open"));
                Err(self.refuse(error))
            }
        }
    }

    /// What is loaded goes until the log is within its limit.
    pub(super) fn trim(&mut self) {
        let wanted = self.shared.lock().no_room_for.unwrap_or(0);
        self.make_room_for(wanted);
    }

    /// The next process finds a segment that says how this one ended.
    pub(super) fn close(&mut self) {
        if self.active.as_ref().is_some_and(|active| active.position > self.body_at) {
            self.seal();
            self.begin();
        }
        self.seal();
    }

    /// Makes sure of so many bytes below the limit, and remembers when there are none.
    fn make_room(&mut self, bytes: u64) -> bool {
        let has_room = self.make_room_for(bytes);
        self.shared.lock().no_room_for = (!has_room).then_some(bytes);
        has_room
    }

    fn make_room_for(&mut self, bytes: u64) -> bool {
        loop {
            let mut state = self.shared.lock();
            let is_empty = state.segments.len() == 1 && state.bytes() <= self.body_at;
            if is_empty || state.bytes() + bytes <= state.retention_bytes {
                return true;
            }
            let Some(oldest) = state.take_oldest_loaded() else { return false };
            drop(state);
            self.remove(&oldest);
        }
    }

    /// Nothing reads the segment any more but those who have it open.
    fn remove(&mut self, segment: &Segment) {
        self.shared.ring();
        if let Err(error) = self.folder.remove(&file_name(segment.number)) {
            tracing::error!(error = %error, segment = segment.number, "an old segment of the log could not be removed");
        } else if let Err(error) = self.folder.sync() {
            let _dead = self.sync_failed(error);
        }
    }

    /// The segment to write to; a new one where there is none.
    fn active(&mut self) -> Result<&Active, NoPlace> {
        if self.active.is_none() {
            match &self.refused {
                Some((since, error)) if self.dead || since.elapsed() < PAUSE => {
                    return Err(NoPlace::Disk(Arc::clone(error)));
                }
                _ => self.make().map_err(NoPlace::Disk)?,
            }
        }
        self.active.as_ref().ok_or(NoPlace::InThisGroup)
    }

    /// Begins a segment.
    fn make(&mut self) -> Result<(), Arc<io::Error>> {
        let mut limit = self.segment_bytes;
        loop {
            let error = match self.try_make(limit) {
                Ok(active) => {
                    self.active = Some(active);
                    if self.refused.take().is_some() {
                        tracing::info!("the log can be written again");
                        self.shared.lock().trouble = None;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if !is_full(&error) || self.dead {
                return Err(self.refuse(error));
            }
            // On a disk smaller than the log may be, what is loaded makes room. The last segment never does, for it says
            // where the next one begins: behind a small one it may go.
            let oldest = self.shared.lock().take_oldest_loaded();
            match oldest {
                Some(oldest) => self.remove(&oldest),
                None if limit > SMALL_SEGMENT_BYTES => limit = SMALL_SEGMENT_BYTES,
                None => return Err(self.refuse(error)),
            }
        }
    }

    fn try_make(&mut self, limit: u64) -> io::Result<Active> {
        let state = self.shared.lock();
        let header = SegmentHeader {
            number: self.last_number + 1,
            key: Key::draw(),
            previous_end: state.segments.back().map_or(0, |last| last.end),
            first: state.next.clone(),
        };
        drop(state);
        let name = file_name(header.number);
        let file = self.folder.create(&name)?;
        let front = header.encode();
        let reserved = file.reserve(limit.max(self.body_at));
        if let Err(error) = reserved.and_then(|()| file.write_all_at(&front, 0)) {
            // Left behind it would be made anew all the same.
            let _best_effort = self.folder.remove(&name);
            return Err(error);
        }
        let synced = file.sync().and_then(|()| self.folder.sync());
        synced.map_err(|error| self.sync_failed(error))?;
        self.last_number = header.number;
        let segment = Segment::new(header.number, Some(header.key), &header.first, self.body_at);
        self.shared.lock().segments.push_back(segment);
        self.shared.ring();
        Ok(Active { file, key: header.key, position: self.body_at, limit })
    }

    /// The segment ends where its last group does. What a failed write left behind that, the next header declares void.
    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            let _best_effort = active.file.truncate(active.position);
            if let Some(segment) = self.shared.lock().segments.back_mut() {
                segment.seal();
            }
        }
    }

    fn refuse(&mut self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        if self.refused.is_none() {
            tracing::error!(error = %error, "the log cannot be written");
        }
        self.refused = Some((Instant::now(), Arc::clone(&error)));
        self.shared.lock().trouble = Some(Trouble::Disk(Arc::clone(&error)));
        error
    }

    fn sync_failed(&mut self, error: io::Error) -> io::Error {
        (self.on_sync_failed)(&error);
        self.dead = true;
        error
    }
}

/// What was acknowledged has to be found by the next process.
fn sync(file: &dyn LogFile) -> io::Result<()> {
    file.sync()?;
    match file.is_removed()? {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "its file was removed")),
        false => Ok(()),
    }
}

/// Whether the disk, or what we may use of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
