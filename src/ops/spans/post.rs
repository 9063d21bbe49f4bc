//! One batch to the collector and its answer: OTLP over HTTP/1.1, a connection for each. A batch comes every few seconds, or holds
//! some hundred spans: keeping connections, and noticing that they are gone, would cost more than it saves.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::connect::Connector;
use crate::config::otlp::OtlpSettings;

/// What an answer may take: anything may listen there.
const MOST_ANSWER_BYTES: usize = 64 * 1024;
/// What of the collector's own words is repeated.
const MOST_WORDS: usize = 200;

/// Why the collector does not have a batch.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// It may take it later.
    Now(String),
    /// It will not.
    Ever(String),
    /// It has the others.
    Partly { spans: u64, why: String },
}

/// Knows where batches go, and what goes with them.
pub(super) struct Post {
    settings: OtlpSettings,
    connector: Connector,
}

impl Post {
    pub(super) fn new(settings: OtlpSettings) -> Self {
        let connector = Connector::new(&settings.endpoint);
        Self { settings, connector }
    }

    /// A batch as it is sent.
    pub(super) fn packed(&self, body: Vec<u8>) -> Bytes {
        if !self.settings.packs {
            return body.into();
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let written = packed.write_all(&body).and_then(|()| packed.finish());
        written.expect("a vector takes what is written to it").into()
    }

    /// Sends it once.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection; the collector may have the batch.
    pub(super) async fn send(&self, body: Bytes) -> Result<(), NotTaken> {
        let now = |error: &dyn std::fmt::Display| NotTaken::Now(error.to_string());
        let request = self.request(body).map_err(|error| NotTaken::Ever(error.to_string()))?;
        let stream = self.connector.connect().await.map_err(|error| now(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| now(&error))?;
        let answered = async move {
            let (head, body) = sender.send_request(request).await.map_err(|error| now(&error))?.into_parts();
            let body = Limited::new(body, MOST_ANSWER_BYTES).collect().await.map_err(|error| now(&error))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let mut answered = std::pin::pin!(answered);
        let answer = tokio::select! {
            biased;
            answer = &mut answered => answer,
            // What it has read of the answer is there, and that it is no more.
            _ = connection => answered.await,
        };
        judge(&answer?)
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let endpoint = &self.settings.endpoint;
        let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
        let host = endpoint.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path).body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.extend(self.settings.headers.iter().cloned());
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("rollbook/", env!("CARGO_PKG_VERSION"))));
        if self.settings.packs {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(request)
    }
}

fn judge(answer: &Response<Bytes>) -> Result<(), NotTaken> {
    let status = answer.status();
    match status {
        StatusCode::OK => match ExportTraceServiceResponse::decode(answer.body().clone()) {
            Ok(ExportTraceServiceResponse { partial_success: Some(partly) }) if partly.rejected_spans > 0 => {
                let words: String = partly.error_message.chars().take(MOST_WORDS).collect();
                let why = format!("the collector refuses some: {words}");
                Err(NotTaken::Partly { spans: partly.rejected_spans.unsigned_abs(), why })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(NotTaken::Ever(format!("its answer is no collector's: {error}"))),
        },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(NotTaken::Now(format!("the collector answers {status}"))),
        _ => Err(NotTaken::Ever(format!("the collector answers {status}"))),
    }
}
