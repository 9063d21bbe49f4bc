//! Offsets that are no records, as transactions of others leave them in the topic, are neither lag nor loss.

use crate::harness::{Form, Service, Site, eventually, played};

const PARTITIONS: u32 = 3;

#[tokio::test]
async fn what_a_transaction_leaves_behind_is_neither_lag_nor_loss() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let partition = i32::try_from(rollbook::log::partition_of("acme", PARTITIONS)).expect("few");
    let service = Service::ready(site.serve("")).await;
    service.post(&acme, Form::Json, &played(3)).await.accepts(3);
    site.loaded("acme", 3).await;

    site.withdraw_two_records(partition).await;
    let lag = format!("rollbook_loader_lag_records{{partition=\"{partition}\"}}");
    let end = site.log_ends()[&partition].1;
    eventually("the group is past the mark", async || site.committed(partition).await == Some(end)).await;
    eventually("nothing is behind", async || {
        service.admin.get("/readyz").await.status == 200 && service.metric(&lag).await == 0.0
    })
    .await;
    service.stop().await;
    let status = site.run("status acme --json").await.done().items();
    assert_eq!((&status[0]["lag_records"], &status[0]["stopped"]), (&0.into(), &().into()), "{status:?}");
    site.run("audit").await.done();

    // What retention then takes is no record of ours.
    site.drop_records().await;
    let service = Service::ready(site.serve("")).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 4).await;
    let status = site.run("status acme --json").await.done().items();
    assert_eq!(status[0]["stopped"], serde_json::Value::Null, "{status:?}");
    service.stop().await;
}

#[tokio::test]
async fn status_counts_no_lag_where_nothing_can_be_read() {
    let site = Site::with(&["acme"]).await;
    let partition = i32::try_from(rollbook::log::partition_of("acme", PARTITIONS)).expect("few");
    site.withdraw_two_records(partition).await;
    let status = site.run("status acme --json").await.done().items();
    assert_eq!(status[0]["lag_records"], 0, "{status:?}");
}
