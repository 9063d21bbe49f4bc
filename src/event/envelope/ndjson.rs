//! One event a line; everything around the events comes in headers.

use super::super::json::{NotJson, Scanner};
use super::super::names::NAMES;
use super::events::{Scanned, Tape, scan};
#[cfg(test)]
use super::{Envelope, Events};
use super::{EnvelopeError, MAX_EVENTS, RawEvent, check_count};

#[cfg(test)]
pub(super) fn cut(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::not_utf8(error.valid_up_to()))?;
    let mut events = Events::default();
    // One more than the limit is enough to know.
    for line in text.split('\n').filter(|line| !is_blank(line)).take(MAX_EVENTS + 1) {
        // As another parser has it.
        events.push(match serde_json::from_str::<&serde_json::value::RawValue>(line) {
            Ok(raw) => RawEvent::Json(raw.get()),
            Err(_) => RawEvent::NotJson(line),
        });
    }
    Envelope { events, ..Envelope::default() }.with_events()
}

/// Cuts a body that arrives in pieces. Of what was cut it keeps nothing: at most the line that is not complete yet.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    /// Where in the body the next line begins.
    at: usize,
    events: usize,
}

impl Lines {
    /// Cuts the lines that `bytes` complete. Events past the limit are counted and not given.
    ///
    /// # Errors
    /// A line is not UTF-8; no more can be cut then.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(RawEvent<'_>)) -> Result<(), EnvelopeError> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.begun.is_empty() {
                self.cut(&rest[..end], &mut take)?;
            } else {
                let mut line = std::mem::take(&mut self.begun);
                line.extend_from_slice(&rest[..end]);
                self.cut(&line, &mut take)?;
            }
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        Ok(())
    }

    /// Cuts the last line, which need not be ended, and says whether all of them were a body.
    ///
    /// # Errors
    /// The last line is not UTF-8, or there are no events or too many.
    pub fn finish(mut self, mut take: impl FnMut(RawEvent<'_>)) -> Result<(), EnvelopeError> {
        let last = std::mem::take(&mut self.begun);
        self.cut(&last, &mut take)?;
        check_count(self.events)
    }

    /// Bytes of the line that is not complete.
    pub fn held_bytes(&self) -> usize {
        self.begun.capacity()
    }

    fn cut(&mut self, line: &[u8], take: &mut impl FnMut(RawEvent<'_>)) -> Result<(), EnvelopeError> {
        let text = simdutf8::compat::from_utf8(line)
            .map_err(|error| EnvelopeError::not_utf8(self.at + error.valid_up_to()))?;
        self.at += line.len() + 1;
        if !is_blank(text) {
            self.events += 1;
            if self.events <= MAX_EVENTS {
                take(event(text, &mut Tape::with_capacity(NAMES.len())));
            }
        }
        Ok(())
    }
}

fn event<'a>(line: &'a str, tape: &'a mut Tape<'a>) -> RawEvent<'a> {
    let mut scanner = Scanner::new(line);
    let mut whole = || {
        let first = scanner.token()?;
        let text = scan(&mut scanner, first, tape)?;
        scanner.end().map(|()| text)
    };
    match whole() {
        Ok(text) if tape.is_empty() => RawEvent::Json(text),
        Ok(text) => RawEvent::Scanned(Scanned { text, fields: tape }),
        Err(NotJson) => RawEvent::NotJson(line),
    }
}

/// Only what JSON counts as white space.
fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
