//! Bodies: forms, sizes, encodings, and the ones that never come.

use std::io::Write;

use proptest::prelude::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;

use super::client::{Asking, Wire};
use super::*;
use crate::event::proto;

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    gzip_at(flate2::Compression::default(), plain)
}

pub(super) fn gzip_at(level: flate2::Compression, plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).expect("in memory");
    encoder.finish().expect("in memory")
}

pub(super) fn chunked(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(chunk_bytes) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// A refused batch of exactly so many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let mut body = refused_batch(1).into_bytes();
    body.resize(bytes, b' ');
    body
}

#[tokio::test]
async fn every_encoding_is_unpacked() {
    let (room, acme) = room_of_one(&[], "bodies_packed").await;
    let plain = refused_batch(400).into_bytes();
    let mut br = Vec::new();
    brotli::BrotliCompress(&mut plain.as_slice(), &mut br, &Default::default()).expect("in memory");
    let zstd = zstd::encode_all(plain.as_slice(), 3).expect("in memory");
    for (encoding, body) in [("", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd), ("br", br)] {
        let reply = Asking::batch(&acme, body).with("content-encoding", encoding).send(room.address).await;
        assert_eq!((reply.code().as_str(), &reply.json()["rejected"]), ("ok", &400.into()), "{encoding}");
    }
    let reply = Asking::batch(&acme, plain).with("content-encoding", "gzip").send(room.address).await;
    assert_eq!(reply.code(), "bad_body");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_with_and_without_a_declared_length() {
    let (room, acme) = room_of_one(&[], "bodies_limit").await;
    let body = padded(512 * 1024);
    assert_eq!(Asking::batch(&acme, body.clone()).send(room.address).await.code(), "ok");
    let in_chunks = Asking::batch(&acme, chunked(&body, 10_000))
        .with("transfer-encoding", "chunked")
        .send(room.address)
        .await;
    assert_eq!(in_chunks.code(), "ok");
}

#[tokio::test]
async fn one_byte_more_is_told_its_limit_and_the_client_can_read_it() {
    let (room, acme) = room_of_one(&[], "bodies_too_large").await;
    let body = padded(512 * 1024 + 1);
    // Both write all of it before they read anything.
    for asking in [
        Asking::batch(&acme, body.clone()),
        Asking::batch(&acme, chunked(&body, 10_000)).with("transfer-encoding", "chunked"),
        Asking::batch(&acme, padded(3 * 1024 * 1024)),
    ] {
        let reply = asking.send(room.address).await;
        assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
        assert!(reply.json()["detail"].as_str().expect("a detail").contains("524288 bytes"));
    }
    let packed = gzip(&vec![b' '; 2 * 1024 * 1024 + 1]);
    let reply = Asking::batch(&acme, packed).with("content-encoding", "gzip").send(room.address).await;
    assert_eq!(reply.code(), "body_too_large");
    assert!(reply.json()["detail"].as_str().expect("a detail").contains("2097152 bytes"));
}

#[tokio::test]
async fn a_refused_body_that_was_read_away_leaves_its_connection_usable() {
    let (room, acme) = room_of_one(&[], "bodies_reuse").await;
    let mut wire = Wire::open(room.address).await;
    for _ in 0..3 {
        wire.write(&Asking::batch(&acme, padded(1024 * 1024)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "body_too_large");
        wire.write(&Asking::batch(&acme, padded(100_000)).with("content-type", "text/html").bytes()).await;
        assert_eq!(wire.reply().await.code(), "unsupported_type");
        wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "ok");
    }
}

#[tokio::test]
async fn who_asks_first_is_refused_without_sending_the_body() {
    let (room, acme) = room_of_one(&[], "bodies_expect").await;
    let mut wire = Wire::open(room.address).await;
    let asking = Asking::batch(&acme, "").with("content-length", "99999999").with("expect", "100-continue");
    wire.write(&asking.bytes()).await;
    assert_eq!(wire.reply().await.code(), "body_too_large");
    wire.closed().await;

    let body = refused_batch(1);
    let asking = Asking::batch(&acme, "")
        .with("content-length", &body.len().to_string())
        .with("expect", "100-continue");
    let mut wire = Wire::open(room.address).await;
    wire.write(&asking.bytes()).await;
    assert_eq!(wire.reply().await.status, 100);
    wire.write(body.as_bytes()).await;
    assert_eq!(wire.reply().await.code(), "ok");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let (room, acme) = room_of_one(&["--body-timeout-ms", "300"], "bodies_slow").await;
    let mut wire = Wire::open(room.address).await;
    wire.write(&Asking::batch(&acme, "{").with("content-length", "100").bytes()).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "slow_body"));
    wire.closed().await;
}

