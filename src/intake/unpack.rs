//! `Content-Encoding`: unpacked as it arrives or in one go, and never further than the cap.
//!
//! Each decoder's own memory is bounded as well: gzip's window is 32 KiB, zstd's and all that brotli allocates are capped
//! below, and brotli's large-window extension is refused. What a decoder holds while more of its body is waited for can be
//! asked, and is counted (see [`super::lines`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brotli_decompressor::{
    Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc,
};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::allowance::SizeLimit;
use super::problem::Problem;

/// 8 MiB: what RFC 8878 asks every decoder to take, and what streaming encoders use up to their highest levels.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// All that brotli may hold at a time. Its window is 16 MiB at most, but it allocates no more of it than twice what the
/// body unpacks to, and its tables take some 3 MiB at worst: only what is too large in any case needs more.
const BROTLI_MOST_BYTES: usize = 10 * 1024 * 1024;
/// Text of events packs about tenfold; a guess that is wrong costs a copy.
const USUAL_RATIO: usize = 8;
const GZIP_WINDOW_BITS: u8 = 15;
/// Its window and its tables.
const GZIP_BYTES: usize = 48 * 1024;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Brotli,
}

impl Encoding {
    /// How much a body of this size usually unpacks to.
    fn likely_bytes(self, wire_bytes: usize) -> usize {
        if self == Self::Identity { wire_bytes } else { wire_bytes.saturating_mul(USUAL_RATIO) }
    }

    /// How much it can unpack to.
    pub(super) fn most_bytes(self, wire_bytes: usize, limit: SizeLimit) -> usize {
        if self == Self::Identity { wire_bytes } else { limit.bytes() }
    }

    /// What the headers say: one encoding, once.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().map_err(|_| Problem::UnsupportedEncoding)?.trim(),
            (Some(_), Some(_)) => return Err(Problem::UnsupportedEncoding),
        };
        [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            // RFC 9110, 8.4.1.3: the same thing.
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
            ("br", Self::Brotli),
        ]
        .into_iter()
        .find_map(|(name, encoding)| name.eq_ignore_ascii_case(value).then_some(encoding))
        .ok_or(Problem::UnsupportedEncoding)
    }

    /// Unpacks a whole body; no more than the limit comes out.
    pub(super) fn unpack(self, wire: Bytes, limit: SizeLimit) -> Result<Bytes, Problem> {
        let mut unpacker = Unpacker::new(self, limit);
        let unpacked = unpacker.feed(wire)?;
        unpacker.finish().map(|()| unpacked)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Brotli => "brotli",
        }
    }
}

/// Unpacks one body piece by piece.
pub(super) struct Unpacker {
    encoding: Encoding,
    /// The most that may come out, and how much of that is left.
    limit: SizeLimit,
    left: usize,
    decoder: Decoder,
    /// The body may end here.
    is_complete: bool,
}

enum Decoder {
    Identity,
    Gzip(Decompress),
    Zstd(DCtx<'static>),
    Brotli(Box<BrotliState<Counted, Counted, Counted>>, Counted),
}

impl Unpacker {
    pub(super) fn new(encoding: Encoding, limit: SizeLimit) -> Self {
        let decoder = Decoder::new(encoding);
        Self { encoding, limit, left: limit.bytes(), decoder, is_complete: encoding == Encoding::Identity }
    }

    /// What the next piece unpacks to. After an error no more can be unpacked.
    pub(super) fn feed(&mut self, wire: Bytes) -> Result<Bytes, Problem> {
        let unpacked = if self.encoding == Encoding::Identity {
            wire
        } else {
            let mut unpacked = Vec::with_capacity(self.encoding.likely_bytes(wire.len()).min(self.left));
            self.unpack(&wire, &mut unpacked).map_err(|_| self.failed())?;
            Bytes::from(unpacked)
        };
        match self.left.checked_sub(unpacked.len()) {
            Some(left) => self.left = left,
            None => return Err(self.too_large()),
        }
        Ok(unpacked)
    }

    /// How much a piece of this size can unpack to.
    pub(super) fn most_bytes(&self, wire_bytes: usize) -> usize {
        self.encoding.most_bytes(wire_bytes, self.limit)
    }

    /// The body has ended.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.is_complete { Ok(()) } else { Err(self.malformed()) }
    }

    /// Bytes so far.
    pub(super) fn unpacked_bytes(&self) -> usize {
        self.limit.bytes() - self.left
    }

