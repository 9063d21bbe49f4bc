//! Spans: when a request came and went, and when what it carried was stored, for a collector of traces.
//!
//! A span is made only where spans are exported and its trace is sampled; for all others nothing is remembered. Which trace is,
//! intake decides once, by what the caller decided or by the share that was asked for, and the record carries it on: the
//! loader makes spans for records that name one, and no others. A process starts one exporter; whoever ends a span gives it away
//! and never waits.

#[cfg(feature = "otlp")]
mod connect;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod message;
#[cfg(feature = "otlp")]
mod post;

use std::borrow::Cow;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use uuid::Uuid;

#[cfg(feature = "otlp")]
use export::Exporter;
#[cfg(feature = "otlp")]
pub use export::{finish, start};

/// What is said of a span, mostly.
const MOST_SAID: usize = 16;
/// Where the spans of this process go: nowhere unless it was told.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// A build without the feature has none.
#[cfg(not(feature = "otlp"))]
enum Exporter {}

#[cfg(not(feature = "otlp"))]
impl Exporter {
    fn samples(&self, _trace: Uuid, _callers: Option<bool>) -> bool {
        match *self {}
    }

    fn take(&self, _span: Span) {
        match *self {}
    }
}

/// A span's name among all others, as other processes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    trace: NonZeroU128,
    span: NonZeroU64,
}

impl SpanContext {
    /// How many bytes [`SpanContext::to_bytes`] gives.
    pub const BYTES: usize = 24;

    /// `None` where one of them is zero, which stands for none.
    pub fn new(trace: Uuid, span: u64) -> Option<Self> {
        Some(Self { trace: NonZeroU128::new(trace.as_u128())?, span: NonZeroU64::new(span)? })
    }

    /// Another span of this one's trace, or of a trace that begins.
    fn any_in(trace: NonZeroU128) -> Self {
        Self { trace, span: rand::random() }
    }

    /// Trace and span, most significant byte first: what a record carries.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace.get().to_be_bytes());
        bytes[16..].copy_from_slice(&self.span.get().to_be_bytes());
        bytes
    }

    /// `None`: the bytes name no span.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace, span) = bytes.split_at_checked(16)?;
        let span = u64::from_be_bytes(span.try_into().ok()?);
        Self::new(Uuid::from_slice(trace).ok()?, span)
    }
}

/// The span of a caller, and whether the caller keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub context: SpanContext,
    /// The `sampled` flag.
    pub is_sampled: bool,
}

/// Whose side of a conversation a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request.
    Server,
    /// It takes what was left for it.
    Consumer,
}

/// What is said of a span under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Whole(i64),
}

/// A span on its way: told what it was about, then ended.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "a build without the feature gives them to nobody")
)]
pub struct Span {
    context: SpanContext,
    parent: Option<SpanContext>,
    kind: Kind,
    name: Cow<'static, str>,
    begun: SystemTime,
    ended: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    /// Why it is one that a person should look at.
    error: Option<Cow<'static, str>>,
}

/// Whether spans are worth making at all.
pub fn are_exported() -> bool {
    EXPORTER.get().is_some()
}

/// The span of a request: in its caller's trace if that is known, else the first of the trace that is called `id`. `None`: it is
/// not sampled.
pub fn of_request(id: Uuid, caller: Option<Caller>, name: Cow<'static, str>) -> Option<Span> {
    let exporter = EXPORTER.get()?;
    let trace = caller.map_or(NonZeroU128::new(id.as_u128())?, |caller| caller.context.trace);
    let is_sampled = exporter.samples(Uuid::from_u128(trace.get()), caller.map(|caller| caller.is_sampled));
    let parent = caller.map(|caller| caller.context);
    is_sampled.then(|| Span::begin(SpanContext::any_in(trace), parent, Kind::Server, name, SystemTime::now()))
}

/// The span of what became of a record, below that of its request, since `begun`.
pub fn of_record(request: SpanContext, name: &'static str, begun: Instant) -> Span {
    let now = SystemTime::now();
    let begun = now.checked_sub(begun.elapsed()).unwrap_or(now);
    Span::begin(SpanContext::any_in(request.trace), Some(request), Kind::Consumer, name.into(), begun)
}

impl Span {
    fn begin(
        context: SpanContext,
        parent: Option<SpanContext>,
        kind: Kind,
        name: Cow<'static, str>,
        begun: SystemTime,
    ) -> Self {
        Self {
            context,
            parent,
            kind,
            name,
            begun,
            ended: begun,
            attributes: Vec::with_capacity(MOST_SAID),
            error: None,
        }
    }

    /// What others are to name as their parent.
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// Says something of it.
    pub fn tell(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// It is one that a person should look at.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        self.error = Some(why.into());
    }

    /// Ends it now, and gives it away.
    pub fn end(mut self) {
        self.ended = SystemTime::now();
        if let Some(exporter) = EXPORTER.get() {
            exporter.take(self);
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_span_is_none() {
        let context = SpanContext::new(Uuid::from_u128(7), 8).expect("a span");
        assert_eq!(SpanContext::from_bytes(&context.to_bytes()), Some(context));
        let bytes = context.to_bytes();
        for bad in [&bytes[1..], &bytes[..16], &[0; 24], &[], &[bytes.as_slice(), &[0]].concat()] {
            assert_eq!(SpanContext::from_bytes(bad), None, "{bad:?}");
        }
        assert_eq!(SpanContext::new(Uuid::from_u128(7), 0), None);
        assert_eq!(SpanContext::new(Uuid::nil(), 8), None);
    }
}
