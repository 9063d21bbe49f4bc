//! `Content-Encoding`: unpacked in one go, and never further than the cap.
//!
//! Each decoder's own memory is bounded as well: gzip's window is 32 KiB, zstd's is capped below, and brotli's at
//! 16 MiB by refusing its large-window extension. A decoder lives for one call, which does not wait, so there are
//! never more of them than threads.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

use super::problem::{BodyForm, Problem};

/// 8 MiB: what RFC 8878 asks every decoder to take, and what streaming encoders use up to their highest levels.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Text of events packs about tenfold; a guess that is wrong costs a copy.
const USUAL_RATIO: usize = 8;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Brotli,
}

impl Encoding {
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

    /// Unpacks a whole body; at most `limit` bytes come out.
    pub(super) fn unpack(self, wire: Bytes, limit: usize) -> Result<Bytes, Problem> {
        let room = wire.len().saturating_mul(USUAL_RATIO).min(limit);
        let unpacked = match self {
            Self::Identity => return Ok(wire),
            Self::Gzip => read_all(MultiGzDecoder::new(&*wire), room, limit),
            Self::Zstd => zstd_decoder(&wire).and_then(|decoder| read_all(decoder, room, limit)),
            Self::Brotli => brotli(&wire, room, limit),
        };
        match unpacked {
            Ok(Some(unpacked)) => Ok(Bytes::from(unpacked)),
            Ok(None) => Err(Problem::BodyTooLarge { form: BodyForm::Unpacked, limit }),
            Err(_) => {
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

fn zstd_decoder(wire: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(wire)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// `None` when there is more than `limit`.
fn read_all(decoder: impl Read, room: usize, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut unpacked = Vec::with_capacity(room);
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(one_more).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= limit).then_some(unpacked))
}

/// `None` when there is more than `limit`. The crate's own reader would take large windows, and bytes behind the end.
fn brotli(wire: &[u8], room: usize, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut state =
        BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
    let mut unpacked = vec![0; room.max(1)];
    let (mut input_left, mut input_offset) = (wire.len(), 0);
    let (mut output_offset, mut total) = (0, 0);
    loop {
        let mut output_left = unpacked.len() - output_offset;
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut input_offset,
            wire,
            &mut output_left,
            &mut output_offset,
            &mut unpacked,
            &mut total,
            &mut state,
        );
        match result {
            BrotliResult::ResultSuccess if input_left == 0 => break,
            BrotliResult::NeedsMoreOutput if unpacked.len() > limit => return Ok(None),
            BrotliResult::NeedsMoreOutput => unpacked.resize((unpacked.len() * 2).min(limit + 1), 0),
            BrotliResult::NeedsMoreInput => return Err(io::ErrorKind::UnexpectedEof.into()),
            BrotliResult::ResultSuccess | BrotliResult::ResultFailure => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
    unpacked.truncate(output_offset);
    Ok((output_offset <= limit).then_some(unpacked))
}

#[cfg(test)]
mod tests;
