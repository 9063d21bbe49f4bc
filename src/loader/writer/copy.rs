//! Rows in the binary form of COPY, and how they are sent.
//!
//! The form is that of "COPY, Binary Format" in the PostgreSQL manual; each field is what the type's `recv` function
//! reads. An event's bytes are copied once, from the record into the chunk that goes out.

use std::collections::HashSet;
use std::hash::BuildHasher;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::rows::postgres_micros;
use super::ways::WriteError;
use crate::event::{Event, UnixMillis};

/// The columns, in the order that [`encode_row`] writes and the `INSERT` of small batches binds them.
pub(in crate::loader) const COLUMNS: &str = "event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, \
     client_occurred_at, received_at, seq, position_ms, rate, watched, played_ms, answer, correct, score, attempt, \
     elapsed_ms, details";

const COLUMN_COUNT: i16 = 20;
/// Signature, no flags, no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A row of -1 columns.
const TRAILER: &[u8] = b"\xff\xff";
/// Bytes that go out in one message, and a row: large enough to cost few calls, small enough to be allocated often.
const CHUNK_BYTES: usize = 128 * 1024;
const INT4RANGE_OID: u32 = 3904;
/// A range with both bounds, the lower one included.
const RANGE_LOWER_INCLUSIVE: u8 = 0x02;
const JSONB_VERSION: u8 = 1;

/// Encoded rows of different ids, in chunks of whole rows.
#[derive(Debug)]
pub(super) struct CopyRows {
    chunks: Vec<Chunk<Bytes>>,
    ids: Vec<Uuid>,
}

#[derive(Debug)]
struct Chunk<B> {
    bytes: B,
    /// Where each row of it ends.
    ends: Vec<u32>,
}

impl CopyRows {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> &[Uuid] {
        &self.ids
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len() + size_of_val(&*chunk.ends)).sum::<usize>()
            + size_of_val(&*self.ids)
    }

    /// All rows, a message each chunk.
    fn frames(&self) -> impl Iterator<Item = Bytes> {
        self.chunks.iter().map(|chunk| chunk.bytes.clone())
    }

    /// All that a COPY of all rows is sent.
    pub(super) fn whole(&self) -> Vec<Bytes> {
        let [header, trailer] = [HEADER, TRAILER].map(Bytes::from_static);
        std::iter::once(header).chain(self.frames()).chain([trailer]).collect()
    }

    /// The rows but those with these ids: stretches between them, nothing copied.
    fn frames_without<S: BuildHasher>(&self, left_out: &HashSet<Uuid, S>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut ids = self.ids.iter();
        for Chunk { bytes, ends } in &self.chunks {
            let (mut from, mut to) = (0, 0);
            for (end, id) in ends.iter().zip(&mut ids) {
                if left_out.contains(id) {
                    frames.extend((from < to).then(|| bytes.slice(from..to)));
                    from = *end as usize;
                }
                to = *end as usize;
            }
            frames.extend((from < to).then(|| bytes.slice(from..to)));
        }
        frames
    }
}

/// Sends rows but those whose ids are left out; gives how many Postgres says that it stored.
pub(super) async fn copy_rows<S: BuildHasher>(
    client: &Client,
    statement: &Statement,
    rows: &CopyRows,
    left_out: &HashSet<Uuid, S>,
) -> Result<u64, WriteError> {
    let sink = client.copy_in(statement).await.map_err(WriteError::CopyRefused)?;
    let mut sink = std::pin::pin!(sink);
    sink.feed(Bytes::from_static(HEADER)).await?;
    if left_out.is_empty() {
        for frame in rows.frames() {
            sink.feed(frame).await?;
        }
    } else {
        for frame in rows.frames_without(left_out) {
            sink.feed(frame).await?;
        }
    }
    sink.feed(Bytes::from_static(TRAILER)).await?;
    sink.finish().await.map_err(WriteError::of_rows)
}

/// Encodes rows one after the other.
#[derive(Debug, Default)]
pub(super) struct RowEncoder {
    chunks: Vec<Chunk<Vec<u8>>>,
    ids: Vec<Uuid>,
}

/// A place between two rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    rows: usize,
}

