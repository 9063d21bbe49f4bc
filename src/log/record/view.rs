//! A record, read where it stands.
//!
//! The bytes come from the log, which others may write to: anything in them may be wrong, and what is wrong is an
//! error. What is read as an [`Event`] keeps the promises that the columns rest on: text is UTF-8, numbers and times
//! fit, intervals run forwards. Fields that a newer release wrote are passed over: whoever stores events asks
//! [`RecordView::is_newer`] first.

use std::borrow::Cow;

use uuid::Uuid;

use super::{BOUNDS_MS, FORMAT, event_field, record_field};
use crate::event::wire::{Malformed, Wire, WireFields, varint};
use crate::event::{Event, UnixMillis};
use crate::ops::spans::SpanContext;
use crate::tenant::OrganizationId;

/// The bytes are no record that this release can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// They end too early, or are something else altogether.
    #[error("the bytes are not protobuf")]
    NotProtobuf,
    /// A field that every record or event has is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field is of another kind than this release knows.
    #[error("`{0}` is of another kind")]
    WrongKind(&'static str),
    /// A text is not UTF-8.
    #[error("`{0}` is not UTF-8")]
    NotUtf8(&'static str),
    /// A number does not fit its column.
    #[error("`{0}` is out of its range")]
    OutOfRange(&'static str),
}

/// What a record says of itself, and its events, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// Decides where the events are stored.
    pub organization_id: OrganizationId,
    /// Tells this record from any other, also in another life of the topic.
    pub record_id: Uuid,
    /// The request that carried the batch.
    pub request_id: Uuid,
    /// When intake received the batch.
    pub received_at: UnixMillis,
    /// How many events it holds.
    pub event_count: usize,
    /// What a reader must know so as not to lose anything of it: see [`FORMAT`].
    pub format: u32,
    /// The request's span, if that is exported. It is for those who look on: what names none is no fault of the record.
    pub span: Option<SpanContext>,
    fields: WireFields<'a>,
}

/// The events of a record, decoded one by one; see [`RecordView::events`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    fields: WireFields<'a>,
}

impl<'a> RecordView<'a> {
    /// Reads what the record says of itself and counts its events without looking into them: cheap, and no memory.
    ///
    /// # Errors
    /// See [`BadRecord`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadRecord> {
        let fields = WireFields::of(bytes);
        let (mut organization_id, mut record_id, mut request_id) = (None, None, None);
        let mut received_at = UnixMillis(0);
        let (mut event_count, mut format) = (0, 0);
        let mut span = None;
        for field in fields.clone() {
            let (number, value) = field?;
            match number {
                record_field::ORGANIZATION_ID => organization_id = Some(uuid(value, "organization_id")?),
                record_field::RECORD_ID => record_id = Some(uuid(value, "record_id")?),
                record_field::REQUEST_ID => request_id = Some(uuid(value, "request_id")?),
                record_field::RECEIVED_AT_MS => received_at = time(value, "received_at_ms")?,
                record_field::EVENTS => {
                    bytes_of(value, "events")?;
                    event_count += 1;
                }
                record_field::FORMAT => format = whole(value, u32::MAX, "format")?,
                record_field::SPAN => {
                    span = bytes_of(value, "span").ok().and_then(SpanContext::from_bytes);
                }
                _ => {}
            }
        }
        Ok(Self {
            organization_id: OrganizationId(organization_id.ok_or(BadRecord::Missing("organization_id"))?),
            record_id: record_id.ok_or(BadRecord::Missing("record_id"))?,
            request_id: request_id.ok_or(BadRecord::Missing("request_id"))?,
            received_at,
            event_count,
            format,
            span,
            fields,
        })
    }

    /// Whether a newer release wrote something into it that this one would lose.
    pub fn is_newer(&self) -> bool {
        self.format > FORMAT
    }

    /// The events in order. The first that is wrong makes the whole record unreadable: take nothing from it.
    pub fn events(&self) -> Events<'a> {
        Events { fields: self.fields.clone() }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fields.find_map(|field| match field {
            Ok((record_field::EVENTS, Wire::Bytes(event))) => Some(read_event(event)),
            Ok(_) => None,
            Err(Malformed) => Some(Err(BadRecord::NotProtobuf)),
        })
    }
}

impl From<Malformed> for BadRecord {
    fn from(Malformed: Malformed) -> Self {
        Self::NotProtobuf
    }
}

