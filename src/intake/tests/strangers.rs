//! Who has shown no live key takes nothing from those who have.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::bodies::{chunked, gzip};
use super::client::{Asking, Reply, Wire};
use super::*;

const KEYED: usize = 20;

/// A batch as a page sends it that is going away: key and tag are in the body.
fn beacon(member: &Member, events: &str) -> Asking {
    let body = format!(r#"{{"organization":"{}","key":"{}","events":[{events}]}}"#, member.slug, member.key);
    keyless(body)
}

fn keyless(body: impl Into<Vec<u8>>) -> Asking {
    let nobody = Member { slug: String::new(), key: String::new() };
    Asking::batch(&nobody, body)
        .with("authorization", "")
        .with("organization", "")
        .with("content-type", "text/plain")
}

/// A connection that promises a body and sends nothing of it.
async fn promising(room: &Room, asking: &Asking, bytes: usize) -> Wire {
    let mut wire = Wire::open(room.address).await;
    wire.write(&asking.clone().with("content-length", &bytes.to_string()).bytes()).await;
    wire
}

/// Connections that promise bodies, as many as it takes until one more stranger is refused.
async fn crowd(room: &Room, asking: &Asking) -> Vec<Wire> {
    let mut crowd = Vec::new();
    while keyless(refused_batch(1)).send(room.address).await.code() != "overloaded" {
        assert!(crowd.len() < 1_000, "strangers have no end of room");
        crowd.push(promising(room, asking, 16 * 1024).await);
    }
    crowd
}

async fn all_are_answered(room: &Room, member: &Member) {
    for _ in 0..KEYED {
        let reply = Asking::batch(member, refused_batch(50)).send(room.address).await;
        assert_eq!(reply.code(), "ok");
    }
}

fn detail(reply: &Reply) -> String {
    reply.json()["detail"].as_str().expect("a detail").to_owned()
}

#[tokio::test]
async fn strangers_that_hold_all_that_they_may_keep_out_only_each_other() {
    let (room, acme) = room_of_one(&["--strangers-in-flight-bytes", "500000"], "strangers_crowd").await;
    for asking in [
        keyless(""),
        keyless("").with("content-type", "application/x-ndjson").with("content-encoding", "zstd"),
        keyless("").with("content-type", "application/x-protobuf"),
    ] {
        let crowd = crowd(&room, &asking).await;
        all_are_answered(&room, &acme).await;
        assert_eq!(beacon(&acme, "{}").send(room.address).await.code(), "overloaded");
        drop(crowd);
        while beacon(&acme, "{}").send(room.address).await.code() != "ok" {}
    }
}

#[tokio::test]
async fn streams_of_one_connection_are_strangers_like_any_other() {
    let (room, acme) = room_of_one(&["--strangers-in-flight-bytes", "500000"], "strangers_streams").await;
    let stream = TcpStream::connect(room.address).await.expect("a listener");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let mut refused = false;
    let mut open = Vec::new();
    while !refused {
        assert!(open.len() < 100, "strangers have no end of room");
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = Request::post(format!("http://{}/v1/events", room.address))
            .header("content-type", "text/plain")
            .header("content-length", "16384")
            .body(body)
            .expect("a request");
        sender.ready().await.expect("an open connection");
        open.push(tokio::spawn(sender.send_request(request)));
        refused = keyless(refused_batch(1)).send(room.address).await.code() == "overloaded";
    }
    all_are_answered(&room, &acme).await;
}

#[tokio::test]
async fn a_body_that_has_named_a_live_key_is_an_ordinary_one_and_what_was_charged_comes_back() {
    let acme = limited(organization("strangers_named"), 1);
    let member = member(&acme);
    let flags = ["--max-body-bytes", "30000", "--max-unpacked-bytes", "30000", "--in-flight-bytes", "46384"];
    let room = Room::open(&flags, vec![acme]).await;
    let holding = promising(&room, &Asking::batch(&member, ""), 30_000).await;
    while Asking::batch(&member, "{").send(room.address).await.code() != "overloaded" {}
    let events = vec!["{}"; 500].join(",");
    assert_eq!(beacon(&member, "").send(room.address).await.code(), "bad_envelope", "not known yet");
    for _ in 0..3 {
        assert_eq!(beacon(&member, &events).send(room.address).await.code(), "overloaded");
    }
    drop(holding);
    let small = beacon(&member, "{}");
    while small.send(room.address).await.code() == "overloaded" {}
    // 500 tokens, one of them spent.
    let most = vec!["{}"; 60].join(",");
    for _ in 0..8 {
        assert_eq!(beacon(&member, &most).send(room.address).await.code(), "ok");
    }
}

#[tokio::test]
async fn a_stranger_may_send_what_a_browser_does_and_is_told_that_a_key_allows_more() {
    let (room, acme) = room_of_one(&[], "strangers_sizes").await;
    let padded = |bytes: usize| {
        let mut asking = beacon(&acme, "{}");
        asking.body.resize(bytes, b' ');
        asking
    };
    let in_chunks = |bytes: usize| {
        let asking = padded(bytes);
        Asking { body: chunked(&asking.body, 10_000), ..asking }.with("transfer-encoding", "chunked")
    };
    let packed = |bytes: usize| {
        let asking = padded(bytes);
        Asking { body: gzip(&asking.body), ..asking }.with("content-encoding", "gzip")
    };
    let dead = format!("Bearer {}", organization("strangers_dead").1.reveal());
    for asking in [padded(64 * 1024), in_chunks(64 * 1024), packed(512 * 1024)] {
        assert_eq!(asking.send(room.address).await.code(), "ok");
    }
    for (asking, limit, with_key) in [
        (padded(64 * 1024 + 1), "65536 bytes as it arrives", "524288"),
        (in_chunks(64 * 1024 + 1), "65536 bytes as it arrives", "524288"),
        (packed(512 * 1024 + 1), "524288 bytes when it is unpacked", "2097152"),
        (padded(64 * 1024 + 1).with("authorization", &dead), "65536 bytes as it arrives", "524288"),
        (padded(64 * 1024 + 1).with("authorization", "Basic YTpi"), "65536 bytes as it arrives", "524288"),
    ] {
        let reply = asking.send(room.address).await;
        assert_eq!(reply.code(), "body_too_large");
        assert!(detail(&reply).contains(limit) && detail(&reply).contains(with_key), "{}", detail(&reply));
        assert!(detail(&reply).contains("a live key in `Authorization`"), "{}", detail(&reply));
    }
    let bearer = format!("Bearer {}", acme.key);
    assert_eq!(padded(512 * 1024).with("authorization", &bearer).send(room.address).await.code(), "ok");
    let refused = padded(512 * 1024 + 1).with("authorization", &bearer).send(room.address).await;
    assert!(!detail(&refused).contains("live key"), "{}", detail(&refused));
    assert_eq!(padded(64 * 1024).with("authorization", &dead).send(room.address).await.code(), "unknown_key");
}

#[tokio::test]
async fn a_strangers_body_has_ten_seconds() {
    let (room, acme) = room_of_one(&[], "strangers_slow").await;
    let mut stranger = promising(&room, &keyless(""), 100).await;
    let mut known = promising(&room, &Asking::batch(&acme, ""), refused_batch(1).len()).await;
    let reply = stranger.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "slow_body"));
    assert!(detail(&reply).contains("after 10 s"), "{}", detail(&reply));
    known.write(refused_batch(1).as_bytes()).await;
    assert_eq!(known.reply().await.code(), "ok");
}

