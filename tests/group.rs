//! Loaders of one group, as the group sees them.

use crate::harness::{Form, Service, Site, played};

async fn site_with_one_partition() -> Site {
    let site = Site::empty().await;
    site.rollbook("setup").env("ROLLBOOK_LOG_PARTITIONS", "1").run().await.done();
    site
}

/// Two loaders share one partition: both are ready, one has nothing to do, and takes over when the other goes.
async fn a_spare_loader_is_ready(protocol: &str) {
    let site = site_with_one_partition().await;
    let acme = site.organization("acme").await;
    let loader = || site.serve("--role loader").env("ROLLBOOK_KAFKA_GROUP_PROTOCOL", protocol);
    let intake = Service::ready(site.serve("--role intake")).await;
    let (first, second) = (Service::ready(loader()).await, Service::ready(loader()).await);
    let running =
        async |loader: &Service| loader.metric("rollbook_loader_partitions{state=\"running\"}").await;
    intake.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 1).await;
    assert_eq!(running(&first).await + running(&second).await, 1.0);
    // Whoever got it.
    let (busy, spare) = if running(&first).await > 0.0 { (first, second) } else { (second, first) };
    busy.stop().await;
    intake.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 2).await;
    spare.becomes_ready().await;
    assert_eq!(running(&spare).await, 1.0);
    spare.stop().await;
}

#[tokio::test]
async fn a_loader_without_partitions_is_ready_under_the_broker_side_protocol() {
    a_spare_loader_is_ready("consumer").await;
}

#[tokio::test]
async fn a_loader_without_partitions_is_ready_under_the_classic_protocol() {
    a_spare_loader_is_ready("classic").await;
}
