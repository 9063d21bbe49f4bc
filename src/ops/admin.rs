//! The operator's listener: `/metrics`, `/healthz`, `/readyz`.

mod guests;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::{self, Health};
use super::listener::Listener;
use super::metrics::{Exporter, exposition};
use guests::{Guest, Guests};

/// For a connection's first request.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// For the next request, its headers among them. No interval at which anybody scrapes, for then the next request meets the
/// connection's end, and more than the five minutes after which Prometheus closes its own: who asks closes.
const PATIENCE: Duration = Duration::from_secs(370);

/// What the operator's listener answers from.
#[derive(Clone)]
pub struct Admin {
    /// Where `/metrics` comes from.
    pub exporter: Exporter,
    /// Where `/healthz` and `/readyz` come from.
    pub health: Health,
    /// Further pages, if there are any.
    pub pages: Option<Pages>,
}

/// Answers pages by their address; `None`: it has no such page. May read from disk, so it is asked off the async threads.
pub type Pages = Arc<dyn Fn(&Uri) -> Option<(StatusCode, Vec<u8>)> + Send + Sync>;

impl Admin {
    /// Serves until `stop`. Give it a `stop` that comes after the drain, so that the drain can be watched.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let admin = Arc::new(self);
        let mut listener = Listener::new(listener, "operator");
        let guests = Guests::default();
        let connections = TaskTracker::new();
        while let Some(stream) = stop.run_until_cancelled(listener.accept()).await {
            let (admin, guest) = (Arc::clone(&admin), guests.enter(&stop));
            connections.spawn(async move { admin.serve(stream, guest).await });
        }
        connections.close();
        connections.wait().await;
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin, guest: Guest) {
        let service = service_fn(async |request: Request<Incoming>| {
            guest.asks();
            Ok::<_, Infallible>(self.answer(&request).await)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => Some(served),
            () = guest.asks_nothing_for(FIRST_PATIENCE) => None,
            () = guest.sent_away() => None,
        };
        if let Some(Err(error)) = served {
            tracing::debug!(%error, "an operator's connection ended early");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(reply) = health::reply(&self.health, method, path) {
            return reply;
        }
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            if method == Method::GET
                && let Some(reply) = self.page(request.uri().clone()).await
            {
                return reply;
            }
            return plain(StatusCode::NOT_FOUND, "not found: try /metrics, /healthz or /readyz\n".to_owned());
        }
        if method != Method::GET && method != Method::HEAD {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        exposition::reply(self.exporter.render(), request.headers())
    }
}

impl Admin {
    async fn page(&self, uri: Uri) -> Option<Response<Full<Bytes>>> {
        let pages = Arc::clone(self.pages.as_ref()?);
        let answered = tokio::task::spawn_blocking(move || pages(&uri)).await;
        let (status, body) = answered.ok().flatten()?;
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        Some(response)
    }
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::TcpStream;

    use super::*;
    use crate::ops::Role;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_over_every_interval_at_which_anybody_scrapes() {
        let admin = Admin {
            exporter: Exporter::install().expect("the only recorder"),
            health: Health::new(),
            pages: None,
        };
        let (mut scraper, stream) = duplex(64 * 1024);
        let guest = Guests::default().enter(&CancellationToken::new());
        let serving = tokio::spawn(async move { admin.serve(stream, guest).await });
        for seconds in [5, 15, 30, 60, 120, 300] {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            scraper.write_all(b"GET /healthz HTTP/1.1\r\nhost: admin\r\n\r\n").await.expect("it is open");
            let mut reply = [0; 1024];
            let length = scraper.read(&mut reply).await.expect("it is open");
            assert!(reply[..length].starts_with(b"HTTP/1.1 200 "), "after {seconds} s");
        }
        drop(scraper);
        serving.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_first_request_does_not_come_is_closed_soon() {
        for trickled in ["", "GET /healthz HTTP/1.1\r\nx: and so on"] {
            let admin = Admin {
                exporter: Exporter::install().expect("the only recorder"),
                health: Health::new(),
                pages: None,
            };
            let (mut silent, stream) = duplex(64 * 1024);
            let guest = Guests::default().enter(&CancellationToken::new());
            let serving = tokio::spawn(async move {
                let started = tokio::time::Instant::now();
                admin.serve(stream, guest).await;
                started.elapsed()
            });
            for byte in trickled.bytes() {
                tokio::time::sleep(Duration::from_millis(900)).await;
                // It is closed before the last of them.
                let _ = silent.write_all(&[byte]).await;
            }
            assert_eq!(serving.await.expect("no panic"), FIRST_PATIENCE);
        }
    }

    #[tokio::test]
    async fn connections_that_ask_for_nothing_keep_no_probe_waiting() {
        let admin = Admin {
            exporter: Exporter::install().expect("the only recorder"),
            health: Health::new(),
            pages: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let stop = CancellationToken::new();
        let running = tokio::spawn(admin.run(listener, stop.clone()));
        let mut probing = TcpStream::connect(address).await.expect("a listener");
        let mut others = Vec::new();
        for at in 0..3 * guests::MOST_GUESTS {
            let mut other = TcpStream::connect(address).await.expect("a listener");
            match at % 3 {
                // Silent, trickling, or trickling after a request that was answered.
                0 => {}
                1 => other.write_all(b"GET /hea").await.expect("an open connection"),
                _ => {
                    is_alive(&mut other).await;
                    other.write_all(b"GET /hea").await.expect("an open connection");
                }
            }
            others.push(other);
            is_alive(&mut TcpStream::connect(address).await.expect("a listener")).await;
            // Who asks now and then is kept.
            is_alive(&mut probing).await;
        }
        stop.cancel();
        running.await.expect("no panic");
    }

    async fn is_alive(stream: &mut TcpStream) {
        let asked = async {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nhost: admin\r\n\r\n")
                .await
                .expect("an open connection");
            let mut reply = [0; 1024];
            let length = stream.read(&mut reply).await.expect("a reply");
            assert!(
                reply[..length].starts_with(b"HTTP/1.1 200 "),
                "{}",
                String::from_utf8_lossy(&reply[..length])
            );
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("an answer in time");
    }

    #[tokio::test]
    async fn an_operator_sees_metrics_and_health_and_nothing_else() {
        let health = Health::new();
        health.answer_for(Role::Loader, || Err("no partitions yet".into()));
        let admin = Admin { exporter: Exporter::install().expect("the only recorder"), health, pages: None };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let stop = CancellationToken::new();
        let running = tokio::spawn(admin.run(listener, stop.clone()));
        for (asked, status, part) in [
            ("GET /metrics", "200", "rollbook_build_info{version="),
            ("GET /healthz", "200", r#"{"status":"alive"}"#),
            (
                "GET /readyz",
                "503",
                r#"{"status":"unready","loader":{"ready":false,"reason":"no partitions yet"}}"#,
            ),
            ("HEAD /readyz", "503", "\r\n\r\n"),
            ("POST /metrics", "405", "allow: GET, HEAD"),
            ("POST /v1/events", "404", "not found"),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("a listener");
            let request = format!("{asked} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("an open connection");
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.expect("a reply");
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{asked}: {reply}");
            assert!(reply.contains(part), "{asked}: {reply}");
        }
        stop.cancel();
        running.await.expect("no panic");
    }
}
