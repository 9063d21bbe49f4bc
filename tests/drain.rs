//! The end of a process under load: what it accepted is answered and stored, and what it did not accept is not.

use futures_util::future::join_all;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Form, Organization, Service, Site, Wire, batch_head, eventually, id_of, played};

/// A request and the events in it.
struct Asked {
    wire: Wire,
    events: Vec<Value>,
    unsent: Vec<u8>,
}

/// What became of one.
struct Answered {
    status: u16,
    code: String,
    ids: Vec<String>,
}

impl Asked {
    /// A connection, and the request that will be sent over it.
    async fn open(service: &Service, organization: &Organization, headers: &[(&str, &str)]) -> Self {
        let events = played(3);
        let body = json!({ "events": events }).to_string();
        let length = body.len().to_string();
        let fixed = [("content-type", "application/json"), ("content-length", length.as_str())];
        let head = batch_head(organization, &[&fixed, headers].concat());
        let wire = Wire::open(service.intake().address()).await.expect("a listener");
        Self { wire, events, unsent: [head, body.into_bytes()].concat() }
    }

    /// Sends all but the last bytes.
    async fn send_but(&mut self, bytes: usize) {
        let rest = self.unsent.split_off(self.unsent.len() - bytes);
        self.wire.write(&self.unsent).await;
        self.unsent = rest;
    }

    /// Sends what is left, and takes the one reply that there may be.
    async fn finish(mut self) -> Answered {
        self.wire.write(&self.unsent).await;
        let reply = self.wire.reply().await.expect("every request is answered");
        assert!(self.wire.rest().await.is_empty(), "no request is answered twice");
        let code = reply.json["code"].as_str().unwrap_or("ok").to_owned();
        let accepted = usize::try_from(reply.json["accepted"].as_u64().unwrap_or(0)).expect("few");
        assert!([0, self.events.len()].contains(&accepted), "{}", reply.json);
        let ids = self.events[..accepted].iter().map(id_of).collect();
        Answered { status: reply.status.as_u16(), code, ids }
    }
}

#[tokio::test]
async fn two_hundred_requests_in_flight_are_answered_once_each_and_what_was_accepted_is_stored() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake").env("ROLLBOOK_DRAIN_PAUSE_MS", "200")).await;

    // Whoever is told to go on is being waited for: these are in flight beyond doubt.
    let mut in_flight = join_all((0..200).map(async |_| {
        let mut asked = Asked::open(&service, &acme, &[("expect", "100-continue")]).await;
        asked.send_but(20).await;
        let go_on = asked.wire.reply().await.expect("to be told to go on");
        assert_eq!(go_on.status, StatusCode::CONTINUE);
        asked
    }))
    .await;
    let mut begun = join_all((0..20).map(|_| Asked::open(&service, &acme, &[]))).await;
    join_all(begun.iter_mut().map(|asked| asked.send_but(asked.unsent.len() - 20))).await;
    let mut just_sent = join_all((0..100).map(|_| Asked::open(&service, &acme, &[]))).await;
    join_all(just_sent.iter_mut().map(|asked| asked.send_but(0))).await;

    service.terminate().await;
    eventually("it is unready", async || {
        let ready = service.admin.get("/readyz").await;
        ready.status == StatusCode::SERVICE_UNAVAILABLE && ready.json["status"] == "draining"
    })
    .await;
    // The first half of them may end in the pause, the others after it.
    let late = in_flight.split_off(100);
    let early = join_all(in_flight.into_iter().map(Asked::finish));
    let refused = async {
        let address = service.intake().address();
        eventually("nobody is let in any more", async || Wire::open(address).await.is_err()).await;
        let told = join_all(begun.into_iter().map(Asked::finish)).await;
        (told, join_all(late.into_iter().map(Asked::finish)).await)
    };
    let (early, just_sent, (told, late)) =
        tokio::join!(early, join_all(just_sent.into_iter().map(Asked::finish)), refused);
    let status = service.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");

    for answered in early.iter().chain(&late).chain(&just_sent) {
        assert_eq!((answered.status, answered.code.as_str()), (200, "ok"));
    }
    for answered in &told {
        assert_eq!((answered.status, answered.code.as_str()), (503, "draining"));
    }
    let mut accepted: Vec<String> =
        [early, late, just_sent].into_iter().flatten().flat_map(|answered| answered.ids).collect();
    accepted.sort_unstable();
    assert_eq!(accepted.len(), 300 * 3);

    let _loader = Service::ready(site.serve("--role loader")).await;
    assert_eq!(site.loaded("acme", 900).await, (900, 0));
    assert_eq!(site.stored_ids("acme").await, accepted);
}

/// What it is to wait for is a flush that waits for a lock.
#[tokio::test]
async fn a_loader_alone_is_unready_from_the_first_moment_of_its_drain() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let intake = Service::ready(site.serve("--role intake")).await;
    let patient = site.serve("--role loader").env("ROLLBOOK_LOADER_LOCK_TIMEOUT_MS", "9000");
    let loader = Service::ready(patient).await;
    let mut locker = site.superuser().await;
    let lock = locker.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE org_acme.event IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    intake.post(&acme, Form::Json, &played(3)).await.accepts(3);
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'org_acme.event'::regclass";
    eventually("the flush waits", async || site.number(waits).await > 0).await;
    loader.terminate().await;
    eventually("it is unready", async || loader.admin.get("/readyz").await.json["status"] == "draining")
        .await;
    assert!(site.number(waits).await > 0, "it is not done yet");
    lock.rollback().await.expect("the lock is gone");
    assert_eq!(loader.ended().await.code(), Some(0));
    assert_eq!(site.loaded("acme", 3).await, (3, 0));
    intake.stop().await;
}

#[tokio::test]
async fn the_loader_of_the_same_process_goes_on_until_intake_has_finished() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake,loader")).await;
    let in_flight = async || {
        let mut asked = Asked::open(&service, &acme, &[("expect", "100-continue")]).await;
        asked.send_but(20).await;
        assert_eq!(asked.wire.reply().await.expect("to be told to go on").status, StatusCode::CONTINUE);
        asked
    };
    let (first, second) = (in_flight().await, in_flight().await);
    service.terminate().await;
    eventually("it is unready", async || service.admin.get("/readyz").await.json["status"] == "draining")
        .await;
    let mut ids = first.finish().await.ids;
    ids.sort_unstable();
    assert_eq!(ids.len(), 3);
    eventually("it is stored while another is waited for", async || site.stored_ids("acme").await == ids)
        .await;
    assert_eq!(second.finish().await.status, 200);
    assert_eq!(service.ended().await.code(), Some(0));
}
