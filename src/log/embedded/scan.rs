//! Reads a segment's frames in order, a piece of the file at a time, whatever its bytes are.

use std::io;
use std::sync::Arc;

use super::folder::{LogFile, Patience, read_around_bad_places, read_full};
use super::format::{ALIGNMENT, FRAME_HEAD, FrameHead, Key, aligned, as_index};

/// Read at a time, unless a frame is larger.
const PIECE: usize = 1 << 20;

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The head of a frame. Its payload has not been looked at.
    Frame { position: u64, head: FrameHead },
    /// Bytes up to the next frame, or to the limit, that are none.
    Unreadable { from: u64, to: u64 },
}

/// What a place is on which the disk fails (`EIO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPlace {
    /// Unreadable like any other damage: the walk goes on behind it.
    Damage,
    /// The walk's end, told as the disk's error.
    Error,
}

/// A walk over the frames of a segment.
pub(super) struct Scan {
    file: Arc<dyn LogFile>,
    key: Key,
    partitions: usize,
    /// Where the walk is.
    position: u64,
    /// Where it ends.
    limit: u64,
    bad_place: BadPlace,
    patience: Patience,
    piece: Vec<u8>,
    piece_at: u64,
    piece_bytes: usize,
}

impl Scan {
    /// A walk from `position`, where a frame begins, up to `limit`.
    pub(super) fn new(
        file: Arc<dyn LogFile>,
        key: Key,
        partitions: usize,
        position: u64,
        limit: u64,
    ) -> Self {
        let (bad_place, patience, piece) = (BadPlace::Damage, Patience::default(), Vec::new());
        Self {
            file,
            key,
            partitions,
            position,
            limit,
            bad_place,
            patience,
            piece,
            piece_at: 0,
            piece_bytes: 0,
        }
    }

    /// The same walk, with bad places being this.
    pub(super) fn with_bad_places(mut self, bad_place: BadPlace) -> Self {
        self.bad_place = bad_place;
        self
    }

    /// The walk goes on to here.
    pub(super) fn set_limit(&mut self, limit: u64) {
        // What was read behind the old limit may have been written only since.
        if limit > self.limit {
            self.piece_bytes = self.piece_bytes.min(as_index(self.limit.saturating_sub(self.piece_at)));
        }
        self.limit = limit;
    }

    /// Where the next frame is looked for.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The frame that begins here is looked at once more.
    pub(super) fn step_back(&mut self, position: u64) {
        self.position = position;
    }

    /// What stands here; `None` at the limit.
    pub(super) fn step(&mut self) -> io::Result<Option<Found>> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let position = self.position;
        if let Some(head) = self.frame_at(position)? {
            self.position = position + head.frame_bytes();
            return Ok(Some(Found::Frame { position, head }));
        }
        let to = self.next_frame(position)?;
        self.position = to;
        Ok(Some(Found::Unreadable { from: position, to }))
    }

    /// The payload of a frame, if it is the one that was written.
    pub(super) fn payload(&mut self, position: u64, head: &FrameHead) -> io::Result<Option<&[u8]>> {
        let payload = self.window(position + FRAME_HEAD as u64, head.length as usize)?;
        Ok(head.is_of(payload).then_some(payload))
    }

    fn frame_at(&mut self, position: u64) -> io::Result<Option<FrameHead>> {
        let (key, partitions) = (self.key, self.partitions);
        let head = FrameHead::decode(key, self.window(position, FRAME_HEAD)?);
        let plausible =
            |head: &FrameHead| (head.partition as usize) < partitions && u64::from(head.group) <= position;
        Ok(head.filter(plausible))
    }

    /// The first place behind this one where a frame begins, or the limit.
    fn next_frame(&mut self, bad: u64) -> io::Result<u64> {
        let mut position = aligned(bad + 1);
        while position < self.limit {
            let key = self.key;
            let buffered = as_index((self.piece_at + self.piece_bytes as u64).saturating_sub(position));
            let wanted = if buffered < FRAME_HEAD { PIECE } else { buffered };
            let window = self.window(position, wanted)?;
            if window.len() < FRAME_HEAD {
                break;
            }
            match key.find(window) {
                Some(at) => {
                    position += at as u64;
                    if self.frame_at(position)?.is_some() {
                        return Ok(position);
                    }
                    position += ALIGNMENT as u64;
                }
                // What a frame at the last places would need is not all in the window: they are its next one's first.
                None => {
                    let places = (window.len() - FRAME_HEAD) / ALIGNMENT + 1;
                    position += (places * ALIGNMENT) as u64;
                }
            }
        }
        Ok(self.limit)
    }

    /// So many bytes from here, or as many as there are before the limit and the end of the file.
    fn window(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min(as_index(self.limit.saturating_sub(at)));
        let has =
            |piece_at: u64, bytes: usize| at >= piece_at && at + wanted as u64 <= piece_at + bytes as u64;
        if !has(self.piece_at, self.piece_bytes) {
            let whole = as_index(self.limit - at.min(self.limit)).min(PIECE.max(wanted));
            if self.piece.len() < whole {
                self.piece = vec![0; whole];
            }
            // A failed read leaves nothing behind that could be taken for what is there.
            self.piece_bytes = 0;
            self.piece_at = at;
            let piece = &mut self.piece[..whole];
            self.piece_bytes = match self.bad_place {
                BadPlace::Damage => read_around_bad_places(&*self.file, piece, at, &mut self.patience)?,
                BadPlace::Error => read_full(&*self.file, piece, at)?,
            };
        }
        let begin = as_index(at - self.piece_at).min(self.piece_bytes);
        let end = (begin + wanted).min(self.piece_bytes);
        Ok(&self.piece[begin..end])
    }
}
