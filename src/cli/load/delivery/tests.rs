use serde_json::json;

use super::super::peer::{Act, Peer, batch};
use super::*;

async fn delivered(peer: &Peer, tries: u32, events: usize) -> Delivery {
    let slots = Arc::new(Semaphore::new(1));
    let slot = Arc::clone(&slots).acquire_owned().await.expect("open");
    let tries = NonZeroU32::new(tries).expect("not zero");
    let courier = Courier { client: peer.client(), slots, tries };
    courier.deliver(batch(events), Instant::now(), slot).await
}

fn trouble(delivery: Delivery) -> Trouble {
    match delivery.end {
        End::GivenUp(trouble) => trouble,
        End::Answered { .. } => panic!("answered"),
    }
}

const ACCEPT: Act = Act::Accept(Duration::ZERO);

#[tokio::test]
async fn a_busy_intake_gets_the_same_events_when_it_said_so() {
    for status in [429, 503] {
        let peer = Peer::listen(&[Act::Refuse { status, retry_after: Some("1") }, ACCEPT]).await;
        let delivery = delivered(&peer, 2, 3).await;
        assert_eq!((delivery.counts.accepted, delivery.counts.sent_again), (3, 3));
        let End::Answered { latency } = delivery.end else { panic!("given up") };
        assert!(latency >= Duration::from_secs(1), "{latency:?}: the wait counts");
        assert_eq!(peer.look(|seen| seen.events.clone()), [json!([0, 1, 2]), json!([0, 1, 2])]);
    }
}

#[tokio::test]
async fn only_the_events_with_the_verdict_retry_are_sent_again() {
    let peer = Peer::listen(&[Act::AskAgain(1), ACCEPT]).await;
    let delivery = delivered(&peer, 2, 3).await;
    assert_eq!((delivery.counts.sent, delivery.counts.accepted, delivery.counts.retry), (3, 3, 0));
    assert_eq!(peer.look(|seen| seen.events.clone()), [json!([0, 1, 2]), json!([1])]);
}

#[tokio::test]
async fn events_that_intake_asks_for_again_to_the_last_are_counted_so() {
    let peer = Peer::listen(&[Act::AskAgain(2), Act::AskAgain(0)]).await;
    let delivery = delivered(&peer, 3, 3).await;
    assert_eq!((delivery.counts.accepted, delivery.counts.retry), (2, 1));
    assert_eq!(trouble(delivery).code, "verdict retry");
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let peer = Peer::listen(&[Act::HangUp, ACCEPT]).await;
    assert_eq!(delivered(&peer, 2, 1).await.counts.accepted, 1);
}

#[tokio::test]
async fn trouble_that_does_not_pass_is_given_up_after_the_tries() {
    let peer = Peer::listen(&[Act::Refuse { status: 503, retry_after: None }]).await;
    let trouble = trouble(delivered(&peer, 3, 1).await);
    assert_eq!((trouble.code.as_str(), trouble.message.as_str()), ("503 some_code", "some detail"));
    assert_eq!(peer.look(|seen| seen.events.len()), 3);
}

#[tokio::test]
async fn a_refusal_is_not_argued_with() {
    let peer = Peer::listen(&[Act::Refuse { status: 401, retry_after: None }]).await;
    assert_eq!(trouble(delivered(&peer, 3, 1).await).code, "401 some_code");
    assert_eq!(peer.look(|seen| seen.events.len()), 1);
}

#[test]
fn nobody_is_obeyed_for_hours() {
    assert_eq!(pause(Some(Duration::from_secs(7_200)), FIRST_WAIT), LONGEST_RETRY_AFTER);
    let wait = pause(None, LONGEST_WAIT);
    assert!((LONGEST_WAIT / 2..=LONGEST_WAIT).contains(&wait));
}
