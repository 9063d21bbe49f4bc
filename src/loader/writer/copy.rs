//! Rows in the binary form of COPY.
//!
//! The form is that of "COPY, Binary Format" in the PostgreSQL manual; each field is what the type's `recv` function
//! reads. An event's bytes are copied once, from the record into the buffer that goes out.

use bytes::{BufMut, Bytes, BytesMut};

use super::rows::{Row, postgres_micros};
use crate::event::UnixMillis;

/// The columns, in the order that [`encode_row`] writes and the `INSERT` of small batches binds them.
pub(in crate::loader) const COLUMNS: &str = "event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, \
     client_occurred_at, received_at, seq, position_ms, rate, watched, played_ms, answer, correct, score, attempt, \
     elapsed_ms, details";

const COLUMN_COUNT: i16 = 20;
/// Signature, no flags, no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Bytes that go out in one message: large enough to cost few calls, small enough not to hold a batch twice.
const CHUNK_BYTES: usize = 64 * 1024;
const INT4RANGE_OID: u32 = 3904;
/// A range with both bounds, the lower one included.
const RANGE_LOWER_INCLUSIVE: u8 = 0x02;
const JSONB_VERSION: u8 = 1;

/// Encodes rows into chunks.
pub(in crate::loader) struct CopyEncoder {
    buffer: BytesMut,
}

impl CopyEncoder {
    pub(in crate::loader) fn new() -> Self {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES + 4096);
        buffer.put_slice(HEADER);
        Self { buffer }
    }

    /// Adds a row; gives back a chunk when one is full.
    pub(in crate::loader) fn push(&mut self, row: &Row<'_>) -> Option<Bytes> {
        encode_row(row, &mut self.buffer);
        (self.buffer.len() >= CHUNK_BYTES).then(|| {
            let chunk = self.buffer.split().freeze();
            self.buffer.reserve(CHUNK_BYTES + 4096);
            chunk
        })
    }

    /// The last chunk.
    pub(in crate::loader) fn finish(mut self) -> Bytes {
        self.buffer.put_i16(-1);
        self.buffer.freeze()
    }
}

fn encode_row(row: &Row<'_>, out: &mut BytesMut) {
    let event = &row.event;
    out.put_i16(COLUMN_COUNT);
    field(out, event.id.as_bytes());
    field(out, event.type_name.as_bytes());
    field(out, event.session_id.as_bytes());
    field(out, event.viewer_id.as_bytes());
    field(out, event.content_id.as_bytes());
    optional(out, event.item_id.as_ref(), |out, item_id| field(out, item_id.as_bytes()));
    timestamp(out, event.occurred_at);
    timestamp(out, event.client_occurred_at);
    timestamp(out, row.received_at);
    optional(out, event.seq, |out, seq| field(out, &i64::from(seq).to_be_bytes()));
    optional(out, event.position_ms, whole);
    optional(out, event.rate, |out, rate| field(out, &rate.to_be_bytes()));
    optional(out, event.watched.as_ref(), |out, intervals| ranges(out, intervals));
    optional(out, event.played_ms, whole);
    optional(out, event.answer.as_ref(), |out, answer| jsonb(out, answer));
    optional(out, event.correct, |out, correct| field(out, &[u8::from(correct)]));
    optional(out, event.score, |out, score| field(out, &score.to_be_bytes()));
    optional(out, event.attempt, |out, attempt| field(out, &attempt.to_be_bytes()));
    optional(out, event.elapsed_ms, whole);
    optional(out, event.details.as_ref(), |out, details| jsonb(out, details));
}

fn optional<T>(out: &mut BytesMut, value: Option<T>, encode: impl FnOnce(&mut BytesMut, T)) {
    match value {
        Some(value) => encode(out, value),
        None => out.put_i32(-1),
    }
}

fn field(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}

/// No record is larger than 900 kB, so no field is.
fn put_length(out: &mut BytesMut, bytes: usize) {
    out.put_i32(i32::try_from(bytes).expect("a field is smaller than its record"));
}

/// An `integer`. Values above its range cannot come from a checked event; they wrap and Postgres's own CHECK refuses them.
fn whole(out: &mut BytesMut, value: u32) {
    field(out, &value.to_be_bytes());
}

fn timestamp(out: &mut BytesMut, at: UnixMillis) {
    field(out, &postgres_micros(at).to_be_bytes());
}

fn jsonb(out: &mut BytesMut, text: &str) {
    put_length(out, text.len() + 1);
    out.put_u8(JSONB_VERSION);
    out.put_slice(text.as_bytes());
}

/// `int4range[]`: an array header, then each range as flags and two bounds.
fn ranges(out: &mut BytesMut, intervals: &[(u32, u32)]) {
    const HEADER_BYTES: usize = 12;
    const DIMENSION_BYTES: usize = 8;
    const RANGE_BYTES: usize = 1 + 8 + 8;
    let dimensions = usize::from(!intervals.is_empty());
    put_length(out, HEADER_BYTES + dimensions * DIMENSION_BYTES + intervals.len() * (4 + RANGE_BYTES));
    out.put_i32(i32::from(dimensions == 1));
    out.put_i32(0); // no NULLs inside
    out.put_u32(INT4RANGE_OID);
    if dimensions == 1 {
        put_length(out, intervals.len());
        out.put_i32(1); // subscripts start at 1
    }
    for (start, end) in intervals {
        put_length(out, RANGE_BYTES);
        out.put_u8(RANGE_LOWER_INCLUSIVE);
        whole(out, *start);
        whole(out, *end);
    }
}
