//! What the running service makes of an organization's life.

use std::time::Duration;

use hyper::StatusCode;

use rollbook::log::partition_of;

use crate::harness::{Form, Service, Site, eventually, played, within};

#[tokio::test]
async fn what_was_accepted_before_a_suspension_is_stored_during_it() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let intake = Service::ready(site.serve("--role intake")).await;
    intake.post(&acme, Form::Json, &played(3)).await.accepts(3);
    site.run("org suspend acme").await.done();
    let mut accepted = 3;
    eventually("intake refuses", async || {
        let reply = intake.post(&acme, Form::Json, &played(1)).await;
        accepted += reply.json["accepted"].as_i64().unwrap_or(0);
        reply.json["code"] == "organization_suspended"
    })
    .await;

    let loader = Service::ready(site.serve("--role loader")).await;
    assert_eq!(site.loaded("acme", accepted).await, (accepted, 0));
    loader.stop().await;
}

#[tokio::test]
async fn records_of_a_removed_organization_are_counted_and_nothing_of_them_is_kept() {
    let site = Site::set_up().await;
    let (acme, birch) = (site.organization("acme").await, site.organization("birch").await);
    let intake = Service::ready(site.serve("--role intake")).await;
    intake.post(&acme, Form::Json, &played(3)).await.accepts(3);
    intake.post(&birch, Form::Json, &played(2)).await.accepts(2);
    site.run("org remove acme --yes").await.done();

    let loader = Service::ready(site.serve("--role loader")).await;
    assert_eq!(site.loaded("birch", 2).await, (2, 0));
    let kept = "SELECT concat_ws(' ', events, reason, record IS NULL) FROM rollbook.unreadable_record";
    eventually("the record is written down", async || !site.texts(kept).await.is_empty()).await;
    assert_eq!(site.texts(kept).await, ["3 the organization was removed t"]);
    eventually("the fate is counted", async || {
        let reply = loader.admin.get("/metrics").await;
        let text = std::str::from_utf8(&reply.body).expect("metrics are text");
        let sample = "rollbook_loader_events_total{organization=\"acme\",fate=\"unattributed\"}";
        text.lines().any(|line| line.strip_prefix(sample) == Some(" 3"))
    })
    .await;
    eventually("its key is nobody's", async || {
        intake.post(&acme, Form::Json, &played(1)).await.json["code"] == "unknown_key"
    })
    .await;
    loader.stop().await;
    site.run("audit").await.done();
}

#[tokio::test]
async fn the_service_goes_on_from_its_last_snapshot_and_says_how_old_it_is() {
    const AGE: &str = "rollbook_snapshot_age_seconds";
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake")).await;
    let age = async || service.metric(AGE).await;
    let login = site.role("intake");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ";
    site.execute(&format!("ALTER ROLE {login} NOLOGIN; {cut}'{login}'")).await;
    eventually("the snapshot is old", async || age().await > 3.0).await;

    service.post(&acme, Form::Json, &played(2)).await.accepts(2);
    assert_eq!(service.admin.get("/readyz").await.status, StatusCode::OK);
    assert_eq!(service.admin.get("/healthz").await.status, StatusCode::OK);

    site.execute(&format!("ALTER ROLE {login} LOGIN")).await;
    eventually("the snapshot is fresh", async || age().await < 1.5).await;
    let birch = site.organization("birch").await;
    eventually("a new key works", async || {
        service.post(&birch, Form::Json, &played(1)).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_loader_with_nothing_to_do_says_within_seconds_that_postgres_is_away() {
    let site = Site::set_up().await;
    let loader = Service::ready(site.serve("--role loader")).await;
    let login = site.role("loader");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ";
    site.execute(&format!("ALTER ROLE {login} NOLOGIN; {cut}'{login}'")).await;
    within(Duration::from_secs(10), "it is not ready", async || {
        loader.admin.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert_eq!(loader.admin.get("/healthz").await.status, StatusCode::OK);
    site.execute(&format!("ALTER ROLE {login} LOGIN")).await;
    loader.becomes_ready().await;
}

#[tokio::test]
async fn a_loader_has_no_lag_in_partitions_that_it_gave_up() {
    let site = Site::set_up().await;
    let partitions: Vec<i32> = site.log_ends().into_keys().collect();
    let count = u32::try_from(partitions.len()).expect("few");
    let mut schools = Vec::new();
    for partition in &partitions {
        let place = |name: &String| i64::from(partition_of(name, count)) == i64::from(*partition);
        let name = (0..).map(|n| format!("school{n}")).find(place).expect("there is one");
        schools.push(site.organization(&name).await);
    }
    let intake = Service::ready(site.serve("--role intake")).await;
    let first = Service::ready(site.serve("--role loader")).await;
    // Records that can be neither stored nor held wait, and so are behind, until their partition is given up.
    site.execute(&format!("REVOKE INSERT ON rollbook.held_record FROM {}", site.role("loader"))).await;
    for school in &schools {
        site.execute(&format!("ALTER TABLE org_{}.event RENAME TO gone", school.slug)).await;
        intake.post(school, Form::Json, &played(1)).await.accepts(1);
    }
    let lag = async || {
        let mut lag = 0.0;
        for partition in &partitions {
            lag += first.metric(&format!("rollbook_loader_lag_records{{partition=\"{partition}\"}}")).await;
        }
        lag
    };
    eventually("each partition is behind", async || lag().await == f64::from(count)).await;
    let _second = Service::ready_or_not(site.serve("--role loader")).await;
    let kept = async || first.metric("rollbook_loader_partitions{state=\"running\"}").await;
    eventually("some are given up", async || (1.0..f64::from(count)).contains(&kept().await)).await;
    assert_eq!(lag().await, kept().await);
}
