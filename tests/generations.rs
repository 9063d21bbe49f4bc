//! A log that is not the one that was loaded is noticed, stopped at and said out loud; a person says that it is new.

use serde_json::Value;

use crate::harness::{Form, Organization, Service, Site, eventually, played};

/// Finds a new log within a second, not within half a minute.
const SOON: (&str, &str) = ("ROLLBOOK_LOADER_LOG_CHECK_SECONDS", "1");

/// Has a log of ten records of one organization loaded, each committed, and gives both.
async fn loaded() -> (Site, Organization) {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    send(&service, &acme, 10).await;
    site.loaded("acme", 10).await;
    service.stop().await;
    (site, acme)
}

/// Sends so many records of one event each.
async fn send(service: &Service, organization: &Organization, records: usize) {
    for _ in 0..records {
        service.post(organization, Form::Json, &played(1)).await.accepts(1);
    }
}

async fn stopped(site: &Site) -> Value {
    site.run("status acme --json").await.done().items()[0]["stopped"].clone()
}

/// Waits until the loader says why a partition is stopped: to whom asks whether it is ready, and in numbers.
async fn says(service: &Service, reason: &str) {
    eventually(reason, async || {
        let reply = service.admin.get("/readyz").await.json;
        reply["loader"]["reason"].as_str().is_some_and(|said| said.contains(reason))
    })
    .await;
    assert_eq!(service.admin.get("/healthz").await.status, 200, "the process is well, the log is not");
    // A broker may take partitions of a topic that was made anew, and give them again.
    eventually("one partition is stopped, and the others run", async || {
        service.metric("rollbook_loader_partitions{state=\"stopped\"}").await == 1.0
            && service.metric("rollbook_loader_partitions{state=\"running\"}").await == 2.0
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_was_made_anew_and_is_shorter_stops_its_partition_until_a_person_says_it_is_new() {
    let (site, acme) = loaded().await;
    site.make_topic_anew().await;
    let service = Service::ready(site.serve("")).await;
    says(&service, "the log ends at offset 0, below 10").await;
    assert!(stopped(&site).await.as_str().expect("a reason").contains("the log ends at offset 0"));
    send(&service, &acme, 3).await;

    // The running loader begins again in the new generation.
    site.run("setup --new-generation").await.done();
    site.loaded("acme", 13).await;
    assert_eq!(stopped(&site).await, Value::Null);
    service.stop().await;
    site.run("audit").await.done();
}

#[tokio::test]
async fn a_topic_that_was_made_anew_and_is_longer_is_known_by_the_record_that_is_not_there() {
    let (site, acme) = loaded().await;
    site.make_topic_anew().await;
    let intake = Service::ready(site.serve("--role intake")).await;
    send(&intake, &acme, 15).await;
    let loader = Service::ready_or_not(site.serve("--role loader")).await;
    says(&loader, "the record at offset 9 is not the one that was loaded").await;
    assert!(stopped(&site).await.as_str().expect("a reason").contains("offset 9"));
    assert_eq!(site.number("SELECT count(*) FROM org_acme.event").await, 10, "nothing of it was loaded");

    // Others are not stopped.
    let birch = site.organization_beside("acme").await;
    let becomes_known = async || intake.post(&birch, Form::Json, &played(1)).await.status == 200;
    eventually("intake knows the key", becomes_known).await;
    site.loaded(&birch.slug, 1).await;
    loader.stop().await;

    site.run("setup --new-generation").await.done();
    let _loader = Service::ready(site.serve("--role loader")).await;
    site.loaded("acme", 25).await;
    assert_eq!(site.stored_ids(&birch.slug).await.len(), 1, "what was read again is a duplicate");
}

#[tokio::test]
async fn a_topic_that_is_made_anew_under_a_running_loader_is_noticed() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").env(SOON.0, SOON.1)).await;
    send(&service, &acme, 10).await;
    site.loaded("acme", 10).await;
    site.make_topic_anew().await;
    says(&service, "below 10").await;
}

#[tokio::test]
async fn records_that_retention_took_before_they_were_loaded_stop_the_partition() {
    let (site, acme) = loaded().await;
    let intake = Service::ready(site.serve("--role intake")).await;
    send(&intake, &acme, 5).await;
    site.drop_records().await;
    send(&intake, &acme, 2).await;
    let loader = Service::ready_or_not(site.serve("--role loader")).await;
    says(&loader, "the log starts at offset 15, and records from 10 on were not loaded").await;
    loader.stop().await;

    site.run("setup --new-generation").await.done();
    let _loader = Service::ready(site.serve("--role loader")).await;
    site.loaded("acme", 12).await;
}

#[tokio::test]
async fn records_that_retention_took_after_they_were_loaded_are_nobodys_business() {
    let (site, acme) = loaded().await;
    site.drop_records().await;
    let service = Service::ready(site.serve("")).await;
    send(&service, &acme, 2).await;
    site.loaded("acme", 12).await;
    assert_eq!(stopped(&site).await, Value::Null);
}

#[tokio::test]
async fn what_was_held_before_a_new_generation_is_drained_by_itself() {
    let (site, acme) = loaded().await;
    site.execute("ALTER TABLE org_acme.event RENAME seq TO gone").await;
    let service = Service::ready(site.serve("")).await;
    send(&service, &acme, 3).await;
    let held = async || site.number("SELECT count(*) FROM rollbook.held_record").await;
    eventually("records are held", async || held().await == 3).await;
    service.stop().await;

    site.make_topic_anew().await;
    site.run("setup --new-generation").await.done();
    site.execute("ALTER TABLE org_acme.event RENAME gone TO seq").await;
    let _service = Service::ready(site.serve("")).await;
    site.loaded("acme", 13).await;
    assert_eq!(held().await, 0);
}

#[tokio::test]
async fn an_anchor_above_the_end_of_the_log_stops_its_partition() {
    let (site, _) = loaded().await;
    site.execute("UPDATE rollbook.partition_anchor SET next_offset = 1000 WHERE next_offset = 10").await;
    let service = Service::ready(site.serve("")).await;
    says(&service, "the log ends at offset 10, below 1000").await;
    let reason = stopped(&site).await;
    assert!(reason.as_str().expect("a reason").contains("below 1000"), "{reason}");
}
