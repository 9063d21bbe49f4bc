//! A network peer that answers as a test tells it to, to see what a client does about it. It stands for a load
//! balancer or an intake in trouble, not for Rollbook: what Rollbook answers is tested on Rollbook.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::batch::{Batch, Batcher};
use super::client::{Encoding, IntakeClient};
use super::keyring::Keyring;
use crate::config::Secret;
use crate::tenant::WriteKey;

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Accepts every event, after this time.
    Accept(Duration),
    /// 200 with the verdict `retry` for the event at this place, the others accepted.
    AskAgain(usize),
    /// Any status, with `Retry-After` if given.
    Refuse { status: u16, retry_after: Option<&'static str> },
    /// Closes the connection without a reply.
    HangUp,
}

/// The peer while it listens.
pub(super) struct Peer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _server: JoinSet<()>,
}

/// What the peer saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The `events` of each request.
    pub(super) events: Vec<Value>,
    pub(super) connections: usize,
    pub(super) at_once: usize,
    pub(super) most_at_once: usize,
}

impl Peer {
    /// Does one after another of `acts`, and the last one ever after.
    pub(super) async fn listen(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, acts.to_vec(), Arc::clone(&seen)));
        Self { address, seen, _server: server }
    }

    pub(super) fn client(&self) -> Arc<IntakeClient> {
        let url = format!("http://{}", self.address).parse().expect("a URL");
        let key = WriteKey::generate().expect("randomness");
        let entry: Secret = format!("acme={}", key.reveal()).parse().expect("any text is a secret");
        let keyring = Keyring::parse(&[entry]).expect("in order");
        Arc::new(IntakeClient::new(url, &keyring, Encoding::Plain))
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A batch of the numbers from 0 on, in place of events.
pub(super) fn batch(events: usize) -> Batch {
    let mut batcher = Batcher::new(1, events);
    (0..events).find_map(|number| batcher.push(0, &number.to_string())).expect("full")
}

async fn serve(listener: TcpListener, acts: Vec<Act>, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        lock(&seen).connections += 1;
        let (acts, seen) = (acts.clone(), Arc::clone(&seen));
        let answer = service_fn(move |request| answer(request, acts.clone(), Arc::clone(&seen)));
        connections.spawn(async move {
            // A connection that an act cuts off is no failure of the test.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    acts: Vec<Act>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let body = request.into_body().collect().await.map_err(|_| "cut off")?.to_bytes();
    let envelope: Value = serde_json::from_slice(&body).map_err(|_| "no JSON")?;
    let events = envelope["events"].clone();
    let count = events.as_array().map_or(0, Vec::len);
    let act = {
        let mut seen = lock(&seen);
        let act = acts.get(seen.events.len()).or(acts.last()).cloned();
        seen.events.push(events);
        seen.at_once += 1;
        seen.most_at_once = seen.most_at_once.max(seen.at_once);
        act
    };
    let response = perform(act.ok_or("no act")?, count).await;
    lock(&seen).at_once -= 1;
    response
}

async fn perform(act: Act, count: usize) -> Result<Response<Full<Bytes>>, &'static str> {
    let (status, retry_after, body) = match act {
        Act::Accept(after) => {
            tokio::time::sleep(after).await;
            (200, None, reply(count, 0, json!([])))
        }
        Act::AskAgain(index) => {
            let result = json!({ "index": index, "id": null, "verdict": "retry", "code": "unavailable" });
            (200, None, reply(count - 1, 1, json!([result])))
        }
        Act::Refuse { status, retry_after } => {
            (status, retry_after, json!({ "code": "some_code", "detail": "some detail" }))
        }
        Act::HangUp => return Err("as told"),
    };
    let mut response = Response::builder().status(status);
    if let Some(retry_after) = retry_after {
        response = response.header("Retry-After", retry_after);
    }
    response.body(Full::from(body.to_string())).map_err(|_| "no response")
}

fn reply(accepted: usize, retry: usize, results: Value) -> Value {
    json!({ "accepted": accepted, "duplicate": 0, "rejected": 0, "retry": retry, "results": results })
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
