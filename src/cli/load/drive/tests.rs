use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::pace::Pace;
use super::super::peer::{Act, Peer, batch};
use super::*;

/// Sends so many batches of one event each over two connections.
async fn driven(peer: &Peer, batches: usize, pace: Pace, stop: impl Future<Output = ()>) -> Tally {
    let (sender, receiver) = mpsc::channel(batches.max(1));
    for _ in 0..batches {
        sender.send(batch(1)).await.expect("room");
    }
    drop(sender);
    let connections = NonZeroUsize::new(2).expect("not zero");
    let slots = Arc::new(Semaphore::new(connections.get()));
    let queue = Queue::new(receiver, Schedule::new(pace, Instant::now()), Arc::clone(&slots));
    let tries = NonZeroU32::new(2).expect("not zero");
    let courier = Courier { client: peer.client(), slots, tries };
    drive(queue, courier, connections, stop, |_| {}).await
}

fn never() -> impl Future<Output = ()> {
    std::future::pending()
}

#[tokio::test]
async fn a_closed_loop_keeps_its_connections_and_never_has_more_under_way() {
    let peer = Peer::listen(&[Act::Accept(Duration::from_millis(5))]).await;
    let tally = driven(&peer, 20, Pace::AsFastAsAnswered, never()).await;
    assert_eq!((tally.sent, tally.accepted, tally.answered_requests), (20, 20, 20));
    let (most_at_once, connections) = peer.look(|seen| (seen.most_at_once, seen.connections));
    assert_eq!(most_at_once, 2);
    // The pool may open one more while another becomes free; without reuse there would be twenty.
    assert!(connections <= 5, "{connections}");
}

#[tokio::test]
async fn an_open_loop_counts_latency_from_when_a_request_was_due() {
    // 2 connections of 50 ms each can do 40 a second; 1000 a second are due.
    let peer = Peer::listen(&[Act::Accept(Duration::from_millis(50))]).await;
    let rate = Pace::EventsPerSecond(NonZeroU32::new(1_000).expect("not zero"));
    let tally = driven(&peer, 10, rate, never()).await;
    assert!(tally.latency(1.0) >= Duration::from_millis(200), "{:?}", tally.latency(1.0));
}

#[tokio::test]
async fn an_open_loop_does_not_send_before_its_time() {
    let peer = Peer::listen(&[Act::Accept(Duration::ZERO)]).await;
    let started = Instant::now();
    let rate = Pace::EventsPerSecond(NonZeroU32::new(50).expect("not zero"));
    assert_eq!(driven(&peer, 10, rate, never()).await.accepted, 10);
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_batch_that_waits_to_be_sent_again_does_not_hold_up_the_others() {
    let busy = Act::Refuse { status: 429, retry_after: Some("1") };
    let accept = Act::Accept(Duration::ZERO);
    let peer = Peer::listen(&[accept.clone(), busy.clone(), busy.clone(), busy, accept]).await;
    let tally = driven(&peer, 20, Pace::AsFastAsAnswered, never()).await;
    assert_eq!((tally.accepted, tally.sent_again), (20, 3));
    assert!(tally.latency(0.5) < Duration::from_millis(500), "{:?}", tally.latency(0.5));
}

#[tokio::test]
async fn when_the_first_requests_are_refused_the_rest_is_not_sent() {
    let peer = Peer::listen(&[Act::Refuse { status: 401, retry_after: None }]).await;
    let tally = driven(&peer, 100, Pace::AsFastAsAnswered, never()).await;
    assert!((1..=2).contains(&tally.failed_requests), "{}", tally.failed_requests);
}

#[tokio::test]
async fn a_stop_begins_nothing_new_and_waits_for_what_is_under_way() {
    let peer = Peer::listen(&[Act::Accept(Duration::from_millis(100))]).await;
    let stop = tokio::time::sleep(Duration::from_millis(150));
    let tally = driven(&peer, 100, Pace::AsFastAsAnswered, stop).await;
    assert_eq!(tally.sent, tally.accepted);
    assert!(tally.sent < 100, "{}", tally.sent);
}