#[tokio::test]
async fn lines_of_a_stranger_get_the_verdict_that_weighs_most_and_no_decoder_waits_for_them() {
    let (room, _) = room_of_one(&["--body-timeout-ms", "60000"], "strangers_lines").await;
    let lines = keyless("").with("content-type", "application/x-ndjson").with("content-encoding", "zstd");
    let nothing = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("in memory");
    for (body, code) in [
        (nothing(b"{}\n\xff"), "bad_body"),
        (nothing("{}\n".repeat(501).as_bytes()), "bad_envelope"),
        (nothing(&[b' '; 512 * 1024 + 1]), "body_too_large"),
        (nothing(b"{}\n"), "missing_organization"),
        (b"no zstd".to_vec(), "bad_body"),
    ] {
        let asking = Asking { body, ..lines.clone() };
        assert_eq!(asking.send(room.address).await.code(), code);
    }
    let tagged = Asking { body: nothing(b"{}\n"), ..lines }.with("organization", "anyone");
    assert_eq!(tagged.send(room.address).await.code(), "missing_key");
}

/// Every way to be connected without having shown a key.
async fn strangers_of_every_kind(room: &Room, how_many: usize) -> Vec<Wire> {
    let dead = format!("Bearer {}", organization("strangers_nobody").1.reveal());
    let mut strangers = Vec::new();
    for kind in (0..5).cycle().take(how_many) {
        let mut wire = Wire::open(room.address).await;
        match kind {
            // Silent, or with headers that do not end.
            0 => {}
            1 => wire.write(b"POST /v1/events HTTP/1.1\r\nx: ").await,
            // Its request was answered, and it rests.
            2 => wire.write(&Asking::get("/healthz").bytes()).await,
            // Its body does not come.
            3 => wire.write(&keyless("").with("content-length", "16384").bytes()).await,
            // It was refused, and the rest of its body is read away.
            _ => {
                let refused = keyless("").with("authorization", &dead).with("content-length", "16384");
                wire.write(&refused.bytes()).await;
            }
        }
        strangers.push(wire);
    }
    strangers
}

