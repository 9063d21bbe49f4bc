//! Batches as a player sends them, in every form, for the benches of the accepting path.
//!
//! One viewer's session: mostly heartbeats with a watched interval, now and then a pause, a seek, a question, an answer with
//! `ext`; about 340 bytes of JSON an event. Every event is new and of this minute, so that intake accepts it.

use std::io::Write as _;

use prost::Message as _;
use rollbook::event::UnixMillis;
use rollbook::event::proto::{Answer, Choices, Event, IngestRequest, Interval, Intervals, answer};
use uuid::Uuid;

/// The sizes that are measured: a heartbeat alone, what a player gathers in minutes, the most that one request takes.
pub(crate) const SIZES: [usize; 3] = [1, 50, 500];

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Ndjson,
    Protobuf,
}

/// How a body goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
}

/// What is measured: one size in one form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Events in a batch.
    pub(crate) events: usize,
    /// How the body is written.
    pub(crate) form: Form,
    /// How it goes over the wire.
    pub(crate) packing: Packing,
}

/// One batch, unpacked and as it is sent.
pub(crate) struct Batch {
    /// As it is written.
    pub(crate) plain: Vec<u8>,
    /// As it goes over the wire.
    pub(crate) wire: Vec<u8>,
}

impl Case {
    /// Every case, the plain ones first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [Packing::Plain, Packing::Gzip].into_iter().flat_map(|packing| {
            [Form::Json, Form::Ndjson, Form::Protobuf]
                .into_iter()
                .flat_map(move |form| SIZES.map(|events| Self { events, form, packing }))
        })
    }

    /// `json/50/gzip`.
    pub(crate) fn name(&self) -> String {
        let form = match self.form {
            Form::Json => "json",
            Form::Ndjson => "ndjson",
            Form::Protobuf => "protobuf",
        };
        let packing = match self.packing {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
        };
        format!("{form}/{}/{packing}", self.events)
    }

    /// Which of the cases the arguments of `cargo bench … -- json/50` name; all of them when there are none.
    pub(crate) fn is_asked_for(&self) -> bool {
        let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
        words.peek().is_none() || words.any(|word| self.name().starts_with(&word))
    }

    /// The value of `Content-Type`.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.form {
            Form::Json => "application/json",
            Form::Ndjson => "application/x-ndjson",
            Form::Protobuf => "application/x-protobuf",
        }
    }

    /// A batch whose events no other batch has.
    pub(crate) fn batch(&self) -> Batch {
        let session = Session::new();
        let events = (0..self.events).map(|n| session.event(n));
        let plain = match self.form {
            Form::Json => {
                let events: Vec<String> = events.map(|event| json(&event)).collect();
                format!(r#"{{"sent_at":{},"sdk":"web 2.1","events":[{}]}}"#, session.now_ms, events.join(","))
                    .into_bytes()
            }
            Form::Ndjson => events.flat_map(|event| (json(&event) + "\n").into_bytes()).collect(),
            Form::Protobuf => {
                let sdk = Some("web 2.1".to_owned());
                IngestRequest {
                    sent_at: Some(session.now_ms),
                    sdk,
                    events: events.collect(),
                    ..Default::default()
                }
                .encode_to_vec()
            }
        };
        let wire = match self.packing {
            Packing::Plain => plain.clone(),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&plain).and_then(|()| encoder.finish()).expect("in memory")
            }
        };
        Batch { plain, wire }
    }
}

/// One mount of one player.
struct Session {
    now_ms: i64,
    session_id: String,
    viewer_id: String,
    content_id: String,
}

impl Session {
    fn new() -> Self {
        let id = || Uuid::new_v4().to_string();
        Self { now_ms: UnixMillis::now().0, session_id: id(), viewer_id: id(), content_id: id() }
    }