#[tokio::test]
async fn what_is_no_json_no_text_or_nothing_at_all_is_a_bad_body() {
    let (room, acme) = room_of_one(&[], "bodies_bad").await;
    for body in [&b""[..], b"{", b"\xff\xfe", b"{\"events\":[{\"id\":\"\xff\"}]}", &[b'['; 100_000]] {
        assert_eq!(Asking::batch(&acme, body).send(room.address).await.code(), "bad_body", "{body:?}");
    }
    for body in ["[]", "{}", "{\"events\":[]}", "{\"events\":[{}],\"events\":[{}]}"] {
        assert_eq!(Asking::batch(&acme, body).send(room.address).await.code(), "bad_envelope", "{body}");
    }
    assert_eq!(Asking::batch(&acme, refused_batch(501)).send(room.address).await.code(), "bad_envelope");
}

#[tokio::test]
async fn ndjson_brings_its_envelope_in_headers() {
    let (room, acme) = room_of_one(&[], "bodies_ndjson").await;
    let lines = "{}\n\nnot json\r\n[]\n";
    let asking = Asking::batch(&acme, lines).with("content-type", "application/x-ndjson");
    let body = asking.send(room.address).await.json();
    let codes: Vec<_> =
        body["results"].as_array().expect("results").iter().map(|line| &line["code"]).collect();
    assert_eq!(codes, ["missing_field", "bad_type", "bad_type"]);
    for sent_at in ["2026-11-22T21:48:20Z", "1795384100123"] {
        let reply = asking.clone().with("rollbook-sent-at", sent_at).send(room.address).await;
        assert_eq!(reply.code(), "ok", "{sent_at}");
    }
    let reply = asking.with("rollbook-sent-at", "yesterday").send(room.address).await;
    assert_eq!(reply.code(), "bad_envelope");
}

#[tokio::test]
async fn protobuf_is_refused_event_by_event_too() {
    let (room, acme) = room_of_one(&[], "bodies_protobuf").await;
    let nameless = proto::Event { r#type: Some("video.played".to_owned()), ..Default::default() };
    let request = proto::IngestRequest {
        organization: Some(acme.slug.clone()),
        key: Some(acme.key.clone()),
        events: vec![nameless.clone(), nameless],
        ..Default::default()
    };
    let asking = Asking::batch(&acme, request.encode_to_vec())
        .with("authorization", "")
        .with("organization", "")
        .with("content-type", "application/x-protobuf");
    let body = asking.send(room.address).await.json();
    assert_eq!((&body["rejected"], &body["results"][1]["field"]), (&2.into(), &"id".into()));
    let cut = Asking { body: asking.body[..asking.body.len() - 1].to_vec(), ..asking };
    assert_eq!(cut.send(room.address).await.code(), "bad_body");
}

#[tokio::test]
async fn any_bytes_in_any_form_get_an_answer_on_a_connection_that_stays_open() {
    let (room, acme) = room_of_one(&[], "bodies_any").await;
    let forms = ["application/json", "text/plain", "application/x-ndjson", "application/x-protobuf"];
    let mut runner = TestRunner::deterministic();
    let mut wire = Wire::open(room.address).await;
    for case in 0..400 {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        let body = bytes.new_tree(&mut runner).expect("no filter").current();
        let encoding = ["", "gzip", "zstd", "br"][case / 4 % 4];
        let asking = Asking::batch(&acme, body)
            .with("content-type", forms[case % 4])
            .with("content-encoding", encoding);
        wire.write(&asking.bytes()).await;
        let status = wire.reply().await.status;
        assert!([200, 400].contains(&status), "{status} for {:?} {encoding}", asking.body);
    }
}
