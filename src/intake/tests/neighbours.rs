//! Whatever organizations do with what is everybody's, the next one finds room.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{Asking, Wire};
use super::*;

const STREAMS: usize = 128;

async fn room_of(flags: &[&str], slugs: &[&str]) -> (Room, Vec<Member>) {
    let organizations: Vec<_> = slugs.iter().map(|slug| organization(slug)).collect();
    let members = organizations.iter().map(member).collect();
    (Room::open(flags, organizations).await, members)
}

async fn is_served(room: &Room, member: &Member) -> bool {
    Asking::batch(member, refused_batch(50)).send(room.address).await.code() == "ok"
}

/// Takes what room an organization still has.
async fn takes_the_rest(room: &Room, member: &Member) -> Vec<Wire> {
    let mut wires = Vec::new();
    while is_served(room, member).await {
        assert!(wires.len() < 1_000, "{} has no end of room", member.slug);
        wires.push(stalled(room, &Asking::batch(member, ""), 1, 0).await);
    }
    wires
}

/// An upload that has sent so much of what it declares, and goes no further.
async fn stalled(room: &Room, asking: &Asking, declared: usize, sent: usize) -> Wire {
    let mut wire = Wire::open(room.address).await;
    wire.write(&asking.clone().with("content-length", &declared.to_string()).bytes()).await;
    wire.write(&vec![b' '; sent]).await;
    wire
}

/// Requests over one HTTP/2 connection that promise 16 KiB each, and send nothing of it.
async fn stalled_streams(room: &Room, member: &Member, tasks: &mut JoinSet<()>) {
    let stream = TcpStream::connect(room.address).await.expect("a listener");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tasks.spawn(async move {
        let _ = connection.await;
    });
    for _ in 0..STREAMS {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = Request::post(format!("http://{}/v1/events", room.address))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", member.key))
            .header("organization", &member.slug)
            .header("content-length", "16384")
            .body(body)
            .expect("a request");
        sender.ready().await.expect("an open connection");
        let reply = sender.send_request(request);
        tasks.spawn(async move {
            let _ = reply.await;
        });
    }
}

#[tokio::test]
async fn streams_that_stall_shut_out_only_their_own_organization() {
    let (room, members) = room_of(&["--body-timeout-ms", "60000"], &["streams_acme", "streams_birch"]).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        stalled_streams(&room, &members[0], &mut tasks).await;
    }
    let _rest = takes_the_rest(&room, &members[0]).await;
    assert!(is_served(&room, &members[1]).await);
}

#[tokio::test]
async fn uploads_that_stall_shut_out_only_their_own_organization() {
    for content_type in ["application/json", "application/x-ndjson"] {
        let flags = ["--body-timeout-ms", "60000", "--in-flight-bytes", "16777216"];
        let (room, members) = room_of(&flags, &["uploads_acme", "uploads_birch"]).await;
        let asking = Asking::batch(&members[0], "").with("content-type", content_type);
        let mut wires = Vec::new();
        for _ in 0..32 {
            wires.push(stalled(&room, &asking, 512 * 1024, 260 * 1024).await);
        }
        wires.extend(takes_the_rest(&room, &members[0]).await);
        assert!(is_served(&room, &members[1]).await, "{content_type}");
        // There is room for more than that.
        let largest = [refused_batch(1).into_bytes(), vec![b' '; 500 * 1024]].concat();
        assert_eq!(Asking::batch(&members[1], largest).send(room.address).await.code(), "ok");
    }
}

#[tokio::test]
async fn several_that_take_all_they_can_leave_room_for_the_next_one() {
    let flags = ["--body-timeout-ms", "60000", "--in-flight-bytes", "4194304"];
    let slugs = ["several_acme", "several_birch", "several_cedar", "several_dogwood"];
    for at_once in [true, false] {
        let (room, members) = room_of(&flags, &slugs).await;
        let (fourth, others) = members.split_last().expect("four");
        let mut wires = Vec::new();
        // All of them at a time, or one after the other.
        let rounds: Vec<Vec<&Member>> = if at_once {
            vec![others.iter().collect()]
        } else {
            others.iter().map(|one| vec![one]).collect()
        };
        for greedy in rounds {
            for _ in 0..140 {
                for member in &greedy {
                    wires.push(stalled(&room, &Asking::batch(member, ""), 16 * 1024, 0).await);
                }
            }
            for member in greedy {
                wires.extend(takes_the_rest(&room, member).await);
            }
        }
        for member in others {
            assert!(!is_served(&room, member).await, "{}", member.slug);
        }
        assert!(is_served(&room, fourth).await, "all at a time: {at_once}");
    }
}

#[tokio::test]
async fn resting_connections_give_their_places_up_to_newcomers() {
    let (room, members) = room_of(&["--http-connections", "16"], &["resting_acme", "resting_birch"]).await;
    let mut resting = Vec::new();
    for _ in 0..16 {
        let mut wire = Wire::open(room.address).await;
        wire.write(&Asking::batch(&members[0], refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "ok");
        resting.push(wire);
    }
    let mut newcomers = Vec::new();
    for _ in 0..8 {
        let mut newcomer = Wire::open(room.address).await;
        newcomer.write(&Asking::batch(&members[1], refused_batch(1)).bytes()).await;
        assert_eq!(newcomer.reply().await.code(), "ok");
        newcomers.push(newcomer);
    }
    let (gone, kept) = resting.split_at_mut(8);
    for wire in gone {
        wire.closed().await;
    }
    for wire in kept.iter_mut().chain(&mut newcomers) {
        wire.write(&Asking::batch(&members[0], refused_batch(1)).bytes()).await;
        assert_eq!(wire.reply().await.code(), "ok");
    }
}