    /// Its `n`th event.
    fn event(&self, n: usize) -> Event {
        let n = u32::try_from(n).expect("a small batch");
        let position = n * 10_000 % 3_600_000;
        let some = |text: &str| Some(text.to_owned());
        let watched = |start: u32, end: u32| {
            Some(Intervals { intervals: vec![Interval { start_ms: start, end_ms: end }] })
        };
        let common = Event {
            id: Some(Uuid::now_v7().to_string()),
            occurred_at: Some(self.now_ms - i64::from(500 - n.min(500)) * 1_000),
            session_id: some(&self.session_id),
            viewer_id: some(&self.viewer_id),
            content_id: some(&self.content_id),
            seq: Some(n),
            position_ms: Some(position),
            ..Event::default()
        };
        // A batch of one is the most frequent event of all.
        match (n + 4) % 10 {
            0 => Event { r#type: some("video.played"), rate: Some(1.25), ..common },
            6 => Event {
                r#type: some("video.seeked"),
                from_ms: Some(position),
                to_ms: Some(position / 2),
                watched: Some(Intervals::default()),
                ..common
            },
            7 => Event { r#type: some("video.paused"), watched: watched(0, position + 900), ..common },
            8 => Event {
                r#type: some("item.shown"),
                item_id: some("question-12"),
                item_kind: some("single_choice"),
                ..common
            },
            9 => Event {
                r#type: some("item.answered"),
                item_id: some("question-12"),
                answer: Some(Answer {
                    answer: Some(answer::Answer::Choices(Choices {
                        choices: vec!["1".to_owned(), "3".to_owned()],
                    })),
                }),
                attempt: Some(1),
                elapsed_ms: Some(n * 37 % 60_000),
                correct: Some(true),
                score: Some(0.75),
                ext: some(r#"{"course":"algebra-1","cohort":["2026","b"],"weight":1.5}"#),
                ..common
            },
            _ => Event {
                r#type: some("video.heartbeat"),
                watched: watched(position, position + 10_000),
                played_ms: Some(n * 10_000 % 86_400_000),
                ..common
            },
        }
    }
}

/// The JSON form of an event, in the order in which a player writes it.
fn json(event: &Event) -> String {
    let mut members = Vec::new();
    let mut put = |name: &str, value: Option<String>| {
        members.extend(value.map(|value| format!("\"{name}\":{value}")));
    };
    let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("\"{text}\""));
    put("id", quoted(&event.id));
    put("type", quoted(&event.r#type));
    put("occurred_at", event.occurred_at.map(|at| format!("\"{}\"", UnixMillis(at))));
    put("session_id", quoted(&event.session_id));
    put("viewer_id", quoted(&event.viewer_id));
    put("content_id", quoted(&event.content_id));
    put("seq", event.seq.map(|n| n.to_string()));
    put("position_ms", event.position_ms.map(|n| n.to_string()));
    put("rate", event.rate.map(|n| n.to_string()));
    put("from_ms", event.from_ms.map(|n| n.to_string()));
    put("to_ms", event.to_ms.map(|n| n.to_string()));
    put("watched", event.watched.as_ref().map(intervals));
    put("played_ms", event.played_ms.map(|n| n.to_string()));
    put("item_id", quoted(&event.item_id));
    put("item_kind", quoted(&event.item_kind));
    put("answer", event.answer.as_ref().map(|_| r#"{"choices":["1","3"]}"#.to_owned()));
    put("attempt", event.attempt.map(|n| n.to_string()));
    put("elapsed_ms", event.elapsed_ms.map(|n| n.to_string()));
    put("correct", event.correct.map(|is| is.to_string()));
    put("score", event.score.map(|n| n.to_string()));
    put("ext", event.ext.clone());
    format!("{{{}}}", members.join(","))
}

fn intervals(watched: &Intervals) -> String {
    let all = watched.intervals.iter().map(|interval| format!("[{},{}]", interval.start_ms, interval.end_ms));
    format!("[{}]", all.collect::<Vec<_>>().join(","))
}
