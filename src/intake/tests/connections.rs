//! Connections: kept, pipelined, HTTP/2, slow, cut and hostile.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::client::{Asking, Wire};
use super::*;

#[tokio::test]
async fn a_connection_is_kept_and_requests_may_be_sent_ahead() {
    let (room, acme) = room_of_one(&[], "connections_kept").await;
    let mut wire = Wire::open(room.address).await;
    let ahead: Vec<u8> =
        (1..=5).flat_map(|events| Asking::batch(&acme, refused_batch(events)).bytes()).collect();
    wire.write(&ahead).await;
    for events in 1..=5 {
        assert_eq!(wire.reply().await.json()["rejected"], events);
    }
    wire.write(&Asking::batch(&acme, refused_batch(6)).bytes()).await;
    assert_eq!(wire.reply().await.json()["rejected"], 6);
}

#[tokio::test]
async fn a_reply_does_not_wait_for_more_of_what_was_begun_behind_its_request() {
    let (room, acme) = room_of_one(&[], "connections_ahead").await;
    for begun in ["\r\n", "POST /v1/ev"] {
        let mut wire = Wire::open(room.address).await;
        let asked = [&Asking::batch(&acme, refused_batch(1)).bytes(), begun.as_bytes()].concat();
        wire.write(&asked).await;
        assert_eq!(wire.reply().await.code(), "ok", "{begun:?}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_it_has_to_say_still_hears_the_replies() {
    let (room, acme) = room_of_one(&[], "connections_half").await;
    let mut wire = Wire::open(room.address).await;
    // One whose reply is waited for: the log has to say something first.
    wire.write(&Asking::batch(&acme, good_batch()).bytes()).await;
    wire.say_no_more().await;
    assert_eq!(wire.reply().await.code(), "log_unavailable");
    wire.closed().await;
}

#[tokio::test]
async fn http_2_is_spoken_on_the_same_port() {
    let (room, acme) = room_of_one(&[], "connections_http2").await;
    let (sender, driving) = http_2(&room).await;
    let requests = (1..=50).map(|events| {
        let request = Request::post(format!("http://{}/v1/events", room.address))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", acme.key))
            .header("organization", &acme.slug)
            .body(Full::new(Bytes::from(refused_batch(events))))
            .expect("a request");
        let mut sender = sender.clone();
        async move {
            let reply = sender.send_request(request).await.expect("a reply");
            let body = reply.into_body().collect().await.expect("a body").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["rejected"], events);
        }
    });
    futures_util::future::join_all(requests).await;
    drop(sender);
    driving.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_reply_to_head_has_no_body_and_tells_its_length() {
    let (room, _) = room_of_one(&[], "connections_head").await;
    for (path, status, with_body) in
        [("/v1/events", 405, "GET"), ("/healthz", 200, "GET"), ("/nope", 404, "PUT")]
    {
        let asking = |method: &str| Asking { method: method.to_owned(), ..Asking::get(path) };
        let whole = asking(with_body).send(room.address).await;
        let length = whole.body.len().to_string();
        let mut wire = Wire::open(room.address).await;
        wire.write(&asking("HEAD").bytes()).await;
        let head = wire.head().await;
        assert_eq!((head.status, head.header("content-length")), (status, Some(length.as_str())), "{path}");

        let (mut sender, _driving) = http_2(&room).await;
        let request = Request::head(format!("http://{}{path}", room.address));
        let request = request.body(Full::default()).expect("a request");
        let reply = sender.send_request(request).await.expect("a reply");
        assert_eq!(reply.status().as_u16(), status, "{path}");
        assert_eq!(reply.headers()["content-length"], length, "{path}");
        assert!(reply.into_body().collect().await.expect("a clean end").to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off_and_resting_connections_are_not() {
    let (room, acme) = room_of_one(&["--header-timeout-ms", "300"], "connections_slow").await;
    let mut resting = Wire::open(room.address).await;
    resting.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(resting.reply().await.code(), "ok");
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n\r\n", "POST /v1/events HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut slow = Wire::open(room.address).await;
        slow.write(beginning.as_bytes()).await;
        slow.closed().await;
    }
    resting.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(resting.reply().await.code(), "ok");
    resting.write(b"POST /v1/ev").await;
    resting.closed().await;
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_not_taken_for_headers_that_never_end() {
    let (room, acme) = room_of_one(&["--header-timeout-ms", "300"], "connections_rest").await;
    let mut wire = Wire::open(room.address).await;
    let refused =
        Asking::batch(&acme, "{").with("content-type", "text/html").with("content-length", "100000");
    wire.write(&refused.bytes()).await;
    assert_eq!(wire.reply().await.code(), "unsupported_type");
    wire.write(&vec![b' '; 99_999]).await;
    // Two others use the time up.
    for _ in 0..2 {
        Wire::open(room.address).await.closed().await;
    }
    wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(wire.reply().await.code(), "ok");
}

#[tokio::test]
async fn a_connection_that_rests_for_too_long_is_closed() {
    let (room, acme) = room_of_one(&["--idle-timeout-ms", "200"], "connections_idle").await;
    let mut wire = Wire::open(room.address).await;
    wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(wire.reply().await.code(), "ok");
    wire.closed().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_nothing_behind() {
    let (room, acme) = room_of_one(&["--in-flight-bytes", "2200000"], "connections_cut").await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    // Together they would hold more than there is: if they leaked, nobody would be let in for good.
    for _ in 0..100 {
        let mut wire = Wire::open(room.address).await;
        let half = Asking::batch(&acme, "{").with("content-length", "524288");
        wire.write(&half.bytes()).await;
        drop(wire);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = Asking::batch(&acme, refused_batch(1)).send(room.address).await;
        if reply.code() == "ok" {
            break;
        }
        assert!(Instant::now() < deadline, "what was cut off still holds its room");
    }
    // A client that hangs up after the log was asked: the answer is waited for, and the drain with it.
    let mut wire = Wire::open(room.address).await;
    wire.write(&Asking::batch(&acme, good_batch()).bytes()).await;
    drop(wire);
    while tasks() > before {
        assert!(Instant::now() < deadline, "{} tasks, {before} before", tasks());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    room.stop.cancel();
    room.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn bytes_that_are_not_http_get_the_librarys_bare_reply() {
    let (room, _) = room_of_one(&[], "connections_bare").await;
    let many_headers = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (bytes, status) in [
        ("hello\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("POST /v1/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (many_headers.as_str(), 431),
    ] {
        let mut wire = Wire::open(room.address).await;
        wire.write(bytes.as_bytes()).await;
        assert_eq!(wire.reply().await.status, status, "{bytes:?}");
        wire.closed().await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_are_answered_or_closed_and_never_more() {
    let (room, acme) = room_of_one(&[], "connections_hostile").await;
    let endless_header = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 100_000]].concat();
    for bytes in [
        b"\0\0\0\0\0\0\0\0\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/events HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &endless_header,
    ] {
        let mut wire = Wire::open(room.address).await;
        wire.write(bytes).await;
        wire.closed().await;
    }
    assert_eq!(Asking::batch(&acme, refused_batch(1)).send(room.address).await.code(), "ok");
    assert!(room.health.stuck().is_empty());
}

/// A client's end of an HTTP/2 connection, and the task that drives it.
async fn http_2(room: &Room) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(room.address).await.expect("a listener");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    (sender, tokio::spawn(connection))
}