#[tokio::test]
async fn when_there_are_no_more_places_strangers_give_theirs_to_those_who_have_a_key() {
    let flags = ["--http-connections", "16", "--header-timeout-ms", "60000"];
    let (room, acme) = room_of_one(&flags, "strangers_places").await;
    let mut known = Wire::open(room.address).await;
    known.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(known.reply().await.code(), "ok");
    let mut by_body = Wire::open(room.address).await;
    by_body.write(&beacon(&acme, "{}").bytes()).await;
    assert_eq!(by_body.reply().await.code(), "ok");
    let strangers = strangers_of_every_kind(&room, 60).await;
    all_are_answered(&room, &acme).await;
    for wire in [&mut known, &mut by_body] {
        wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "ok", "who has shown a key stays");
    }
    drop(strangers);
    all_are_answered(&room, &acme).await;
}

#[tokio::test]
async fn a_stranger_whose_place_is_needed_is_told_so_where_it_waits_for_a_reply() {
    let flags = ["--http-connections", "8", "--body-timeout-ms", "60000", "--header-timeout-ms", "60000"];
    let (room, acme) = room_of_one(&flags, "strangers_told").await;
    let mut waiting = promising(&room, &keyless(""), 100).await;
    // A later connection's reply shows that this one's request was read.
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    let mut silent = Wire::open(room.address).await;
    let mut known = Vec::new();
    for _ in 0..7 {
        let mut wire = Wire::open(room.address).await;
        wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "ok");
        known.push(wire);
    }
    let reply = waiting.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "overloaded"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(reply.header("retry-after").is_some());
    waiting.closed().await;
    // The last place is left to strangers, and the others have requests under way.
    for wire in &mut known {
        let asking = Asking::batch(&acme, "").with("content-length", "100").with("expect", "100-continue");
        wire.write(&asking.bytes()).await;
        assert_eq!(wire.reply().await.status, 100);
    }
    assert_eq!(Asking::batch(&acme, refused_batch(1)).send(room.address).await.code(), "overloaded");
    silent.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(silent.reply().await.code(), "ok");
}
