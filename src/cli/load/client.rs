//! One request and what came of it.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::batch::Batch;
use super::intake_url::IntakeUrl;
use super::keyring::Keyring;
use super::reply::{Problem, Reply};
use crate::event::UnixMillis;
use crate::ops::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Above the time that intake itself waits for the log.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REPLY_BYTES: usize = 4 << 20;

/// Sends batches over connections that are kept.
pub(in crate::cli) struct IntakeClient {
    http: Client<HttpConnector, Full<Bytes>>,
    url: IntakeUrl,
    /// By the index of the organization.
    senders: Vec<Sender>,
    encoding: Encoding,
}

/// How bodies go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Encoding {
    Plain,
    Gzip,
}

struct Sender {
    slug: String,
    authorization: HeaderValue,
}

/// What came of one request.
#[derive(Debug)]
pub(in crate::cli) enum Exchange {
    /// Every event has its verdict.
    Answered(Reply),
    /// Not now: send the same events again, after this time if one is given.
    NotNow { retry_after: Option<Duration>, trouble: Trouble },
    /// Not like this: sending it again would be answered alike.
    Refused(Trouble),
}

/// Why a request has no verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Trouble {
    /// Names the kind: `503 overloaded`, `no reply`.
    pub(in crate::cli) code: String,
    pub(in crate::cli) message: String,
}

impl IntakeClient {
    pub(in crate::cli) fn new(url: IntakeUrl, keyring: &Keyring, encoding: Encoding) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let sender = |(slug, key): (&crate::tenant::Slug, &crate::tenant::WriteKey)| {
            let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
                .expect("a write key is letters and digits");
            authorization.set_sensitive(true);
            Sender { slug: slug.to_string(), authorization }
        };
        Self { http, url, senders: keyring.iter().map(sender).collect(), encoding }
    }

    /// Sends a batch once.
    pub(in crate::cli) async fn send(&self, batch: &Batch) -> Exchange {
        match tokio::time::timeout(REPLY_TIMEOUT, self.exchange(batch)).await {
            Ok(Ok(exchange)) => exchange,
            Ok(Err(message)) => Exchange::no_reply(message),
            Err(_) => Exchange::no_reply(format!("nothing came within {} s", REPLY_TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, batch: &Batch) -> Result<Exchange, String> {
        let request = self.request(batch)?;
        let response = self.http.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|error| error.to_string())?;
        let response = Response::from_parts(head, body.to_bytes());
        if response.status() == StatusCode::OK {
            return Reply::parse(response.body(), batch.len()).map(Exchange::Answered);
        }
        Ok(Exchange::problem(&response))
    }

    fn request(&self, batch: &Batch) -> Result<Request<Full<Bytes>>, String> {
        let sender = &self.senders[batch.organization];
        let request = Request::post(self.url.uri().clone())
            .header(AUTHORIZATION, sender.authorization.clone())
            .header(CONTENT_TYPE, "application/json");
        // The time of this attempt, which is why a body is made for each.
        let body = body(&sender.slug, UnixMillis::now(), batch);
        let request = match self.encoding {
            Encoding::Plain => request.body(Full::from(body)),
            Encoding::Gzip => request.header(CONTENT_ENCODING, "gzip").body(Full::from(gzip(&body))),
        };
        request.map_err(|error| error.to_string())
    }
}

impl Exchange {
    fn no_reply(message: String) -> Self {
        Self::NotNow { retry_after: None, trouble: Trouble { code: "no reply".to_owned(), message } }
    }

    fn problem(response: &Response<Bytes>) -> Self {
        let status = response.status();
        let (code, message) = match serde_json::from_slice::<Problem>(response.body()) {
            Ok(problem) => (format!("{} {}", status.as_u16(), problem.code), problem.detail),
            Err(_) => (status.to_string(), "without the reason that intake gives".to_owned()),
        };
        let trouble = Trouble { code, message };
        let may_pass = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        if may_pass {
            Self::NotNow { retry_after: retry_after(response.headers()), trouble }
        } else {
            Self::Refused(trouble)
        }
    }
}

/// Whole seconds, as intake gives them.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn body(slug: &str, sent_at: UnixMillis, batch: &Batch) -> Vec<u8> {
    let sdk = concat!("rollbook-load/", env!("CARGO_PKG_VERSION"));
    let head = format!(r#"{{"organization":"{slug}","sent_at":{},"sdk":"{sdk}","events":["#, sent_at.0);
    [head.as_str(), batch.joined(), "]}"].concat().into_bytes()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}
