//! What the process holds when clients do their worst, with default settings.
//!
//! Its own peak is asked of the kernel (`VmHWM`), which forgets the peak before when it is told to.

use std::io::Write as _;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Organization, Service, Site, Wire, batch_head, played};

const MIB: u64 = 1024 * 1024;
const MOST: u64 = 400 * MIB;
const MOST_FOR_BOMBS: u64 = 100 * MIB;
/// As many connections as the service lets in.
const CONNECTIONS: usize = 4_096;
/// Connected at a time: listeners' queues are short.
const AT_ONCE: usize = 64;
/// Bombs at a time.
const BOMBS: usize = 16;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A connection that has sent these bytes.
async fn holding(service: &Service, bytes: &[u8]) -> Wire {
    let mut wire = Wire::open(service.intake().address()).await.expect("a listener");
    wire.write(bytes).await;
    wire
}

/// A request of a declared length with this much of a body.
fn request(organization: &Organization, form: &str, encoding: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let length = length.to_string();
    let headers = [("content-type", form), ("content-encoding", encoding), ("content-length", &length)];
    [batch_head(organization, &headers), body.to_vec()].concat()
}

/// 16 MiB of white space in a few bytes.
fn bombs() -> [(&'static str, Vec<u8>); 3] {
    let plain = vec![b' '; 16 * 1024 * 1024];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("in memory");
    let mut zstd = zstd::stream::Encoder::new(Vec::new(), 3).expect("in memory");
    zstd.window_log(23).expect("a window that zstd knows");
    zstd.write_all(&plain).expect("in memory");
    let mut br = Vec::new();
    let mut brotli = brotli::CompressorWriter::new(&mut br, 4096, 1, 24);
    brotli.write_all(&plain).expect("in memory");
    drop(brotli);
    [("gzip", gzip.finish().expect("in memory")), ("zstd", zstd.finish().expect("in memory")), ("br", br)]
}

/// What the process had at most since the last time, said aloud.
fn peak(service: &Service, what: &str) -> u64 {
    let peak = service.memory_bytes("VmHWM");
    eprintln!("{what}: {} MiB at most, {} MiB now", peak / MIB, service.memory_bytes("VmRSS") / MIB);
    service.forget_peak_memory();
    peak
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clients_do_the_process_stays_small() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    peak(&service, "at rest");

    // Bombs, many at once and again: those that are whole, and those whose decoder waits for more.
    for (encoding, bomb) in bombs() {
        let before = service.memory_bytes("VmRSS");
        for form in [JSON, NDJSON] {
            let whole = request(&acme, form, encoding, bomb.len(), &bomb);
            for _ in 0..2 {
                join_all((0..BOMBS).map(async |_| {
                    let reply = holding(&service, &whole).await.reply().await.expect("an answer");
                    assert!([413, 503].contains(&reply.status.as_u16()), "{}", reply.json);
                }))
                .await;
            }
            let half = request(&acme, form, encoding, bomb.len(), &bomb[..bomb.len() / 2]);
            let waiting = join_all((0..4 * BOMBS).map(|_| holding(&service, &half))).await;
            service.admin.get("/metrics").await;
            drop(waiting);
        }
        let peak = peak(&service, &format!("bombs of {encoding}"));
        assert!(peak < before + MOST_FOR_BOMBS, "{encoding}: {peak} bytes, {before} before");
    }

    // The largest batches that there are, as many as come.
    let mut events = played(500);
    for event in &mut events {
        event["type"] = json!("item.answered");
        event["item_id"] = json!("i");
        event["answer"] = json!({ "text": "x".repeat(800) });
    }
    let body = json!({ "events": events }).to_string();
    let batch = request(&acme, JSON, "", body.len(), body.as_bytes());
    for _ in 0..2 {
        join_all((0..2 * AT_ONCE).map(async |_| {
            let reply = holding(&service, &batch).await.reply().await.expect("an answer");
            assert!([200, 503].contains(&reply.status.as_u16()), "{}", reply.json);
        }))
        .await;
    }
    let peak_of_batches = peak(&service, "128 batches of 500 KB at a time");
    assert!(peak_of_batches < MOST, "{peak_of_batches} bytes");

    // Every connection that there may be, each in the middle of a body.
    let half = request(&acme, JSON, "", 500_000, &vec![b' '; 30_000]);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS / AT_ONCE {
        held.extend(join_all((0..AT_ONCE).map(|_| holding(&service, &half))).await);
    }
    let peak_of_connections = peak(&service, "4096 connections in the middle of a body");
    assert!(peak_of_connections < MOST, "{peak_of_connections} bytes");
    drop(held);

    // The same by strangers, who have a budget of their own beside it.
    let head =
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 60000\r\n\r\n";
    let half = [head.as_slice(), &[b' '; 30_000]].concat();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS / AT_ONCE {
        held.extend(join_all((0..AT_ONCE).map(|_| holding(&service, &half))).await);
    }
    let peak_of_strangers = peak(&service, "4096 strangers in the middle of a body");
    assert!(peak_of_strangers < MOST, "{peak_of_strangers} bytes");
    drop(held);

    // Long replies that nobody reads, again and again on each connection.
    let nonsense = json!({ "events": vec![json!({ "id": "x".repeat(100) }); 500] }).to_string();
    let refused = request(&acme, JSON, "", nonsense.len(), nonsense.as_bytes());
    let mut deaf = Vec::new();
    for _ in 0..16 {
        deaf.extend(join_all((0..AT_ONCE).map(|_| holding(&service, &refused))).await);
    }
    let peak_of_replies = peak(&service, "1024 clients that do not read a reply of 60 KB");
    assert!(peak_of_replies < MOST, "{peak_of_replies} bytes");
    drop(deaf);
    assert_eq!(service.admin.get("/healthz").await.status, 200);
}
