//! Who reads the log of a running service may stop reading it, or go away.

use std::time::Duration;

use hyper::StatusCode;

use crate::harness::{Form, Service, Site, eventually, played};

const LOST: &str = "rollbook_stderr_lines_lost_total";

#[tokio::test]
async fn a_log_whose_reader_went_away_is_counted_and_the_service_serves_on() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let mut service = Service::ready(site.serve("").env("RUST_LOG", "trace")).await;
    assert_eq!(service.metric(LOST).await, 0.0);
    service.close_its_log().await;
    eventually("lines are lost", async || {
        service.post(&acme, Form::Json, &played(1)).await.accepts(1);
        service.metric(LOST).await > 0.0
    })
    .await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    service.stop().await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").env("RUST_LOG", "trace")).await;
    let unread = service.leave_its_log_unread().await;
    eventually("the pipe and what waits for it are full", async || {
        service.post(&acme, Form::Json, &played(500)).await.accepts(500);
        service.metric(LOST).await > 0.0
    })
    .await;
    assert_eq!(service.admin.get("/healthz").await.status, StatusCode::OK);
    drop(unread);
    eventually("what was lost is told once somebody reads again", async || {
        service.said().contains("lines of this log were lost")
    })
    .await;
    let _unread = service.leave_its_log_unread().await;
    let before = service.metric(LOST).await;
    eventually("it is full again", async || {
        service.post(&acme, Form::Json, &played(500)).await.accepts(500);
        service.metric(LOST).await > before
    })
    .await;
    tokio::time::timeout(Duration::from_secs(60), service.stop()).await.expect("it ends");
}
