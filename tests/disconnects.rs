//! Clients that go away, at every stage: nothing is half-accepted, and nothing of them stays behind.

use std::collections::HashSet;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{Form, Organization, Service, Site, Wire, batch_head, eventually, id_of, played};

/// How many go away at each stage.
const MANY: usize = 300;
/// So many of them at a time.
const AT_ONCE: usize = 50;
/// A round may leave pages with the allocator, but not this many.
const MOST_GROWTH: u64 = 48 * 1024 * 1024;

/// How far a request gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Head,
    Body,
    Reply,
    /// Asks for long replies, over and over, and reads none of them.
    Writing,
}

const STAGES: [Stage; 4] = [Stage::Head, Stage::Body, Stage::Reply, Stage::Writing];

/// One client over HTTP/1.1 that comes so far and goes; the ids that it may have got in.
async fn leave(service: &Service, organization: &Organization, stage: Stage) -> Vec<Vec<String>> {
    let events = if stage == Stage::Writing { played(100) } else { played(3) };
    let body = json!({ "events": events }).to_string();
    let length = body.len().to_string();
    let mut head =
        batch_head(organization, &[("content-type", "application/json"), ("content-length", &length)]);
    if stage == Stage::Writing {
        head = String::from_utf8(head).expect("ASCII").replace("/v1/events", "/v1/events?verbose=1").into();
    }
    let request = [&head, body.as_bytes()].concat();
    let mut wire = Wire::open(service.intake().address()).await.expect("a listener");
    let ids = || events.iter().map(id_of).collect();
    match stage {
        Stage::Head => wire.write(&head[..head.len() - 10]).await,
        Stage::Body => wire.write(&request[..request.len() - 10]).await,
        Stage::Reply => wire.write(&request).await,
        Stage::Writing => wire.write(&request.repeat(20)).await,
    }
    match stage {
        Stage::Head | Stage::Body => Vec::new(),
        Stage::Reply | Stage::Writing => vec![ids()],
    }
}

/// Requests over one HTTP/2 connection, each reset at the stage; their ids.
async fn reset(service: &Service, organization: &Organization, stage: Stage) -> Vec<Vec<String>> {
    let address = service.intake().address();
    let stream = TcpStream::connect(address).await.expect("a listener");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let requests = (0..AT_ONCE).map(async |_| {
        let events = played(3);
        let body = Bytes::from(json!({ "events": events }).to_string());
        let pieces = match stage {
            Stage::Head => vec![],
            Stage::Body => vec![body.slice(..body.len() - 10)],
            Stage::Reply | Stage::Writing => vec![body],
        };
        let is_whole = matches!(stage, Stage::Reply | Stage::Writing);
        let pieces = stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
        // What is not whole never ends.
        let rest = if is_whole { stream::empty().left_stream() } else { stream::pending().right_stream() };
        let body = StreamBody::new(pieces.chain(rest));
        let request = Request::post(format!("http://{address}/v1/events"))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", organization.key))
            .header("organization", &organization.slug)
            .body(body)
            .expect("a request");
        let mut sender = sender.clone();
        sender.ready().await.expect("an open connection");
        let reply = sender.send_request(request);
        // Sent, but not waited for: dropping it resets the stream.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(2), reply).await;
        if is_whole { vec![events.iter().map(id_of).collect()] } else { Vec::new() }
    });
    let ids = join_all(requests).await.into_iter().flatten().collect();
    drop(sender);
    connection.abort();
    ids
}

/// Everybody leaves at every stage, over both protocols.
async fn round(service: &Service, acme: &Organization) -> Vec<Vec<String>> {
    let mut batches = Vec::new();
    for stage in STAGES {
        for _ in 0..MANY / AT_ONCE {
            let left = join_all((0..AT_ONCE).map(|_| leave(service, acme, stage))).await;
            batches.extend(left.into_iter().flatten());
            batches.extend(reset(service, acme, stage).await);
        }
    }
    batches
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing_behind_and_gets_all_of_a_batch_in_or_none() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    // A leak of a few requests would be felt.
    let serve = site.serve("--role intake").env("ROLLBOOK_IN_FLIGHT_BYTES", "32000000");
    let service = Service::ready(serve).await;
    let files = {
        service.post(&acme, Form::Json, &played(1)).await.accepts(1);
        service.open_files()
    };

    let mut batches = round(&service, &acme).await;
    let settled = async || {
        eventually("sockets are closed", async || service.open_files() <= files).await;
        eventually("the log answered", async || service.metric("rollbook_log_queue_bytes").await == 0.0)
            .await;
    };
    settled().await;
    let before = service.memory_bytes("VmRSS");
    batches.extend(round(&service, &acme).await);
    settled().await;
    let after = service.memory_bytes("VmRSS");
    assert!(after < before + MOST_GROWTH, "{before} bytes grew to {after}");
    eprintln!("{before} bytes after one round, {after} after two");

    // All the room that an organization may have is free again: 28 bodies of the largest size would not fit beside a leak.
    let held = join_all((0..28).map(async |_| {
        let mut wire = Wire::open(service.intake().address()).await.expect("a listener");
        let headers = [("content-type", "application/json"), ("content-length", "524288")];
        wire.write(&[batch_head(&acme, &headers), vec![b' '; 524_287]].concat()).await;
        wire
    }))
    .await;
    let answers = join_all(held.into_iter().map(async |mut wire| {
        wire.write(b" ").await;
        wire.reply().await.expect("an answer").json["code"].clone()
    }))
    .await;
    assert_eq!(answers, vec![Value::from("bad_body"); 28]);

    // Every event that the log took was counted, whether or not anybody was there to hear it.
    let accepted =
        service.metric(r#"rollbook_intake_events_total{organization="acme",verdict="accepted"}"#).await;
    let accepted: i64 = accepted.to_string().parse().expect("a whole number");
    let _loader = Service::ready(site.serve("--role loader")).await;
    site.loaded("acme", accepted).await;
    let mut stored: HashSet<String> = site.stored_ids("acme").await.into_iter().collect();
    let (mut whole, mut none) = (0, 0);
    for batch in &batches {
        match batch.iter().filter(|id| stored.remove(*id)).count() {
            0 => none += 1,
            count => {
                assert_eq!(count, batch.len(), "a batch is in half");
                whole += 1;
            }
        }
    }
    eprintln!("of {} batches sent whole {whole} were taken, {none} were not", batches.len());
    assert_eq!(stored.len(), 1, "the first one, and nothing of what was not sent whole");
    assert!(whole >= MANY, "{whole}");
}