impl RowEncoder {
    pub(super) fn push(&mut self, event: &Event<'_>, received_at: UnixMillis) {
        let has_room = |chunk: &&mut Chunk<Vec<u8>>| chunk.bytes.len() < CHUNK_BYTES;
        // The first chunk grows by itself: most batches are small. One that is not will need more of them whole.
        let chunk = match self.chunks.last_mut().filter(has_room) {
            Some(chunk) => chunk,
            None => {
                let bytes = if self.chunks.is_empty() { 0 } else { CHUNK_BYTES + 4096 };
                self.chunks.push_mut(Chunk { bytes: Vec::with_capacity(bytes), ends: Vec::new() })
            }
        };
        encode_row(event, received_at, &mut chunk.bytes);
        chunk.ends.push(u32::try_from(chunk.bytes.len()).expect("a chunk and a row are far smaller"));
        self.ids.push(event.id);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { rows: self.ids.len() }
    }

    /// Forgets the rows that were pushed since.
    pub(super) fn go_back_to(&mut self, mark: Mark) {
        let mut surplus = self.ids.len() - mark.rows;
        self.ids.truncate(mark.rows);
        while surplus > 0
            && let Some(chunk) = self.chunks.last_mut()
        {
            if chunk.ends.len() <= surplus {
                surplus -= chunk.ends.len();
                self.chunks.pop();
            } else {
                chunk.ends.truncate(chunk.ends.len() - surplus);
                chunk.bytes.truncate(chunk.ends.last().map_or(0, |end| *end as usize));
                surplus = 0;
            }
        }
    }

    pub(super) fn finish(self) -> CopyRows {
        let whole = |chunk: Chunk<Vec<u8>>| Chunk { bytes: chunk.bytes.into(), ends: chunk.ends };
        CopyRows { chunks: self.chunks.into_iter().map(whole).collect(), ids: self.ids }
    }
}

fn encode_row(event: &Event<'_>, received_at: UnixMillis, out: &mut Vec<u8>) {
    out.extend_from_slice(&COLUMN_COUNT.to_be_bytes());
    field(out, event.id.as_bytes());
    field(out, event.type_name.as_bytes());
    field(out, event.session_id.as_bytes());
    field(out, event.viewer_id.as_bytes());
    field(out, event.content_id.as_bytes());
    optional(out, event.item_id.as_ref(), |out, item_id| field(out, item_id.as_bytes()));
    timestamp(out, event.occurred_at);
    timestamp(out, event.client_occurred_at);
    timestamp(out, received_at);
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

#[inline]
fn optional<T>(out: &mut Vec<u8>, value: Option<T>, encode: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => encode(out, value),
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}

#[inline]
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// No record is larger than 900 kB, so no field is.
#[inline]
fn put_length(out: &mut Vec<u8>, bytes: usize) {
    let length = i32::try_from(bytes).expect("a field is smaller than its record");
    out.extend_from_slice(&length.to_be_bytes());
}

/// An `integer`. Values above its range cannot come from a checked event; they wrap and Postgres's own CHECK refuses them.
fn whole(out: &mut Vec<u8>, value: u32) {
    field(out, &value.to_be_bytes());
}

fn timestamp(out: &mut Vec<u8>, at: UnixMillis) {
    field(out, &postgres_micros(at).to_be_bytes());
}

fn jsonb(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len() + 1);
    out.push(JSONB_VERSION);
    out.extend_from_slice(text.as_bytes());
}

/// `int4range[]`: an array header, then each range as flags and two bounds.
fn ranges(out: &mut Vec<u8>, intervals: &[(u32, u32)]) {
    const HEADER_BYTES: usize = 12;
    const DIMENSION_BYTES: usize = 8;
    const RANGE_BYTES: usize = 1 + 8 + 8;
    let dimensions = usize::from(!intervals.is_empty());
    put_length(out, HEADER_BYTES + dimensions * DIMENSION_BYTES + intervals.len() * (4 + RANGE_BYTES));
    put_length(out, dimensions);
    put_length(out, 0); // no NULLs inside
    out.extend_from_slice(&INT4RANGE_OID.to_be_bytes());
    if dimensions == 1 {
        put_length(out, intervals.len());
        put_length(out, 1); // subscripts start at 1
    }
    for (start, end) in intervals {
        put_length(out, RANGE_BYTES);
        out.push(RANGE_LOWER_INCLUSIVE);
        whole(out, *start);
        whole(out, *end);
    }
}
