//! Clients that have shown no key, and neighbours that send too much: whoever has a key is served all the same.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::harness::{Form, Organization, Service, Site, Wire, batch_head, played};

/// Connected at a time: listeners' queues are short.
const AT_ONCE: usize = 64;
const BATCHES: usize = 50;

/// The head of a request that shows no key and promises a body.
fn keyless(headers: &[(&str, &str)], body_bytes: usize) -> Vec<u8> {
    let mut head =
        format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {body_bytes}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Connections that have sent these bytes.
async fn connected(service: &Service, bytes: &[u8], count: usize) -> Vec<Wire> {
    let mut wires = Vec::new();
    while wires.len() < count {
        let more = (0..AT_ONCE.min(count - wires.len())).map(async |_| {
            let mut wire = Wire::open(service.intake().address()).await.expect("a listener");
            wire.write(bytes).await;
            wire
        });
        wires.extend(join_all(more).await);
    }
    wires
}

/// Posts over connections of their own, as newcomers do, and over one that stays.
async fn is_served(service: &Service, organization: &Organization) {
    let body = serde_json::json!({"organization": organization.slug, "events": played(50)}).to_string();
    let length = body.len().to_string();
    let head = batch_head(organization, &[("content-type", "application/json"), ("content-length", &length)]);
    let request = [head, body.into_bytes()].concat();
    let mut kept = Wire::open(service.intake().address()).await.expect("a listener");
    for _ in 0..BATCHES {
        let mut newcomer = Wire::open(service.intake().address()).await.expect("a listener");
        for wire in [&mut newcomer, &mut kept] {
            wire.write(&request).await;
            let reply = wire.reply().await.expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.json);
        }
    }
}

/// Sends the same request over so many connections, one after the other on each, until told to stop. Gives the statuses.
fn flood(service: &Service, connections: usize, request: Vec<u8>) -> (Arc<AtomicBool>, JoinSet<Vec<u16>>) {
    let (stop, request) = (Arc::new(AtomicBool::new(false)), Arc::new(request));
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (stop, request) = (Arc::clone(&stop), Arc::clone(&request));
        let address = service.intake().address().to_owned();
        clients.spawn(async move {
            let mut statuses = Vec::new();
            let mut wire = Wire::open(&address).await.expect("a listener");
            while !stop.load(Ordering::Relaxed) {
                wire.write(&request).await;
                match wire.reply().await {
                    Some(reply) => statuses.push(reply.status.as_u16()),
                    None => wire = Wire::open(&address).await.expect("a listener"),
                }
            }
            statuses
        });
    }
    (stop, clients)
}

async fn flood_ends(flood: (Arc<AtomicBool>, JoinSet<Vec<u16>>)) -> Vec<u16> {
    flood.0.store(true, Ordering::Relaxed);
    flood.1.join_all().await.concat()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("in memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_promises_keep_nobody_out_who_has_a_key() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let promise = keyless(&[("content-type", "text/plain")], 16 * 1024);
    let strangers = connected(&service, &promise, 3_000).await;
    is_served(&service, &acme).await;
    drop(strangers);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_there_are_places_keep_nobody_out_who_has_a_key() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake").env("ROLLBOOK_HTTP_CONNECTIONS", "100")).await;
    for bytes in ["", "POST /v1/events HTTP/1.1\r\nx: ", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let strangers = connected(&service, bytes.as_bytes(), 300).await;
        is_served(&service, &acme).await;
        drop(strangers);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_bombs_of_strangers_nor_a_neighbours_flood_keep_anybody_out() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let birch = site.organization("birch").await;
    site.run("org set birch --rate-limit 100").await.done();
    let service = Service::ready(site.serve("--role intake")).await;

    let bomb = gzip(&vec![b' '; 2 * 1024 * 1024]);
    let headers = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    let bombs = flood(&service, 16, [keyless(&headers, bomb.len()), bomb].concat());
    is_served(&service, &acme).await;
    let statuses = flood_ends(bombs).await;
    assert!(
        !statuses.is_empty() && statuses.iter().all(|status| [413, 503].contains(status)),
        "{statuses:?}"
    );

    let (headers, body) = Form::Gzip.pack(&birch.slug, &birch.key, &played(500));
    let length = body.len().to_string();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| *name != "authorization")
        .map(|(name, value)| (*name, value.as_str()))
        .chain([("content-length", length.as_str())])
        .collect();
    let neighbours = flood(&service, 16, [batch_head(&birch, &headers), body].concat());
    is_served(&service, &acme).await;
    let statuses = flood_ends(neighbours).await;
    assert!(statuses.contains(&429) && statuses.iter().all(|s| [200, 429, 503].contains(s)), "{statuses:?}");
    service.stop().await;
}
