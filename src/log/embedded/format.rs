//! What the bytes of a segment mean: its header, and the head of each frame. All numbers are little-endian.
//!
//! ```text
//! segment   header, in two copies, each at the beginning of its own whole number of 4096-byte blocks; then frames
//! header     0  "rollbk", format version (u16)      24  seed (u64), drawn for this segment
//!            8  CRC-32 of all the rest (u32)         32  where the segment before it ends (u64; 0: it is the first)
//!           12  number of partitions (u32)           40  the next offset of each partition (u64 each)
//!           16  number of the segment (u64)
//! frame      0  CRC-32 of the 28 bytes that follow (u32), begun with the seed's low half
//!            4  the seed's high half (u32)           20  where the frame's group begins in the segment (u32)
//!            8  bytes of the payload (u32)           24  offset in the partition (u64)
//!           12  CRC-32 of the payload (u32)          32  payload, and zeros up to a multiple of 8
//!           16  partition (u32)
//! ```
//!
//! A payload is whatever strangers had accepted, whole frames of another segment included. It is never taken for a frame
//! where one is looked for behind damage: that takes the 64 bits of a seed that nobody outside has seen.

use crc32fast::Hasher;
use memchr::memmem;

/// Frames begin at multiples of it.
pub(super) const ALIGNMENT: usize = 8;
/// Headers take whole ones, and a disk loses whole ones.
pub(super) const BLOCK: usize = 4096;
const MAGIC: [u8; 8] = *b"rollbk\x01\x00";
/// Bytes of a header before its list of offsets.
const FIXED: usize = 40;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD: usize = 32;
/// No payload is longer; so a reader needs no more memory than this.
pub(super) const MAX_PAYLOAD: usize = 16 << 20;
/// No log comes so far, no record has this offset or a later one, and sums of offsets do not overflow.
pub(super) const MAX_OFFSET: i64 = 1 << 60;
/// More would make headers larger than segments.
pub(super) const MAX_PARTITIONS: usize = 1 << 16;

/// A number from a file as an offset in memory.
pub(super) fn as_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

fn offset_at(bytes: &[u8], at: usize) -> Option<i64> {
    i64::try_from(u64_at(bytes, at)).ok().filter(|offset| *offset <= MAX_OFFSET)
}

/// Of a header, without the place where its checksum stands.
fn header_checksum(header: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[..8]);
    hasher.update(&header[12..]);
    hasher.finalize()
}

/// What a segment says of itself and of all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) key: Key,
    /// Where the segment before it ended when this one began.
    pub(super) previous_end: u64,
    /// The next offset of each partition when this segment began.
    pub(super) first: Vec<i64>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// They are not what was written.
    Damaged,
    /// They are another version's.
    OtherVersion,
}

/// Where the frames of a segment with so many partitions begin.
pub(super) fn body_at(partitions: usize) -> u64 {
    2 * copy_bytes(partitions) as u64
}

/// What one copy of the header takes.
fn copy_bytes(partitions: usize) -> usize {
    (FIXED + 8 * partitions).next_multiple_of(BLOCK)
}

impl SegmentHeader {
    /// Both copies: everything before the first frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let partitions = self.first.len();
        let mut copy = vec![0; copy_bytes(partitions)];
        copy[..8].copy_from_slice(&MAGIC);
        copy[12..16].copy_from_slice(&u32::try_from(partitions).unwrap_or(u32::MAX).to_le_bytes());
        copy[16..24].copy_from_slice(&self.number.to_le_bytes());
        copy[24..32].copy_from_slice(&self.key.0.to_le_bytes());
        copy[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        for (field, offset) in copy[FIXED..].chunks_exact_mut(8).zip(&self.first) {
            field.copy_from_slice(&offset.cast_unsigned().to_le_bytes());
        }
        let checksum = header_checksum(&copy[..FIXED + 8 * partitions]);
        copy[8..12].copy_from_slice(&checksum.to_le_bytes());
        copy.repeat(2)
    }

    /// Reads a copy of the header, whose bytes may be anything.
    pub(super) fn decode(copy: &[u8]) -> Result<Self, NoHeader> {
        let partitions = match copy.len() {
            FIXED.. => u32_at(copy, 12) as usize,
            _ => return Err(NoHeader::Damaged),
        };
        if partitions > MAX_PARTITIONS || copy.len() < FIXED + 8 * partitions {
            return Err(NoHeader::Damaged);
        }
        let is_whole = header_checksum(&copy[..FIXED + 8 * partitions]) == u32_at(copy, 8);
        if !is_whole || copy[..6] != MAGIC[..6] {
            return Err(NoHeader::Damaged);
        }
        if copy[..8] != MAGIC {
            return Err(NoHeader::OtherVersion);
        }
        let first: Option<Vec<i64>> = (0..partitions).map(|at| offset_at(copy, FIXED + 8 * at)).collect();
        let key = Key(u64_at(copy, 24));
        match first {
            Some(first) if key.is_one() => {
                Ok(Self { number: u64_at(copy, 16), key, previous_end: u64_at(copy, 32), first })
            }
            _ => Err(NoHeader::Damaged),
        }
    }

