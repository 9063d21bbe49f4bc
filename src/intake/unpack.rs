//! `Content-Encoding`: a body is unpacked in one go when all of it is there, and never further than the cap. No decoder ever
//! waits: so there are no more of them than turns at work.
//!
//! Each decoder's own memory is bounded as well: gzip's window is 32 KiB, zstd's and all that brotli allocates are capped
//! below, and brotli's large-window extension is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brotli_decompressor::{
    Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, StandardAlloc,
};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_frame_content_size};

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

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Brotli,
}

impl Encoding {
    /// How much a body of this size can unpack to.
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
        let Some(decoder) = Decoder::of(self) else {
            limit.check(wire.len())?;
            return Ok(wire);
        };
        let likely_bytes = wire.len().saturating_mul(USUAL_RATIO);
        let mut unpacked = Vec::with_capacity(likely_bytes.min(limit.bytes()));
        match decoder.unpack(&wire, limit.bytes(), &mut unpacked) {
            Ok(()) => Ok(Bytes::from(unpacked)),
            Err(Fault::TooLarge) => Err(Problem::BodyTooLarge(limit)),
            Err(Fault::Malformed) => {
                Err(Problem::BadBody(format!("the body is not complete and well-formed {}", self.name())))
            }
        }
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

enum Decoder {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
    Brotli(Box<BrotliState<Counted, Counted, Counted>>, Counted),
}

/// Why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge,
    Malformed,
}

impl Decoder {
    /// `None`: nothing is packed.
    fn of(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Self::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS))),
            Encoding::Zstd => {
                let mut context = DCtx::create();
                context
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                    .expect("a window within zstd's own bounds");
                Some(Self::Zstd(context))
            }
            Encoding::Brotli => {
                let counted = Counted::default();
                let state = BrotliState::new_strict(counted.clone(), counted.clone(), counted.clone());
                Some(Self::Brotli(Box::new(state), counted))
            }
        }
    }

    /// Unpacks all of `wire` to the end of `out`, or until that is more than `most_bytes`.
    fn unpack(mut self, mut wire: &[u8], most_bytes: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut is_complete = false;
        // What is complete holds nothing back.
        while !(wire.is_empty() && is_complete) && out.len() <= most_bytes {
            if out.len() == out.capacity() {
                // The guess was wrong, and all that there may be is room for the rest; one more than the limit is enough to
                // know. Doubling would leave the allocator with pages of every size, on every thread.
                out.reserve_exact(most_bytes + 1 - out.len());
            }
            let before = out.len();
            let stepped = self.step(wire, is_complete, out);
            let (taken, may_end) = stepped.ok_or_else(|| self.fault(wire, most_bytes - before))?;
            is_complete = may_end;
            wire = &wire[taken..];
            // Room that was not used shows that all that could come out came out.
            if wire.is_empty() && out.len() < out.capacity() {
                break;
            }
            if taken == 0 && out.len() == before {
                return Err(Fault::Malformed);
            }
        }
        match out.len() {
            length if length > most_bytes => Err(Fault::TooLarge),
            _ if is_complete => Ok(()),
            _ => Err(Fault::Malformed),
        }
    }

    /// Fills what is free in `out`. Gives the bytes taken from `wire`, and whether the body may end behind them; `None` where
    /// it cannot go on.
    fn step(&mut self, wire: &[u8], was_complete: bool, out: &mut Vec<u8>) -> Option<(usize, bool)> {
        match self {
            Self::Gzip(inflate) => {
                if was_complete {
                    // Several of them in a row are one body.
                    *inflate = Decompress::new_gzip(GZIP_WINDOW_BITS);
                }
                let before = inflate.total_in();
                let status = inflate.decompress_vec(wire, out, FlushDecompress::None).ok()?;
                let taken = usize::try_from(inflate.total_in() - before).unwrap_or(usize::MAX);
                Some((taken, status == Status::StreamEnd))
            }
            Self::Zstd(context) => {
                let (mut input, end) = (InBuffer::around(wire), out.len());
                let left =
                    context.decompress_stream(&mut OutBuffer::around_pos(out, end), &mut input).ok()?;
                Some((input.pos(), left == 0))
            }
            Self::Brotli(..) if was_complete => None,
            Self::Brotli(state, _) => brotli(state, wire, out),
        }
    }

    /// Why it could not go on with `wire`. What needs more memory than a decoder gets is too large where it cannot be within
    /// the limit: what unpacks in one piece needs as much as it comes to.
    fn fault(&self, wire: &[u8], most_bytes: usize) -> Fault {
        let is_too_large = match self {
            Self::Gzip(_) => false,
            // It refuses at the head of a frame, which mostly says how much is in it.
            Self::Zstd(_) => get_frame_content_size(wire).ok().flatten().is_some_and(|declared| {
                usize::try_from(declared).is_ok_and(|declared| declared > most_bytes)
            }),
            Self::Brotli(_, counted) => counted.has_refused(),
        };
        if is_too_large { Fault::TooLarge } else { Fault::Malformed }
    }
}

/// The crate's own reader would take large windows, and bytes behind the end.
fn brotli(
    state: &mut BrotliState<Counted, Counted, Counted>,
    wire: &[u8],
    out: &mut Vec<u8>,
) -> Option<(usize, bool)> {
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
        BrotliResult::ResultSuccess => Some((taken, true)),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Some((taken, false)),
        BrotliResult::ResultFailure => None,
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
