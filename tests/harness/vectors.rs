//! The golden vectors of `tests/vectors/`, sent to the real service; `tests/vectors/README.md` says what they look like.

mod placeholders;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use super::Reply;
pub(crate) use placeholders::compare;
use placeholders::{fill, fill_json};
use stage::Stage;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    vectors: Vec<Vector>,
}

/// One request and the reply that it gets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    /// What a person wants to know that the bytes do not show.
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    service: Condition,
    pub(crate) request: Request,
    pub(crate) reply: Expected,
}

/// What the service is in when the request comes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Condition {
    #[default]
    Ready,
    /// `limited_school` has just sent 500 events.
    Exhausted,
    Starting,
    /// The only connection that it takes is taken.
    Overloaded,
    /// There is no broker.
    LogUnavailable,
    /// The broker takes no message of more than 100 000 bytes.
    LogPartlyUnavailable,
    /// The second half of the body does not come.
    SlowBody,
    /// It was told to end when the request had begun.
    Draining,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default)]
    pub(crate) listener: Listener,
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    headers: BTreeMap<String, OneOrMore>,
    json: Option<Box<RawValue>>,
    text: Option<String>,
    hex: Option<String>,
    packed: Option<Packed>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Listener {
    #[default]
    Intake,
    Admin,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Packed {
    Gzip,
    Zstd,
    Br,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    json: Option<Value>,
    text: Option<String>,
}

/// A vector and what came back.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) vector: Vector,
    /// The body before it was packed.
    pub(crate) sent: Vec<u8>,
    pub(crate) reply: Reply,
}

/// Every vector sent once, whoever asks first.
pub(crate) async fn seen() -> &'static [Seen] {
    static SEEN: OnceCell<Vec<Seen>> = OnceCell::const_new();
    SEEN.get_or_init(send_all).await
}

async fn send_all() -> Vec<Seen> {
    let stage = Stage::set_up().await;
    let mut seen = Vec::new();
    for vector in load() {
        let (sent, reply) = stage.play(&vector).await;
        seen.push(Seen { vector, sent, reply });
    }
    seen
}

fn load() -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let entries = std::fs::read_dir(folder).expect("the folder of the vectors");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort_unstable();
    let files = paths.into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("a text");
        let file: File =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!file.about.is_empty(), "{}", path.display());
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), file)
    });
    let named = |(stem, file): (String, File)| {
        let name = move |vector: Vector| Vector { name: format!("{stem}: {}", vector.name), ..vector };
        file.vectors.into_iter().map(name)
    };
    files.flat_map(named).collect()
}

impl Request {
    /// What goes over the wire.
    fn headers(&self, names: &BTreeMap<&str, String>) -> Vec<(&str, String)> {
        let all = |(name, values): (_, &OneOrMore)| -> Vec<(&str, String)> {
            let values = match values {
                OneOrMore::One(value) => std::slice::from_ref(value),
                OneOrMore::More(values) => values,
            };
            values.iter().map(|value| (name, fill(value, names))).collect()
        };
        self.headers.iter().map(|(name, values)| (name.as_str(), values)).flat_map(all).collect()
    }

    /// What is sent, before it is packed.
    fn plain(&self, names: &BTreeMap<&str, String>) -> Vec<u8> {
        match (&self.json, &self.text, &self.hex) {
            (Some(json), None, None) => fill_json(json.get(), names).into_bytes(),
            (None, Some(text), None) => fill(text, names).into_bytes(),
            (None, None, Some(hex)) => from_hex(&fill(hex, names)),
            (None, None, None) => Vec::new(),
            _ => panic!("a request has one body at most: {self:?}"),
        }
    }

    /// What goes over the wire.
    fn pack(&self, plain: &[u8]) -> Vec<u8> {
        match self.packed {
            None => plain.to_vec(),
            Some(Packed::Gzip) => super::events::gzip(plain),
            Some(Packed::Zstd) => zstd::encode_all(plain, 3).expect("in memory"),
            Some(Packed::Br) => super::events::brotli(plain),
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The codes of whole requests and those of single events, as the service's own counters list them: all of them are
/// there from the start.
pub(crate) fn codes_of(metrics: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |metric: &str| -> BTreeSet<String> {
        let samples = metrics.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
        let code =
            |sample: &str| sample.split_once("code=\"")?.1.split_once('"').map(|(code, _)| code.to_owned());
        samples.filter_map(code).collect()
    };
    let mut problems = of("rollbook_intake_requests_total");
    // What is no problem is counted there, too.
    assert!(problems.remove("ok") && problems.remove("preflight"), "{problems:?}");
    (problems, of("rollbook_intake_rejections_total"))
}

impl Seen {
    /// Whether the request went to the listener that everybody sees.
    pub(crate) fn is_of_intake(&self) -> bool {
        self.vector.request.listener == Listener::Intake
    }

    /// What differs between the reply and the expected one.
    pub(crate) fn differences(&self) -> Vec<String> {
        let (expected, reply) = (&self.vector.reply, &self.reply);
        let mut found = Vec::new();
        if reply.status.as_u16() != expected.status {
            found.push(format!("status {} instead of {}", reply.status.as_u16(), expected.status));
        }
        for (name, expected) in &expected.headers {
            let seen = reply.headers.get(name).map(|value| value.to_str().expect("ASCII"));
            let seen = serde_json::json!(seen);
            found.extend(compare(&serde_json::json!(expected), &seen, name));
        }
        let body = String::from_utf8_lossy(&reply.body);
        match (&expected.json, &expected.text) {
            (Some(json), None) => found.extend(compare(json, &reply.json, "")),
            (None, text) => {
                let text = Value::from(text.as_deref().unwrap_or_default());
                found.extend(compare(&text, &Value::from(body.as_ref()), "body"));
            }
            (Some(_), Some(_)) => found.push("a reply has one body at most".to_owned()),
        }
        if !found.is_empty() {
            let note = self.vector.note.as_deref().unwrap_or_default();
            found.push(format!("in reply: {}", body.chars().take(2_000).collect::<String>()));
            found.insert(0, format!("{}: {note}", self.vector.name));
        }
        found
    }
}
