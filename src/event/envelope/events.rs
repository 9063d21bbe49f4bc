//! The events of one request, each with what the scan of its body found.
//!
//! JSON is looked at twice only where an event is odd: the scan that proves a body to be JSON notes where each field's value
//! is, in a tape that all events share. An event with a key that no field has, one with an escape, or one that is there twice is left to
//! the walk, which knows what to say of it; so the tape is no longer than the fields are many.

use super::super::json::{NotJson, Scanner};
use super::super::names::{NAMES, Slot, Slots};
use super::super::value::Value;
use super::{MAX_EVENTS, RawEvent};

/// What a field takes in the events of players, name and comma included.
const BYTES_A_FIELD: usize = 24;

/// Fields as they were found, one after the other.
pub(super) type Tape<'a> = Vec<(Slot, Value<'a>)>;

/// The events of one request, in the order sent; not judged yet.
#[derive(Default)]
pub struct Events<'a> {
    events: Vec<Event<'a>>,
    tape: Tape<'a>,
}

enum Event<'a> {
    Raw(RawEvent<'a>),
    Scanned { text: &'a str, fields: std::ops::Range<usize> },
}

/// One JSON object, known to be well-formed, with all its members.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    pub(in super::super) text: &'a str,
    /// Every member once.
    pub(in super::super) fields: &'a [(Slot, Value<'a>)],
}

impl<'a> Events<'a> {
    /// Makes room for what so many bytes of JSON hold, as players write it: no more than the most that it can become.
    pub(super) fn of_json(bytes: usize) -> Self {
        let fields = (bytes / BYTES_A_FIELD).min(MAX_EVENTS * NAMES.len());
        Self { events: Vec::new(), tape: Vec::with_capacity(fields) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawEvent<'_>> {
        self.events.iter().map(|event| match event {
            Event::Raw(raw) => *raw,
            Event::Scanned { text, fields } => {
                RawEvent::Scanned(Scanned { text, fields: self.tape.get(fields.clone()).unwrap_or_default() })
            }
        })
    }

    pub(in super::super) fn push(&mut self, event: RawEvent<'a>) {
        self.events.push(Event::Raw(event));
    }

    /// Takes the event whose first byte the scanner has just read.
    pub(super) fn scan(&mut self, scanner: &mut Scanner<'a>, first: u8) -> Result<(), NotJson> {
        let start = self.tape.len();
        let text = scan(scanner, first, &mut self.tape)?;
        let fields = start..self.tape.len();
        self.events.push(if fields.is_empty() {
            Event::Raw(RawEvent::Json(text))
        } else {
            Event::Scanned { text, fields }
        });
        Ok(())
    }
}

/// Reads the value whose first byte was just read, and notes its members; none if it is no object, or one for the walk.
pub(super) fn scan<'a>(
    scanner: &mut Scanner<'a>,
    first: u8,
    tape: &mut Tape<'a>,
) -> Result<&'a str, NotJson> {
    let (at, start) = (scanner.position(), tape.len());
    if first != b'{' {
        scanner.value_from(first)?;
        return scanner.since(at);
    }
    let (mut seen, mut is_plain, mut is_first) = (Slots::NONE, true, true);
    while let Some(slot) = scanner.field(is_first)? {
        is_first = false;
        let value = scanner.value()?;
        match slot {
            Some(slot) if !seen.contains(slot) => {
                seen = seen.with(slot);
                tape.push((slot, value));
            }
            _ => is_plain = false,
        }
    }
    if !is_plain {
        tape.truncate(start);
    }
    scanner.since(at)
}
