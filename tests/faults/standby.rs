//! A failover to a standby that lagged, as an asynchronous one does: Postgres confirmed what the new primary never heard of.

use rollbook::config::log::LogKind;

use super::{Ground, Passage, Proxy, Standby};
use crate::harness::{Service, eventually};

on_each_log![
    a_standby_that_lagged_gets_what_it_never_heard_of_from_the_log_and_so_does_its_primary_afterwards
];

/// What the standby has of the first organization.
async fn rows_at(standby: &Standby, ground: &Ground) -> i64 {
    let url = ground.admin_url().replace(&ground.postgres().address(), &standby.address());
    let (client, driver) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("it takes readers");
    tokio::spawn(driver);
    let sql = format!("SELECT count(*) FROM org_{}.event", ground.organizations[0].slug);
    client.query_one(&sql, &[]).await.expect("a copy of its primary").get(0)
}

async fn rewinds(loader: &Service) -> f64 {
    loader.metric("rollbook_loader_rewinds_total").await
}

/// It is counted, said as an error, and loading goes on.
async fn goes_back(loader: &Service, ground: &Ground, before: f64) {
    eventually("it is counted", async || rewinds(loader).await > before).await;
    let said = loader.said();
    assert!(["Postgres went back", "has forgotten rows"].iter().any(|words| said.contains(words)), "{said}");
    ground.gains(100).await;
    loader.becomes_ready().await;
}

async fn a_standby_that_lagged_gets_what_it_never_heard_of_from_the_log_and_so_does_its_primary_afterwards(
    log: LogKind,
) {
    let ground = Ground::on(log, &["acme", "birch"]).await;
    let replication = Proxy::new("127.0.0.1:0", &ground.postgres().address()).await;
    let standby = Standby::of(ground.postgres(), replication.address());
    let (_intake, loader) = ground.running().await;
    let clients = ground.load();
    eventually("the standby follows", async || rows_at(&standby, &ground).await >= 100).await;

    replication.set(Passage::Refused);
    replication.cut();
    ground.gains(200).await;
    let confirmed = ground.rows("acme").await;
    ground.postgres().kill();
    standby.promote();
    assert!(rows_at(&standby, &ground).await < confirmed, "it lagged");
    // The address that everybody knows leads to the new primary.
    let address = Proxy::new(&ground.postgres().address(), &standby.address()).await;
    goes_back(&loader, &ground, 0.0).await;

    // The former primary has rows that the standby never had, and none that came since.
    let before = rewinds(&loader).await;
    address.close().await;
    standby.kill();
    ground.postgres().start();
    goes_back(&loader, &ground, before).await;
    let all = ground.reckon(clients).await;
    assert_eq!(all.dead, 0, "{all:?}");
}
