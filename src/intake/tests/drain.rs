//! The end: nothing that began is left unanswered.

use serde_json::json;

use super::client::{Asking, Wire};
use super::*;

#[tokio::test]
async fn requests_in_flight_are_finished_and_no_new_ones_begun() {
    let (room, acme) = room_of_one(&[], "drain_in_flight").await;
    let body = refused_batch(3);
    let (first_half, second_half) = body.split_at(body.len() / 2);
    let mut in_flight = Vec::new();
    for _ in 0..200 {
        let mut wire = Wire::open(room.address).await;
        let begun = Asking::batch(&acme, first_half).with("content-length", &body.len().to_string());
        wire.write(&begun.bytes()).await;
        in_flight.push(wire);
    }
    let mut resting = Wire::open(room.address).await;
    resting.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
    assert_eq!(resting.reply().await.code(), "ok");

    room.stop.cancel();
    resting.closed().await;
    assert!(room.health.readiness().draining);
    for wire in &mut in_flight {
        wire.write(second_half.as_bytes()).await;
    }
    for mut wire in in_flight {
        let reply = wire.reply().await;
        assert_eq!((reply.code().as_str(), reply.header("connection")), ("ok", Some("close")));
        wire.closed().await;
    }
    room.server.await.expect("no panic").expect("a clean end");
    assert!(tokio::net::TcpStream::connect(room.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn during_the_pause_it_is_unready_and_still_takes_batches() {
    let acme = organization("drain_pause");
    let member = member(&acme);
    let directory = Arc::new(Directory::default());
    directory.replace(Snapshot::new([acme.0.clone()], [(acme.1.digest(), acme.0.id)], Instant::now()));
    let room = Room::open_with(&[], directory, Duration::from_secs(2)).await;
    room.stop.cancel();
    while !room.health.readiness().draining {
        tokio::task::yield_now().await;
    }
    let ready = Asking::get("/readyz").send(room.address).await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("draining")));
    assert_eq!(Asking::batch(&member, refused_batch(1)).send(room.address).await.code(), "ok");
    room.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_request_that_was_begun_before_the_drain_and_read_after_it_is_told_so() {
    let (room, acme) = room_of_one(&[], "drain_told").await;
    let bytes = Asking::batch(&acme, refused_batch(1)).bytes();
    let (begun, rest) = bytes.split_at(20);
    let mut wire = Wire::open(room.address).await;
    wire.write(begun).await;
    // Another connection's reply shows that the listener has turned since.
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    let mut held = Wire::open(room.address).await;
    held.write(&Asking::batch(&acme, "{").with("content-length", "2").bytes()).await;
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    room.stop.cancel();
    while tokio::net::TcpStream::connect(room.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    wire.write(rest).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "draining"));
    assert!(reply.header("retry-after").is_some());
    drop(held);
    room.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn who_is_connected_when_the_drain_begins_may_still_ask_and_is_told_so() {
    let (room, acme) = room_of_one(&[], "drain_silent").await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Wire::open(room.address).await);
    }
    room.stop.cancel();
    while tokio::net::TcpStream::connect(room.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for mut wire in silent {
        wire.write(&Asking::batch(&acme, refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "draining");
        wire.closed().await;
    }
    room.server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn whose_body_does_not_come_in_time_is_told_so_before_the_time_is_up() {
    let (room, acme) = room_of_one(&["--body-timeout-ms", "60000"], "drain_limit").await;
    let json = Asking::batch(&acme, "{").with("content-length", "100");
    let keyless = json.clone().with("authorization", "").with("content-type", "text/plain");
    let mut waiting = Vec::new();
    for asking in [json.clone(), json.with("content-type", "application/x-ndjson"), keyless] {
        let mut wire = Wire::open(room.address).await;
        wire.write(&asking.bytes()).await;
        waiting.push(wire);
    }
    assert_eq!(Asking::get("/healthz").send(room.address).await.status, 200);
    let started = Instant::now();
    room.stop.cancel();
    for mut wire in waiting {
        let reply = wire.reply().await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "draining"));
        assert!(reply.header("retry-after").is_some());
        assert_eq!(reply.header("connection"), Some("close"));
        wire.closed().await;
    }
    room.server.await.expect("no panic").expect("a clean end");
    assert!(started.elapsed() < Duration::from_secs(8));
}