    /// The decoder's own memory.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.decoder {
            Decoder::Identity => 0,
            Decoder::Gzip(_) => GZIP_BYTES,
            Decoder::Zstd(context) => context.sizeof(),
            Decoder::Brotli(state, counted) => size_of_val(&**state) + counted.bytes(),
        }
    }

    /// Unpacks all of `wire` to the end of `out`, or until that is too long.
    fn unpack(&mut self, mut wire: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        // What is complete holds nothing back.
        while !(wire.is_empty() && self.is_complete) && out.len() <= self.left {
            if out.len() == out.capacity() {
                // The guess was wrong, and all that there may be is room for the rest; one more than the limit is enough to
                // know. Doubling would leave the allocator with pages of every size, on every thread.
                out.reserve_exact(self.left + 1 - out.len());
            }
            let before = out.len();
            let (taken, is_complete) = self.decoder.step(wire, self.is_complete, out)?;
            self.is_complete = is_complete;
            wire = &wire[taken..];
            // Room that was not used shows that all that could come out came out.
            if wire.is_empty() && out.len() < out.capacity() {
                break;
            }
            if taken == 0 && out.len() == before {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    fn failed(&self) -> Problem {
        match &self.decoder {
            Decoder::Brotli(_, counted) if counted.has_refused() => self.too_large(),
            _ => self.malformed(),
        }
    }

    fn too_large(&self) -> Problem {
        Problem::BodyTooLarge(self.limit)
    }

    fn malformed(&self) -> Problem {
        Problem::BadBody(format!("the body is not complete and well-formed {}", self.encoding.name()))
    }
}

impl Decoder {
    fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Identity => Self::Identity,
            Encoding::Gzip => Self::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS)),
            Encoding::Zstd => {
                let mut context = DCtx::create();
                context
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                    .expect("a window within zstd's own bounds");
                Self::Zstd(context)
            }
            Encoding::Brotli => {
                let counted = Counted::default();
                let state = BrotliState::new_strict(counted.clone(), counted.clone(), counted.clone());
                Self::Brotli(Box::new(state), counted)
            }
        }
    }

    /// Fills what is free in `out`. Gives the bytes taken from `wire`, and whether the body may end behind them.
    fn step(&mut self, wire: &[u8], was_complete: bool, out: &mut Vec<u8>) -> io::Result<(usize, bool)> {
        match self {
            Self::Identity => {
                out.extend_from_slice(wire);
                Ok((wire.len(), true))
            }
            Self::Gzip(inflate) => {
                if was_complete {
                    // Several of them in a row are one body.
                    *inflate = Decompress::new_gzip(GZIP_WINDOW_BITS);
                }
                let before = inflate.total_in();
                let status = inflate.decompress_vec(wire, out, FlushDecompress::None)?;
                let taken = usize::try_from(inflate.total_in() - before).unwrap_or(usize::MAX);
                Ok((taken, status == Status::StreamEnd))
            }
            Self::Zstd(context) => {
                let (mut input, end) = (InBuffer::around(wire), out.len());
                let left = context
                    .decompress_stream(&mut OutBuffer::around_pos(out, end), &mut input)
                    .map_err(|code| io::Error::other(get_error_name(code)))?;
                Ok((input.pos(), left == 0))
            }
            Self::Brotli(..) if was_complete => Err(io::ErrorKind::InvalidData.into()),
            Self::Brotli(state, _) => brotli(state, wire, out),
        }
    }
}

/// The crate's own reader would take large windows, and bytes behind the end.
fn brotli(
    state: &mut BrotliState<Counted, Counted, Counted>,
    wire: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<(usize, bool)> {
    let mut end = out.len();
    out.resize(out.capacity(), 0);
    let (mut input_left, mut taken) = (wire.len(), 0);
    let (mut output_left, mut total) = (out.len() - end, 0);
    let result = BrotliDecompressStream(
        &mut input_left,
        &mut taken,
        wire,
        &mut output_left,
        &mut end,
        out,
        &mut total,
        state,
    );
    out.truncate(end);
    match result {
        BrotliResult::ResultSuccess => Ok((taken, true)),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok((taken, false)),
        BrotliResult::ResultFailure => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Allocates for brotli, which does not say what it holds: counts, and refuses what is too much.
#[derive(Clone, Debug, Default)]
struct Counted {
    bytes: Arc<AtomicUsize>,
    has_refused: Arc<AtomicBool>,
}

impl Counted {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }
}

impl<T: Clone + Default> Allocator<T> for Counted {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    /// An empty cell is how the crate is told that there is no memory.
    fn alloc_cell(&mut self, length: usize) -> Self::AllocatedMemory {
        let bytes = length.saturating_mul(size_of::<T>());
        if self.bytes() + bytes > BROTLI_MOST_BYTES {
            self.has_refused.store(true, Ordering::Relaxed);
            return Self::AllocatedMemory::default();
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        StandardAlloc::default().alloc_cell(length)
    }

    fn free_cell(&mut self, cell: Self::AllocatedMemory) {
        self.bytes.fetch_sub(size_of_val(cell.slice()), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
