//! Events into records: encoded where they will stay, split where a record would grow too large.

use std::ops::Range;

use uuid::Uuid;

use super::{BOUNDS_MS, MAX_RECORD_BYTES, event_field, record_field};
use crate::event::wire::{Append, varint_len};
use crate::event::{Event, UnixMillis};
use crate::ops::spans::SpanContext;
use crate::tenant::OrganizationId;

/// What a record says of itself, before its first event.
const HEAD_BYTES: usize = 104;
/// The most that an event takes beside its texts and intervals, and an interval.
const FIXED_BYTES: usize = 160;
const INTERVAL_BYTES: usize = 10;

/// An encoded record, ready for the log.
#[derive(Debug)]
pub struct SealedRecord {
    /// `rollbook.v1.Record`.
    pub bytes: Vec<u8>,
    /// Which of the pushed events it holds, counted from the first push.
    pub events: Range<usize>,
}

/// Encodes the accepted events of one batch.
#[derive(Debug)]
pub struct RecordBuilder {
    organization: OrganizationId,
    request_id: Uuid,
    received_at: UnixMillis,
    span: Option<SpanContext>,
    sealed: Vec<SealedRecord>,
    /// The open record; empty before its first event.
    bytes: Vec<u8>,
    /// Its events, counted from the first push.
    events: Range<usize>,
    /// Events to make room for.
    expected: usize,
}

impl RecordBuilder {
    /// Starts the records of one batch.
    pub fn new(organization: OrganizationId, request_id: Uuid, received_at: UnixMillis) -> Self {
        Self {
            organization,
            request_id,
            received_at,
            span: None,
            sealed: Vec::new(),
            bytes: Vec::new(),
            events: 0..0,
            expected: 0,
        }
    }

    /// They name the span of the request that carries the batch.
    pub fn of_span(self, span: Option<SpanContext>) -> Self {
        Self { span, ..self }
    }

    /// So many events will come at most: room for them is made at once, by what the first one takes.
    pub fn reserve(&mut self, events: usize) {
        self.expected = events;
    }

    /// Adds one event; seals a record and starts the next when it would grow too large. A checked event is some 20 KiB
    /// at most, so that one alone always fits.
    pub fn push(&mut self, event: &Event<'_>) {
        let most = most_bytes(event);
        if self.events.is_empty() {
            let expected = std::mem::take(&mut self.expected).max(1);
            self.bytes.reserve_exact((HEAD_BYTES + most * expected).min(MAX_RECORD_BYTES));
            self.open();
        }
        self.bytes.reserve(most);
        let start = self.bytes.len();
        write_event(event, &mut self.bytes);
        if self.bytes.len() > MAX_RECORD_BYTES && !self.events.is_empty() {
            let event = self.bytes.split_off(start);
            self.seal();
            self.open();
            self.bytes.extend_from_slice(&event);
        }
        self.events.end += 1;
    }

    /// Bytes that the records take so far.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.sealed.iter().map(|record| record.bytes.capacity()).sum::<usize>()
    }

    /// Every record, in order; none when nothing was pushed.
    pub fn finish(mut self) -> Vec<SealedRecord> {
        if !self.events.is_empty() {
            self.seal();
        }
        self.sealed
    }

    fn open(&mut self) {
        let bytes = &mut self.bytes;
        bytes.bytes_field(record_field::ORGANIZATION_ID, self.organization.0.as_bytes());
        bytes.bytes_field(record_field::RECORD_ID, Uuid::now_v7().as_bytes());
        bytes.bytes_field(record_field::REQUEST_ID, self.request_id.as_bytes());
        time_field(bytes, record_field::RECEIVED_AT_MS, self.received_at);
        if let Some(span) = self.span {
            bytes.bytes_field(record_field::SPAN, &span.to_bytes());
        }
    }

    fn seal(&mut self) {
        let next = self.events.end;
        let bytes = std::mem::take(&mut self.bytes);
        let events = std::mem::replace(&mut self.events, next..next);
        self.sealed.push(SealedRecord { bytes, events });
    }
}

