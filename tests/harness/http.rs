//! A client that can say anything, and what it was answered.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Sends requests to one address.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// A whole reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As it came.
    pub(crate) body: Bytes,
    /// `Null` where it is no JSON.
    pub(crate) json: Value,
}

impl Http {
    pub(crate) fn new(address: &str) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base: format!("http://{address}") }
    }

    /// Where it sends to.
    pub(crate) fn url(&self) -> String {
        self.base.clone()
    }

    /// The same for whoever speaks without HTTP's rules.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Sends one request; an error means that no reply came.
    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request that can be written");
        let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        Ok(Reply::new(head.status, head.headers, body))
    }

    /// Sends one request, which is answered.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let reply = self.try_send(method, path, headers, body).await;
        reply.unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }
}

impl Reply {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self { status, headers, body, json }
    }

    /// Every one of so many events was accepted.
    #[track_caller]
    pub(crate) fn accepts(self, events: usize) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.json);
        assert_eq!(self.json["accepted"], events, "{}", self.json);
        assert_eq!(self.json["results"], serde_json::json!([]), "{}", self.json);
        self
    }

    /// The request was refused as a whole, in the form of a problem and readable by a page.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        let seen = (self.status.as_u16(), self.json["code"].as_str().unwrap_or_default());
        assert_eq!(seen, (status, code), "{}", self.json);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(self.headers.contains_key("access-control-allow-origin"), "{:?}", self.headers);
        assert_eq!(self.json["status"], status);
        for member in ["type", "title", "detail", "request_id"] {
            assert!(self.json[member].is_string(), "{member}: {}", self.json);
        }
        let comes_back = [429, 503].contains(&status);
        assert_eq!(self.headers.contains_key("retry-after"), comes_back, "{:?}", self.headers);
        self
    }
}
