//! Processes that end between accept and load, in the middle of loading, and in order: nothing lost, nothing doubled.

use std::sync::Arc;

use serde_json::Value;

use crate::harness::{Form, Organization, Service, Site, eventually, id_of, played};

/// Posts batches until the service stops answering, and gives the ids that it accepted.
async fn keep_posting(service: Arc<Service>, organization: Organization) -> Vec<String> {
    let mut accepted = Vec::new();
    loop {
        let events = played(20);
        match service.try_post(&organization, Form::Json, &events).await {
            Ok(reply) if reply.status == 200 => {
                assert_eq!(reply.json["accepted"], 20, "{}", reply.json);
                accepted.extend(events.iter().map(id_of));
            }
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.json);
                return accepted;
            }
            Err(_) => return accepted,
        }
    }
}

/// Compares ids one by one; what was asked to be stored without an answer may be there too.
fn nothing_lost(stored: &[String], accepted: &[String]) {
    let lost: Vec<_> = accepted.iter().filter(|id| stored.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{} of {} accepted events were lost: {lost:?}", lost.len(), accepted.len());
}

fn ids(events: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = events.iter().map(id_of).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_was_accepted_before_a_crash_is_loaded_by_the_next_process() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let intake = Service::ready(site.serve("--role intake")).await;
    let events = played(120);
    for batch in events.chunks(40) {
        intake.post(&acme, Form::Json, batch).await.accepts(40);
    }
    intake.kill().await;
    assert_eq!(site.number("SELECT count(*) FROM org_acme.event").await, 0, "nobody loaded yet");

    let _loader = Service::ready(site.serve("--role loader")).await;
    assert_eq!(site.loaded("acme", 120).await, (120, 0));
    assert_eq!(site.stored_ids("acme").await, ids(&events));
}

#[tokio::test]
async fn a_loader_that_is_killed_under_load_loses_and_doubles_nothing() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let intake = Arc::new(Service::ready(site.serve("--role intake")).await);
    let writers =
        [acme, birch].map(|organization| tokio::spawn(keep_posting(Arc::clone(&intake), organization)));

    let stored = async || {
        let sum = "SELECT (SELECT count(*) FROM org_acme.event) + (SELECT count(*) FROM org_birch.event)";
        site.number(sum).await
    };
    for life in 1..=3 {
        // Small batches, so that the kill falls among many transactions. Under the classic protocol, which is Kafka 3's, each
        // loader says how long it is waited for.
        let serve = site
            .serve("--role loader")
            .env("ROLLBOOK_LOADER_BATCH_ROWS", "25")
            .env("ROLLBOOK_KAFKA_SESSION_TIMEOUT_MS", "6000");
        let loader = Service::ready(serve).await;
        let before = stored().await;
        eventually(&format!("loader {life} is at work"), async || stored().await > before + 100).await;
        loader.kill().await;
    }
    intake.terminate().await;
    let mut accepted = Vec::new();
    for writer in writers {
        accepted.push(writer.await.expect("no panic"));
    }

    let _loader = Service::ready(site.serve("--role loader")).await;
    for (slug, accepted) in ["acme", "birch"].into_iter().zip(accepted) {
        let count = i64::try_from(accepted.len()).expect("few");
        assert_eq!(site.loaded(slug, count).await, (count, 0), "no event was loaded twice");
        assert_eq!(site.stored_ids(slug).await, accepted);
    }
}

#[tokio::test]
async fn a_service_that_is_killed_under_load_keeps_what_it_accepted() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Arc::new(Service::ready(site.serve("")).await);
    let writer = tokio::spawn(keep_posting(Arc::clone(&service), acme.clone()));
    eventually("events arrive", async || site.number("SELECT count(*) FROM org_acme.event").await > 100)
        .await;
    service.kill_now().await;
    let accepted = writer.await.expect("no panic");

    let service = Service::ready(site.serve("")).await;
    // Goes into the partition behind everything else of this organization.
    let last = played(1);
    service.post(&acme, Form::Json, &last).await.accepts(1);
    let last = id_of(&last[0]);
    let arrived = format!("SELECT count(*) FROM org_acme.event WHERE event_id = '{last}'");
    eventually("the last event", async || site.number(&arrived).await == 1).await;
    let stored = site.stored_ids("acme").await;
    nothing_lost(&stored, &accepted);
    let counted = site.number("SELECT sum(stored)::bigint FROM org_acme.ingest_watermark").await;
    assert_eq!(counted, i64::try_from(stored.len()).expect("few"), "the running total speaks of the rows");
    // Only the batch whose answer was cut off may be there beyond what was acknowledged.
    assert!([accepted.len() + 1, accepted.len() + 21].contains(&stored.len()), "{}", stored.len());
}

#[tokio::test]
async fn a_drain_under_load_ends_well_and_leaves_nothing_behind() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Arc::new(Service::ready(site.serve("")).await);
    let writers = [(); 2].map(|()| tokio::spawn(keep_posting(Arc::clone(&service), acme.clone())));
    eventually("events arrive", async || site.number("SELECT count(*) FROM org_acme.event").await > 100)
        .await;
    service.terminate().await;
    let mut accepted = Vec::new();
    for writer in writers {
        accepted.extend(writer.await.expect("no panic"));
    }
    accepted.sort_unstable();
    let service = Arc::into_inner(service).expect("the writers are done");
    let status = service.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");

    // What the drain left in the log is loaded by the next process, and only that.
    let _loader = Service::ready(site.serve("--role loader")).await;
    let count = i64::try_from(accepted.len()).expect("few");
    assert_eq!(site.loaded("acme", count).await, (count, 0));
    assert_eq!(site.stored_ids("acme").await, accepted);
}