/// Writes an event as a field of the record. Its length goes before it and is known behind it: nearly every event has one of two
/// bytes, for which there is room, and the others are moved.
fn write_event(event: &Event<'_>, out: &mut Vec<u8>) {
    out.key_of_bytes(record_field::EVENTS);
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    write_fields(event, out);
    let length = out.len() - (start + 2);
    if varint_len(length as u64) == 2 {
        let ([low, ..], [high, ..]) = (length.to_le_bytes(), (length >> 7).to_le_bytes());
        out[start] = low | 0x80;
        out[start + 1] = high;
    } else {
        let mut prefix = Vec::new();
        prefix.varint(length as u64);
        out.splice(start..start + 2, prefix);
    }
}

/// Writes the fields of a `RecordEvent`, in the order of their numbers.
#[inline]
fn write_fields(event: &Event<'_>, out: &mut Vec<u8>) {
    use event_field as field;
    out.bytes_field(field::EVENT_ID, event.id.as_bytes());
    text_field(out, field::TYPE, &event.type_name);
    text_field(out, field::SESSION_ID, &event.session_id);
    text_field(out, field::VIEWER_ID, &event.viewer_id);
    text_field(out, field::CONTENT_ID, &event.content_id);
    optional_text(out, field::ITEM_ID, event.item_id.as_deref());
    time_field(out, field::OCCURRED_AT_MS, event.occurred_at);
    time_field(out, field::CLIENT_OCCURRED_AT_MS, event.client_occurred_at);
    optional_number(out, field::SEQ, event.seq);
    optional_number(out, field::POSITION_MS, event.position_ms);
    optional_float(out, field::RATE, event.rate);
    if let Some(intervals) = &event.watched {
        write_watched(intervals, out);
    }
    optional_number(out, field::PLAYED_MS, event.played_ms);
    optional_text(out, field::ANSWER, event.answer.as_deref());
    optional_number(out, field::CORRECT, event.correct.map(u32::from));
    optional_float(out, field::SCORE, event.score);
    optional_number(out, field::ATTEMPT, event.attempt.map(u32::from));
    optional_number(out, field::ELAPSED_MS, event.elapsed_ms);
    optional_text(out, field::DETAILS, event.details.as_deref());
}

/// A `Watched` inside the event: the lengths of the message and of its packed numbers stand before them.
fn write_watched(intervals: &[(u32, u32)], out: &mut Vec<u8>) {
    let bounds = || intervals.iter().flat_map(|&(start, end)| [start, end]).map(u64::from);
    let packed: usize = bounds().map(varint_len).sum();
    out.key_of_bytes(event_field::WATCHED);
    if packed == 0 {
        return out.varint(0);
    }
    out.varint((1 + varint_len(packed as u64) + packed) as u64);
    out.key_of_bytes(BOUNDS_MS);
    out.varint(packed as u64);
    bounds().for_each(|bound| out.varint(bound));
}

/// What an event takes in a record, or a little more.
fn most_bytes(event: &Event<'_>) -> usize {
    let optional = [&event.item_id, &event.answer, &event.details];
    let texts = event.type_name.len()
        + event.session_id.len()
        + event.viewer_id.len()
        + event.content_id.len()
        + optional.into_iter().flatten().map(|text| text.len()).sum::<usize>();
    FIXED_BYTES + texts + event.watched.as_ref().map_or(0, |intervals| intervals.len() * INTERVAL_BYTES)
}

/// As every protobuf writer, leaves an empty text out where absence means the same.
#[inline]
fn text_field(out: &mut Vec<u8>, number: u32, text: &str) {
    optional_text(out, number, Some(text).filter(|text| !text.is_empty()));
}

/// As [`text_field`], for zero.
#[inline]
fn time_field(out: &mut Vec<u8>, number: u32, time: UnixMillis) {
    if time.0 != 0 {
        out.varint_field(number, time.0.cast_unsigned());
    }
}

#[inline]
fn optional_text(out: &mut Vec<u8>, number: u32, text: Option<&str>) {
    if let Some(text) = text {
        out.bytes_field(number, text.as_bytes());
    }
}

#[inline]
fn optional_number(out: &mut Vec<u8>, field: u32, number: Option<u32>) {
    if let Some(number) = number {
        out.varint_field(field, u64::from(number));
    }
}

#[inline]
fn optional_float(out: &mut Vec<u8>, field: u32, number: Option<f32>) {
    if let Some(number) = number {
        out.float_field(field, number);
    }
}
