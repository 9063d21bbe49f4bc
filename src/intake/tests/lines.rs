//! NDJSON that arrives in pieces: the same answers as for a whole body, and little of it kept.

use super::bodies::gzip;
use super::client::{Asking, Wire};
use super::*;

const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

/// What is asked, without its body: that comes in chunks.
fn begun(member: &Member, encoding: &str) -> Asking {
    Asking::batch(member, "")
        .with("content-type", "application/x-ndjson")
        .with("content-encoding", encoding)
        .with(CHUNKED.0, CHUNKED.1)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends a body in two pieces, the second one when the first was surely read, and gives what was answered.
async fn in_two(room: &Room, asking: &Asking, first: &[u8], second: &[u8]) -> super::client::Reply {
    let mut wire = Wire::open(room.address).await;
    wire.write(&[asking.bytes(), chunk(first)].concat()).await;
    // Two turns of the listener lie between the pieces.
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    wire.write(&[chunk(second), b"0\r\n\r\n".to_vec()].concat()).await;
    wire.reply().await
}

#[tokio::test]
async fn wherever_it_is_cut_a_packed_body_gets_the_same_verdicts() {
    let (room, acme) = room_of_one(&[], "lines_cut").await;
    let plain = "{}\n\nnot json é\r\n[]\n{\"id\":1}".as_bytes();
    let mut br = Vec::new();
    brotli::BrotliCompress(&mut &*plain, &mut br, &Default::default()).expect("in memory");
    let zstd = zstd::encode_all(plain, 3).expect("in memory");
    for (encoding, body) in [("", plain.to_vec()), ("gzip", gzip(plain)), ("zstd", zstd), ("br", br)] {
        let asking = begun(&acme, encoding);
        for at in 1..body.len() {
            let reply = in_two(&room, &asking, &body[..at], &body[at..]).await.json();
            let lines = reply["results"].as_array().expect("results");
            let said: Vec<_> = lines.iter().map(|line| (&line["index"], line["code"].as_str())).collect();
            assert_eq!(
                said,
                [
                    (&0.into(), Some("missing_field")),
                    (&1.into(), Some("bad_type")),
                    (&2.into(), Some("bad_type")),
                    (&3.into(), Some("bad_type"))
                ],
                "{encoding} cut at {at}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_found_late_weighs_as_if_it_had_been_found_at_once() {
    let (room, acme) = room_of_one(&["--body-timeout-ms", "2000"], "lines_late").await;
    let many = "{}\n".repeat(501);
    let long = vec![b' '; 512 * 1024];
    let packed_bomb = gzip(&vec![b' '; 2 * 1024 * 1024 + 1]);
    let plain = begun(&acme, "");
    let stranger = plain.clone().with("organization", "somebody_else");
    let nobody = plain.clone().with("organization", "");
    let no_time = stranger.clone().with("rollbook-sent-at", "yesterday");
    for (asking, first, second, code) in [
        // Not UTF-8 weighs more than too many, and too large more than either.
        (&plain, many.as_bytes(), &b"\xff"[..], "bad_body"),
        (&plain, b"\xff\n", many.as_bytes(), "bad_body"),
        (&plain, b"\xff\n", &long, "body_too_large"),
        (&plain, many.as_bytes(), &long, "body_too_large"),
        (&begun(&acme, "gzip"), b"no gzip", &long, "body_too_large"),
        (&begun(&acme, "gzip"), &packed_bomb[..10], &packed_bomb[10..], "body_too_large"),
        (&begun(&acme, "gzip"), &gzip(b"\xff\n")[..], &packed_bomb, "body_too_large"),
        (&begun(&acme, "gzip"), &gzip(b"{}\n")[..], b"more", "bad_body"),
        // The body weighs more than whose it is.
        (&stranger, b"{}\n", b"\xff", "bad_body"),
        (&stranger, many.as_bytes(), b"", "bad_envelope"),
        (&stranger, b" \n", b"\n", "bad_envelope"),
        (&no_time, b"{}\n", b"{}\n", "bad_envelope"),
        (&stranger, b"{}\n", b"{}\n", "organization_mismatch"),
        (&nobody, b"{}\n", b"{}\n", "missing_organization"),
        (&nobody.clone().with("authorization", ""), b"{}\n", b"\xff", "bad_body"),
        (&stranger.clone().with("authorization", ""), b"{}\n", b"{}\n", "missing_key"),
        (&plain, b"{}\n", b"{}\n", "ok"),
    ] {
        // A chunk of no bytes would be the end.
        let second = if second.is_empty() { b"\n" } else { second };
        let reply = in_two(&room, asking, first, second).await;
        assert_eq!(reply.code(), code, "{}", String::from_utf8_lossy(&reply.body));
    }
    let mut slow = Wire::open(room.address).await;
    slow.write(&[plain.bytes(), chunk(b"\xff\n")].concat()).await;
    assert_eq!(slow.reply().await.code(), "slow_body", "it weighs more than what came");
}

#[tokio::test]
async fn lines_that_were_judged_are_not_kept() {
    // An organization has room for two of these bodies, or for many requests that keep no more than what will be said.
    let flags =
        ["--max-unpacked-bytes", "1048576", "--in-flight-bytes", "2000000", "--body-timeout-ms", "60000"];
    let (room, acme) = room_of_one(&flags, "lines_kept").await;
    let half = format!("{{\"id\":\"{}\"}}\n", "x".repeat(1_000)).repeat(200);
    let mut wires = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::open(room.address).await;
        wire.write(&[begun(&acme, "").bytes(), chunk(half.as_bytes())].concat()).await;
        wires.push(wire);
    }
    assert_eq!(Asking::batch(&acme, refused_batch(1)).send(room.address).await.code(), "ok");
    for wire in &mut wires {
        wire.write(&[chunk(half.as_bytes()), b"0\r\n\r\n".to_vec()].concat()).await;
    }
    for mut wire in wires {
        assert_eq!(wire.reply().await.json()["rejected"], 400);
    }
}

#[tokio::test]
async fn what_will_be_said_of_judged_lines_is_counted() {
    // Room for one body of the largest size.
    let flags = ["--in-flight-bytes", "2113536", "--body-timeout-ms", "60000"];
    let (room, acme) = room_of_one(&flags, "lines_refused").await;
    let refused = |at: usize| {
        let [a, b, c, d] = ["é", "ü", "ø", "ß"].map(|letter| letter.repeat(80));
        let now = crate::event::UnixMillis::now();
        let id = Uuid::now_v7();
        format!(
            r#"{{"id":"{id}","type":"video.played","occurred_at":"{now}","session_id":"s{at}","viewer_id":"v","content_id":"c","ext":{{"{a}":{{"{b}":{{"{c}":{{"{d}":1e999}}}}}}}}}}"#
        )
    };
    let lines: String = (0..400).map(|at| refused(at) + "\n").collect();
    assert!(lines.len() < 400_000, "{}", lines.len());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::open(room.address).await;
        wire.write(&[begun(&acme, "").bytes(), chunk(lines.as_bytes())].concat()).await;
        waiting.push(wire);
    }
    let replies = waiting.iter_mut().map(|wire| Box::pin(wire.reply()));
    let (reply, ..) = futures_util::future::select_all(replies).await;
    assert_eq!(reply.code(), "overloaded", "five times 650 KB of refusals are more than there is room for");
}

#[tokio::test]
async fn packed_bodies_that_wait_keep_what_arrived_of_them_and_no_decoder() {
    // A quarter of the windows that the beginnings below ask for.
    let flags = ["--body-timeout-ms", "60000", "--in-flight-bytes", "16777216"];
    let (room, acme) = room_of_one(&flags, "lines_packed").await;
    let packed = zstd::encode_all("{}\n".repeat(400).as_bytes(), 3).expect("in memory");
    let (first, second) = packed.split_at(packed.len() / 2);
    // The head of a frame, which asks for a window of 8 MiB.
    let head = b"\x28\xb5\x2f\xfd\x00\x68";
    let mut waiting = Vec::new();
    for beginning in [first, head].into_iter().cycle().take(20) {
        let mut wire = Wire::open(room.address).await;
        wire.write(&[begun(&acme, "zstd").bytes(), chunk(beginning)].concat()).await;
        waiting.push(wire);
    }
    for (encoding, body) in [("zstd", packed.clone()), ("gzip", gzip(b"{}\n"))] {
        let (first, second) = body.split_at(body.len() / 2);
        assert_eq!(in_two(&room, &begun(&acme, encoding), first, second).await.code(), "ok");
    }
    for (at, mut wire) in waiting.into_iter().enumerate() {
        wire.write(&[chunk(second), b"0\r\n\r\n".to_vec()].concat()).await;
        assert_eq!(wire.reply().await.code(), if at % 2 == 0 { "ok" } else { "bad_body" });
    }
}

#[tokio::test]
async fn lines_that_are_not_complete_are_counted() {
    let flags = ["--in-flight-bytes", "4194304", "--body-timeout-ms", "60000"];
    let (room, acme) = room_of_one(&flags, "lines_begun").await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let mut wire = Wire::open(room.address).await;
        wire.write(&[begun(&acme, "").bytes(), chunk(&[b'x'; 400_000])].concat()).await;
        waiting.push(wire);
    }
    let replies = waiting.iter_mut().map(|wire| Box::pin(wire.reply()));
    let (reply, ..) = futures_util::future::select_all(replies).await;
    assert_eq!(reply.code(), "overloaded", "ten lines of 400 KB are more than one may hold of 4 MiB");
}
