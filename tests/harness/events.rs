//! Events and batches as a player sends them.

use std::io::Write as _;

use rollbook::event::UnixMillis;
use serde_json::{Value, json};
use uuid::Uuid;

/// How a batch of JSON events goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// The same without any header of ours: the key is in the body.
    Beacon,
    Ndjson,
    Gzip,
    Zstd,
    Brotli,
}

impl Form {
    /// The headers and the body of a batch.
    pub(crate) fn pack(
        self,
        slug: &str,
        key: &str,
        events: &[Value],
    ) -> (Vec<(&'static str, String)>, Vec<u8>) {
        let json = || json!({"organization": slug, "events": events}).to_string().into_bytes();
        let authorization = ("authorization", format!("Bearer {key}"));
        let typed = |name: &str| vec![("content-type", name.to_owned()), authorization.clone()];
        let encoded = |encoding: &str| {
            let mut headers = typed("application/json");
            headers.push(("content-encoding", encoding.to_owned()));
            headers
        };
        match self {
            Self::Json => (typed("application/json"), json()),
            Self::Beacon => {
                let body = json!({"organization": slug, "key": key, "events": events});
                (vec![("content-type", "text/plain;charset=UTF-8".to_owned())], body.to_string().into_bytes())
            }
            Self::Ndjson => {
                let mut headers = typed("application/x-ndjson");
                headers.push(("organization", slug.to_owned()));
                let lines: Vec<String> = events.iter().map(Value::to_string).collect();
                (headers, lines.join("\n").into_bytes())
            }
            Self::Gzip => (encoded("gzip"), gzip(&json())),
            Self::Zstd => (encoded("zstd"), zstd::encode_all(&json()[..], 3).expect("in memory")),
            Self::Brotli => (encoded("br"), brotli(&json())),
        }
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("in memory")
}

pub(super) fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut packed, 4096, 4, 20);
    writer.write_all(bytes).expect("in memory");
    drop(writer);
    packed
}

/// So many new events.
pub(crate) fn played(count: usize) -> Vec<Value> {
    let event = |seq: usize| {
        json!({
            "id": Uuid::now_v7(), "type": "video.played", "occurred_at": UnixMillis::now().0,
            "session_id": "s", "viewer_id": "v", "content_id": "c", "seq": seq,
        })
    };
    (0..count).map(event).collect()
}

/// An event's id.
pub(crate) fn id_of(event: &Value) -> String {
    event["id"].as_str().expect("an id").to_owned()
}
