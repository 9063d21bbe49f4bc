//! Clients that only sit there must leave file descriptors to everything else.

use hyper::StatusCode;
use tokio::net::TcpStream;

use crate::harness::{Form, Service, Site, Wire, batch_head, eventually, played};

/// What systemd gives a service that asks for nothing.
const USUAL: u32 = 1_024;

async fn idle_clients(service: &Service, count: usize) -> Vec<TcpStream> {
    rollbook::ops::descriptors::raise_limit();
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(TcpStream::connect(service.intake().address()).await.expect("the kernel takes it"));
    }
    clients
}

#[tokio::test]
async fn more_idle_clients_than_descriptors_hold_up_neither_operator_nor_log_nor_postgres() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("").with_descriptors(USUAL, USUAL)).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    let idle = idle_clients(&service, 1_200).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(service.admin.get(path).await.status, StatusCode::OK, "{path}");
    }
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 2).await;
    // Whoever comes now takes the place of the client that has sat there longest.
    eventually("a newcomer is let in", async || {
        let mut one = Wire::open(service.intake().address()).await.expect("the kernel takes it");
        one.write(&batch_head(&acme, &[("content-type", "application/json"), ("content-length", "0")])).await;
        one.reply().await.is_some_and(|reply| reply.json["code"] == "bad_body")
    })
    .await;
    let said = service.said();
    assert_eq!(said.matches("ROLLBOOK_HTTP_CONNECTIONS\":4096").count(), 1, "{said}");
    drop(idle);
    service.stop().await;
}

#[tokio::test]
async fn the_limit_is_raised_as_far_as_the_system_allows() {
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("--http-connections 900").with_descriptors(256, 2_048)).await;
    assert_eq!(service.most_open_files(), 2_048);
    assert!(!service.said().contains("fewer are let in"), "{}", service.said());
    service.stop().await;
}
