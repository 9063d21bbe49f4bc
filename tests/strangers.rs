//! Clients that have shown no key, and neighbours that send too much: whoever has a key is served all the same.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

fn batch_of_50(organization: &Organization) -> Vec<u8> {
    let body = serde_json::json!({"organization": organization.slug, "events": played(50)}).to_string();
    let length = body.len().to_string();
    let head = batch_head(organization, &[("content-type", "application/json"), ("content-length", &length)]);
    [head, body.into_bytes()].concat()
}

/// Posts over connections of their own, as newcomers do, and over one that stays.
async fn is_served(service: &Service, organization: &Organization) {
    let request = batch_of_50(organization);
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

/// 2 MiB of white space in 2 KiB, by somebody who shows no key.
fn bomb() -> Vec<u8> {
    let bomb = gzip(&vec![b' '; 2 * 1024 * 1024]);
    let headers = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    [keyless(&headers, bomb.len()), bomb].concat()
}

/// 500 events of an organization's own, packed.
fn large_batch(organization: &Organization) -> Vec<u8> {
    let (headers, body) = Form::Gzip.pack(&organization.slug, &organization.key, &played(500));
    let length = body.len().to_string();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| *name != "authorization")
        .map(|(name, value)| (*name, value.as_str()))
        .chain([("content-length", length.as_str())])
        .collect();
    [batch_head(organization, &headers), body].concat()
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

    let bombs = flood(&service, 16, bomb());
    is_served(&service, &acme).await;
    let statuses = flood_ends(bombs).await;
    assert!(
        !statuses.is_empty() && statuses.iter().all(|status| [413, 503].contains(status)),
        "{statuses:?}"
    );

    let neighbours = flood(&service, 16, large_batch(&birch));
    is_served(&service, &acme).await;
    let statuses = flood_ends(neighbours).await;
    assert!(statuses.contains(&429) && statuses.iter().all(|s| [200, 429, 503].contains(s)), "{statuses:?}");
    service.stop().await;
}

/// How long a keyed batch takes in the middle, of so many over one connection.
async fn durations(service: &Service, request: &[u8], durations: &mut Vec<Duration>) {
    let mut wire = Wire::open(service.intake().address()).await.expect("a listener");
    for _ in 0..BATCHES {
        let started = Instant::now();
        wire.write(request).await;
        let reply = wire.reply().await.expect("an answer");
        durations.push(started.elapsed());
        assert_eq!(reply.status, 200, "{}", reply.json);
    }
}

fn median(mut durations: Vec<Duration>) -> f64 {
    durations.sort_unstable();
    durations[durations.len() / 2].as_secs_f64() * 1_000.0
}

/// The figures that we promise: of a release build on a machine that does nothing else. Quiet and busy rounds alternate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute, and an idle machine"]
async fn whoever_has_a_key_waits_less_than_twice_as_long() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let service = Service::ready(site.serve("--role intake")).await;
    let request = batch_of_50(&acme);
    let promise = keyless(&[("content-type", "text/plain")], 16 * 1024);
    let mut warm_up = Vec::new();
    durations(&service, &request, &mut warm_up).await;
    let mut ratios = Vec::new();
    for trouble in
        ["3 000 promises", "16 connections of strangers' bombs", "16 connections of a neighbour's batches"]
    {
        let (mut quiet, mut busy) = (Vec::new(), Vec::new());
        // Thousands of connections that end leave something to do behind them.
        let rounds = if trouble.starts_with('3') { 2 } else { 6 };
        for _ in 0..rounds {
            durations(&service, &request, &mut quiet).await;
            if trouble.starts_with('3') {
                let strangers = connected(&service, &promise, 3_000).await;
                // Most of them were refused at once, and are closed meanwhile.
                durations(&service, &request, &mut Vec::new()).await;
                durations(&service, &request, &mut busy).await;
                drop(strangers);
            } else {
                let sent = if trouble.contains("bombs") { bomb() } else { large_batch(&birch) };
                let flood = flood(&service, 16, sent);
                durations(&service, &request, &mut busy).await;
                flood_ends(flood).await;
            }
        }
        let (quiet, busy) = (median(quiet), median(busy));
        eprintln!("{trouble}: {quiet:.2} ms without, {busy:.2} ms with ({:.2})", busy / quiet);
        ratios.push(busy / quiet);
    }
    assert!(ratios.iter().all(|ratio| *ratio < 2.0), "{ratios:.2?}");
}
