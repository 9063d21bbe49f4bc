//! A collector of traces: a real HTTP server that reads what it is posted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::harness::eventually;

/// How it treats who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Takes,
    /// With this status.
    Answers(u16),
    /// It says that it took them, but for all of them.
    TakesNoneOfThem,
    /// It never answers.
    Hangs,
    /// Nothing listens there.
    IsAway,
}

/// One span, as its batch told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: it is the first of its trace.
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) is_error: bool,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) resource: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
}

impl Seen {
    /// What it says under a name.
    pub(super) fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

pub(super) struct Collector {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    asked: usize,
    spans: Vec<Seen>,
}

impl Collector {
    pub(super) async fn start(manner: Manner) -> Self {
        let (collector, listener) = Self::bind("http", manner).await;
        if manner != Manner::IsAway {
            let state = Arc::clone(&collector.state);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&state)));
                }
            });
        }
        collector
    }

    /// With the certificate `crt` and the `key` of a folder.
    #[cfg(feature = "tls")]
    pub(super) async fn start_with_tls(folder: &std::path::Path) -> Self {
        use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};

        let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).expect("OpenSSL");
        acceptor.set_certificate_chain_file(folder.join("crt")).expect("a certificate");
        acceptor.set_private_key_file(folder.join("key"), SslFiletype::PEM).expect("a key");
        let acceptor = acceptor.build();
        let (collector, listener) = Self::bind("https", Manner::Takes).await;
        let state = Arc::clone(&collector.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = Ssl::new(acceptor.context()).expect("OpenSSL");
                let mut stream = tokio_openssl::SslStream::new(session, stream).expect("OpenSSL");
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    if std::pin::Pin::new(&mut stream).accept().await.is_ok() {
                        serve(stream, state).await;
                    }
                });
            }
        });
        collector
    }

    async fn bind(scheme: &str, manner: Manner) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("bound"));
        let state = State { manner, asked: 0, spans: Vec::new() };
        (Self { url, state: Arc::new(Mutex::new(state)) }, listener)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on.
    pub(super) fn behaves(&self, manner: Manner) {
        lock(&self.state).manner = manner;
    }

    /// How often something was posted.
    pub(super) fn asked(&self) -> usize {
        lock(&self.state).asked
    }

    pub(super) fn spans(&self) -> Vec<Seen> {
        lock(&self.state).spans.clone()
    }

    /// Those of one trace, in the order in which they began.
    pub(super) fn spans_of(&self, trace: &str) -> Vec<Seen> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == trace);
        spans.sort_by_key(|span| (!span.parent.is_empty(), span.begun));
        spans
    }

    /// The first of this name in a trace, once it is there.
    pub(super) async fn span_of(&self, trace: &str, name: &str) -> Seen {
        let mut found = None;
        eventually(&format!("the span `{name}` of {trace}"), async || {
            found = self.spans_of(trace).into_iter().find(|span| span.name == name);
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    // Whoever is killed, or no longer wants to know, hangs up.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let mut body = body.to_bytes().to_vec();
    if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let packed = std::mem::take(&mut body);
        GzDecoder::new(&packed[..]).read_to_end(&mut body).expect("what it says it is");
    }
    let batch = ExportTraceServiceRequest::decode(&body[..]).expect("a batch of spans");
    let spans = seen(&batch, &head.headers);
    let manner = {
        let mut state = lock(&state);
        state.asked += 1;
        if state.manner == Manner::Takes {
            state.spans.extend(spans.iter().cloned());
        }
        state.manner
    };
    let partial_success = match manner {
        Manner::TakesNoneOfThem => Some(ExportTracePartialSuccess {
            rejected_spans: i64::try_from(spans.len()).expect("few"),
            error_message: "not today".to_owned(),
        }),
        _ => None,
    };
    let status = match manner {
        Manner::Hangs => std::future::pending().await,
        Manner::Answers(status) => StatusCode::from_u16(status).expect("a status"),
        Manner::Takes | Manner::TakesNoneOfThem | Manner::IsAway => StatusCode::OK,
    };
    let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    Ok(Response::builder().status(status).body(Full::from(answer)).expect("a response"))
}

fn seen(batch: &ExportTraceServiceRequest, headers: &HeaderMap) -> Vec<Seen> {
    let mut spans = Vec::new();
    for of_resource in &batch.resource_spans {
        let resource = of_resource.resource.as_ref().expect("whose spans they are");
        for of_scope in &of_resource.scope_spans {
            assert_eq!(of_scope.scope.as_ref().map(|scope| scope.name.as_str()), Some("rollbook"));
            for span in &of_scope.spans {
                assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
                spans.push(Seen {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name.clone(),
                    kind: SpanKind::try_from(span.kind).expect("a kind").as_str_name(),
                    begun: span.start_time_unix_nano,
                    ended: span.end_time_unix_nano,
                    is_error: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
                    attributes: texts(&span.attributes),
                    resource: texts(&resource.attributes),
                    headers: headers.clone(),
                });
            }
        }
    }
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => panic!("{}: {other:?}", attribute.key),
        };
        (attribute.key.clone(), value)
    };
    attributes.iter().map(text).collect()
}