    /// Where in a segment's file the copies of its header may be, as `decode` wants them: the first at 0, the second
    /// behind it.
    pub(super) fn second_copy(partitions: usize, front: &[u8]) -> &[u8] {
        front.get(copy_bytes(partitions)..).unwrap_or_default()
    }
}

/// By which the frames of one segment are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// A new one, from the system's randomness.
    pub(super) fn draw() -> Self {
        Self::from_seed(rand::random())
    }

    /// The same from a number. Its high half is never 0: zeros, which is what a file holds where nothing was
    /// written, are no frame then.
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(if seed >> 32 == 0 { !seed } else { seed })
    }

    fn is_one(self) -> bool {
        self.0 >> 32 != 0
    }

    fn mark(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0.to_le_bytes();
        [a, b, c, d]
    }

    fn checksum(self, checked: &[u8]) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        let mut hasher = Hasher::new_with_initial(u32::from_le_bytes([a, b, c, d]));
        hasher.update(checked);
        hasher.finalize()
    }

    /// The first multiple of the alignment among these bytes where a frame of this segment may begin: quick, and right
    /// for almost all that is none.
    pub(super) fn find(self, bytes: &[u8]) -> Option<usize> {
        let mark = self.mark();
        let finder = memmem::Finder::new(&mark);
        let mut from = 4;
        loop {
            let at = from + finder.find(bytes.get(from..)?)?;
            if (at - 4).is_multiple_of(ALIGNMENT) {
                return Some(at - 4);
            }
            from = at + 1;
        }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) payload_checksum: u32,
    pub(super) partition: u32,
    pub(super) offset: i64,
    /// Where the group (one write, one sync) begins that the frame is of.
    pub(super) group: u32,
}

impl FrameHead {
    /// Appends the frame of this payload.
    pub(super) fn encode(
        key: Key,
        group: u32,
        partition: u32,
        offset: i64,
        payload: &[u8],
        to: &mut Vec<u8>,
    ) {
        let mut head = [0; FRAME_HEAD];
        head[4..8].copy_from_slice(&key.mark());
        head[8..12].copy_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        head[12..16].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        head[16..20].copy_from_slice(&partition.to_le_bytes());
        head[20..24].copy_from_slice(&group.to_le_bytes());
        head[24..32].copy_from_slice(&offset.cast_unsigned().to_le_bytes());
        let checksum = key.checksum(&head[4..]);
        head[..4].copy_from_slice(&checksum.to_le_bytes());
        let padding = as_index(frame_bytes(payload.len())) - FRAME_HEAD - payload.len();
        to.extend_from_slice(&head);
        to.extend_from_slice(payload);
        to.extend_from_slice(&[0; 8][..padding]);
    }

    /// The head that begins at these bytes, if one does.
    pub(super) fn decode(key: Key, bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..FRAME_HEAD)?;
        if head[4..8] != key.mark() || key.checksum(&head[4..]) != u32_at(head, 0) {
            return None;
        }
        let offset = offset_at(head, 24).filter(|offset| *offset < MAX_OFFSET)?;
        let head = Self {
            length: u32_at(head, 8),
            payload_checksum: u32_at(head, 12),
            partition: u32_at(head, 16),
            group: u32_at(head, 20),
            offset,
        };
        (head.length as usize <= MAX_PAYLOAD).then_some(head)
    }

    /// Whether this is the payload that was written.
    pub(super) fn is_of(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32fast::hash(payload) == self.payload_checksum
    }

    /// What the frame takes in its segment.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.length as usize)
    }
}

/// What a frame takes with a payload of so many bytes.
pub(super) fn frame_bytes(payload: usize) -> u64 {
    ((FRAME_HEAD + payload) as u64).next_multiple_of(ALIGNMENT as u64)
}

/// The first place at or behind this one where a frame may begin.
pub(super) fn aligned(position: u64) -> u64 {
    position.next_multiple_of(ALIGNMENT as u64)
}

/// The name of a segment's file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:020}.log")
}

/// The number of the segment whose file has this name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Makes a header one of this version.
#[cfg(test)]
pub(super) fn rewrite_version(copy: &mut [u8], version: u8) {
    copy[6] = version;
    let length = FIXED + 8 * u32_at(copy, 12) as usize;
    let checksum = header_checksum(&copy[..length]);
    copy[8..12].copy_from_slice(&checksum.to_le_bytes());
}
