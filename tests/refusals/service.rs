//! Refusals for the service's own sake: parts away, too much at once, too slow.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Form, Service, Site, eventually, played};

#[tokio::test]
async fn without_a_log_intake_is_unready_and_says_when_to_come_back() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let serve = site
        .serve("--role intake")
        .env("ROLLBOOK_KAFKA_BROKERS", "127.0.0.1:1")
        .env("ROLLBOOK_KAFKA_PUBLISH_TIMEOUT_MS", "500");
    let service = Service::start(serve).await;
    eventually("organizations are loaded", async || {
        let reply = service.intake().get("/readyz").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.json);
        let reason = reply.json["intake"]["reason"].as_str().unwrap_or_default();
        // Why, too, once it was asked.
        reason.starts_with("the log is unavailable: ") && !reason.contains("it was not asked yet")
    })
    .await;
    assert_eq!(service.intake().get("/healthz").await.status, StatusCode::OK);
    service.post(&acme, Form::Json, &played(1)).await.refuses(503, "log_unavailable");
    service.stop().await;
}

#[tokio::test]
async fn before_its_first_look_at_the_organizations_intake_is_starting() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let away = "postgres://intake:pw@127.0.0.1:1/nowhere";
    let service = Service::start(site.serve("--role intake").env("ROLLBOOK_INTAKE_DATABASE_URL", away)).await;
    service.post(&acme, Form::Json, &played(1)).await.refuses(503, "starting");
    assert_eq!(service.intake().get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    service.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake").env("ROLLBOOK_HTTP_CONNECTIONS", "1")).await;
    let mut only = TcpStream::connect(service.intake().address()).await.expect("a listener");
    only.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
    let mut reply = [0; 12];
    only.read_exact(&mut reply).await.expect("an answer");
    assert_eq!(&reply, b"HTTP/1.1 200");
    service.post(&acme, Form::Json, &played(1)).await.refuses(503, "overloaded");
    drop(only);
    eventually("the place is free again", async || {
        service.post(&acme, Form::Json, &played(1)).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("--role intake").env("ROLLBOOK_BODY_TIMEOUT_MS", "200")).await;
    let mut slow = TcpStream::connect(service.intake().address()).await.expect("a listener");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"events\":",
        acme.key
    );
    slow.write_all(head.as_bytes()).await.expect("open");
    let mut reply = Vec::new();
    slow.read_to_end(&mut reply).await.expect("a reply, and the end");
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains(r#""code":"slow_body""#), "{reply}");
}
