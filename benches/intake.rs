//! The door over HTTP, up to the log: from a socket's bytes to a reply's.
//!
//! The real listener on loopback, 16 connections that each send their next batch when they have read the last reply;
//! client and server share the machine, and the client's cost is part of what is timed. Batches of 1, 50 and 500 watch
//! events of about 300 bytes, as JSON and packed. Every event is refused as too old, the last rule there is: so it is
//! judged in full, and no log is needed. Throughput is in events.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rollbook::config::intake::IntakeArgs;
use rollbook::config::log::LogSettings;
use rollbook::config::ops::DrainSettings;
use rollbook::intake::Server;
use rollbook::log::Publisher;
use rollbook::ops::Health;
use rollbook::ops::metrics::Exporter;
use rollbook::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 16;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    intake: IntakeArgs,
}

fn body(events: usize) -> String {
    let event = |n: usize| {
        let id = Uuid::now_v7();
        let position = n * 10_000;
        format!(
            r#"{{"id":"{id}","type":"video.heartbeat","occurred_at":"2020-11-22T21:48:20.123Z","session_id":"b9f5497e-2a8e-5678-b749-66f909ea95e5","viewer_id":"9eb7f6a6-34c3-408e-a79f-966935cce578","content_id":"0aecfa93-cef3-45ae-b7f5-a603e9e45f50","seq":{n},"position_ms":{position},"watched":[[0,{position}]],"played_ms":{position}}}"#
        )
    };
    format!(r#"{{"events":[{}]}}"#, (0..events).map(event).collect::<Vec<_>>().join(","))
}

fn request(key: &WriteKey, encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\norganization: acme\r\n\
         authorization: Bearer {}\r\n{encoding}content-length: {}\r\n\r\n",
        key.reveal(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("in memory");
    encoder.finish().expect("in memory")
}

/// Starts a server for one organization; it runs as long as the runtime.
async fn serve() -> (SocketAddr, WriteKey) {
    let key = WriteKey::generate().expect("randomness");
    let acme = Organization {
        id: OrganizationId(Uuid::now_v7()),
        slug: "acme".parse().expect("a slug"),
        schema_name: "org_acme".to_owned(),
        state: State::Active,
        schema_version: 1,
        rate_limit: None,
        origins: Vec::new(),
    };
    let directory = Arc::new(Directory::default());
    let keys = [(key.digest(), acme.id)];
    directory.replace(Snapshot::new([acme], keys, Instant::now()));
    let nowhere =
        LogSettings { brokers: "127.0.0.1:1".to_owned(), topic: "none".to_owned(), properties: Vec::new() };
    let server = Server {
        settings: Flags::parse_from(["bench"]).intake.resolve().expect("defaults"),
        drain: DrainSettings { limit: Duration::from_secs(1), pause: Duration::ZERO },
        directory,
        publisher: Publisher::start(&nowhere, Duration::from_secs(1))
            .expect("settings that librdkafka takes"),
        health: Health::new(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(server.run(listener, CancellationToken::new()));
    (address, key)
}

/// Sends `requests` over all connections and waits for every reply.
async fn send(address: SocketAddr, request: Arc<Vec<u8>>, requests: u64) -> Duration {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.expect("a listener");
        stream.set_nodelay(true).expect("an open connection");
        connections.push(stream);
    }
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for (n, mut stream) in (0..).zip(connections) {
        let share = requests / CONNECTIONS as u64 + u64::from(n < requests % CONNECTIONS as u64);
        let request = Arc::clone(&request);
        clients.spawn(async move {
            let mut reply = Vec::new();
            for _ in 0..share {
                stream.write_all(&request).await.expect("an open connection");
                read_reply(&mut stream, &mut reply).await;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.expect("every request is answered");
    }
    started.elapsed()
}

async fn read_reply(stream: &mut TcpStream, reply: &mut Vec<u8>) {
    reply.clear();
    loop {
        assert!(stream.read_buf(reply).await.expect("an open connection") > 0, "closed early");
        let Some(head_end) = reply.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&reply[..head_end]).expect("a head in ASCII");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        if reply.len() >= head_end + 4 + length {
            return;
        }
    }
}

fn intake(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    Exporter::install().expect("the only recorder");
    let (address, key) = runtime.block_on(serve());
    let mut group = criterion.benchmark_group("intake");
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    for events in [1u64, 50, 500] {
        let plain = body(usize::try_from(events).expect("small")).into_bytes();
        let zstd = zstd::encode_all(plain.as_slice(), 3).expect("in memory");
        for (name, encoding, body) in [
            ("plain", "", plain.clone()),
            ("gzip", "content-encoding: gzip\r\n", gzip(&plain)),
            ("zstd", "content-encoding: zstd\r\n", zstd),
        ] {
            let request = Arc::new(request(&key, encoding, &body));
            group.throughput(Throughput::Elements(events));
            group.bench_function(BenchmarkId::new(name, events), |bencher| {
                bencher
                    .iter_custom(|requests| runtime.block_on(send(address, Arc::clone(&request), requests)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, intake);
criterion_main!(benches);