fn read_event(bytes: &[u8]) -> Result<Event<'_>, BadRecord> {
    use event_field as field;
    let mut id = None;
    // What absence means in every field.
    let mut event = Event::empty();
    for field in WireFields::of(bytes) {
        let (number, value) = field?;
        match number {
            field::EVENT_ID => id = Some(uuid(value, "event_id")?),
            field::TYPE => event.type_name = text(value, "type")?,
            field::SESSION_ID => event.session_id = text(value, "session_id")?,
            field::VIEWER_ID => event.viewer_id = text(value, "viewer_id")?,
            field::CONTENT_ID => event.content_id = text(value, "content_id")?,
            field::ITEM_ID => event.item_id = Some(text(value, "item_id")?),
            field::OCCURRED_AT_MS => event.occurred_at = time(value, "occurred_at_ms")?,
            field::CLIENT_OCCURRED_AT_MS => {
                event.client_occurred_at = time(value, "client_occurred_at_ms")?;
            }
            field::SEQ => event.seq = Some(whole(value, u32::MAX, "seq")?),
            field::POSITION_MS => event.position_ms = Some(whole(value, MAX_INTEGER, "position_ms")?),
            field::RATE => event.rate = Some(float(value, "rate")?),
            field::WATCHED => event.watched = Some(watched(value)?),
            field::PLAYED_MS => event.played_ms = Some(whole(value, MAX_INTEGER, "played_ms")?),
            field::ANSWER => event.answer = Some(text(value, "answer")?),
            field::CORRECT => event.correct = Some(whole(value, 1, "correct")? == 1),
            field::SCORE => event.score = Some(float(value, "score")?),
            field::ATTEMPT => event.attempt = Some(smallint(value, "attempt")?),
            field::ELAPSED_MS => event.elapsed_ms = Some(whole(value, MAX_INTEGER, "elapsed_ms")?),
            field::DETAILS => event.details = Some(text(value, "details")?),
            _ => {}
        }
    }
    event.id = id.ok_or(BadRecord::Missing("event_id"))?;
    Ok(event)
}

/// The most that an `integer` column holds.
const MAX_INTEGER: u32 = i32::MAX.unsigned_abs();
/// The most that a `smallint` column holds.
const MAX_SMALLINT: u32 = 32_767;

fn bytes_of<'a>(value: Wire<'a>, name: &'static str) -> Result<&'a [u8], BadRecord> {
    match value {
        Wire::Bytes(bytes) => Ok(bytes),
        _ => Err(BadRecord::WrongKind(name)),
    }
}

fn uuid(value: Wire<'_>, name: &'static str) -> Result<Uuid, BadRecord> {
    Uuid::from_slice(bytes_of(value, name)?).map_err(|_| BadRecord::WrongKind(name))
}

#[inline]
fn text<'a>(value: Wire<'a>, name: &'static str) -> Result<Cow<'a, str>, BadRecord> {
    let text = std::str::from_utf8(bytes_of(value, name)?).map_err(|_| BadRecord::NotUtf8(name))?;
    Ok(Cow::Borrowed(text))
}

#[inline]
fn time(value: Wire<'_>, name: &'static str) -> Result<UnixMillis, BadRecord> {
    let Wire::Varint(millis) = value else { return Err(BadRecord::WrongKind(name)) };
    let time = UnixMillis(millis.cast_signed());
    if time.is_writable() { Ok(time) } else { Err(BadRecord::OutOfRange(name)) }
}

#[inline]
fn whole(value: Wire<'_>, max: u32, name: &'static str) -> Result<u32, BadRecord> {
    let Wire::Varint(number) = value else { return Err(BadRecord::WrongKind(name)) };
    match u32::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        _ => Err(BadRecord::OutOfRange(name)),
    }
}

fn smallint(value: Wire<'_>, name: &'static str) -> Result<u16, BadRecord> {
    u16::try_from(whole(value, MAX_SMALLINT, name)?).map_err(|_| BadRecord::OutOfRange(name))
}

fn float(value: Wire<'_>, name: &'static str) -> Result<f32, BadRecord> {
    match value {
        Wire::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
        _ => Err(BadRecord::WrongKind(name)),
    }
}

/// The only field of an event that cannot be borrowed. Each interval takes two bytes at least, so that hostile bytes
/// grow to four times their size here and no further.
fn watched(value: Wire<'_>) -> Result<Vec<(u32, u32)>, BadRecord> {
    let mut intervals = Vec::new();
    for field in WireFields::of(bytes_of(value, "watched")?) {
        let (number, value) = field?;
        if number == BOUNDS_MS {
            read_bounds(bytes_of(value, "watched")?, &mut intervals)?;
        }
    }
    Ok(intervals)
}

fn read_bounds(mut packed: &[u8], intervals: &mut Vec<(u32, u32)>) -> Result<(), BadRecord> {
    intervals.reserve(packed.len() / 8);
    while !packed.is_empty() {
        let start = whole(Wire::Varint(varint(&mut packed)?), MAX_INTEGER, "watched")?;
        let end = whole(Wire::Varint(varint(&mut packed)?), MAX_INTEGER, "watched")?;
        if start >= end {
            return Err(BadRecord::OutOfRange("watched"));
        }
        intervals.push((start, end));
    }
    Ok(())
}
