//! Pooled connections: lent, waited for, and never lent dead.

use std::num::NonZeroU32;
use std::time::Duration;

use rollbook::config::DatabaseUrl;
use rollbook::store::{Error, Pool, PoolError, PoolSettings, connect};

use crate::harness::{Hole, Site, eventually};

fn settings(connections: u32) -> PoolSettings {
    PoolSettings {
        connections: NonZeroU32::new(connections).expect("more than none"),
        max_lifetime: Duration::from_secs(600),
        wait: Duration::from_millis(300),
    }
}

async fn backend(client: &tokio_postgres::Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.expect("an answer").get(0)
}

#[tokio::test]
async fn a_connection_is_lent_again_and_one_too_many_is_waited_for_in_vain() {
    let site = Site::set_up().await;
    let pool = Pool::new(&site.loader_database(), settings(1)).expect("a pool");
    let first = {
        let lent = pool.get().await.expect("a connection");
        assert!(matches!(pool.get().await, Err(PoolError::TimedOut)));
        let backend = backend(&lent).await;
        lent.give_back();
        backend
    };
    let again = pool.get().await.expect("a connection");
    assert_eq!(backend(&again).await, first);
    again.give_back();
    assert_eq!((pool.state().open, pool.state().idle), (1, 1));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_lent() {
    let site = Site::set_up().await;
    let pool = Pool::new(&site.loader_database(), settings(1)).expect("a pool");
    let lent = pool.get().await.expect("a connection");
    let killed = backend(&lent).await;
    site.execute(&format!("SELECT pg_terminate_backend({killed})")).await;
    eventually("the end of the connection is seen", async || lent.is_closed()).await;
    drop(lent);
    assert_ne!(backend(&pool.get().await.expect("another")).await, killed);
}

#[tokio::test]
async fn a_connection_that_is_dropped_in_the_middle_of_something_is_not_lent_again() {
    let site = Site::set_up().await;
    let pool = Pool::new(&site.loader_database(), settings(1)).expect("a pool");
    let lent = pool.get().await.expect("a connection");
    let first = backend(&lent).await;
    // Refused at its start: the next answer would be one to this.
    assert!(lent.copy_in::<_, bytes::Bytes>("COPY rollbook.nothing FROM STDIN").await.is_err());
    drop(lent);
    let next = pool.get().await.expect("another");
    assert_ne!(backend(&next).await, first);
}

#[tokio::test]
async fn connections_say_whose_they_are() {
    let site = Site::set_up().await;
    let pool = Pool::new(&site.loader_database(), settings(1)).expect("a pool");
    let lent = pool.get().await.expect("a connection");
    let row = lent.query_one("SELECT current_setting('application_name'), current_user::text", &[]).await;
    let row = row.expect("an answer");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, String>(1)), ("rollbook", site.role("loader")));
}

#[tokio::test]
async fn a_pool_can_be_made_while_postgres_is_away() {
    let nowhere = "postgres://ann:pw@127.0.0.1:1/x".parse().expect("any text");
    let nowhere = DatabaseUrl::parse(&nowhere).expect("a URL");
    let pool = Pool::new(&nowhere, settings(2)).expect("a pool");
    assert!(pool.get().await.is_err());
}

fn url(text: &str) -> DatabaseUrl {
    DatabaseUrl::parse(&text.parse().expect("any text")).expect("a URL")
}

#[tokio::test]
async fn a_login_that_hangs_is_given_up_with_its_reason() {
    let hole = Hole::open();
    let nowhere = url(&format!("postgres://ann:pw@{}/x?connect_timeout=1", hole.address()));
    let silent = connect(&nowhere).await.expect_err("it says nothing");
    assert!(matches!(silent, Error::LoginTimedOut { .. }), "{silent:?}");
    let said = format!("`ann`: 127.0.0.1, port {}, has not answered within 1 s", hole.port());
    assert!(silent.to_string().contains(&said), "{silent}");

    let wait = Duration::from_secs(2);
    let pool = Pool::new(&nowhere, PoolSettings { wait, ..settings(1) }).expect("a pool");
    let Err(PoolError::Connect(reason)) = pool.get().await else { panic!("there is no connection") };
    assert!(reason.contains(&said), "{reason}");
    // Its one place is free again, and not with the login that hung.
    assert!(matches!(pool.get().await, Err(PoolError::Connect(_))));
}

#[tokio::test]
async fn an_address_that_says_nothing_keeps_nobody_from_the_next() {
    let (hole, site) = (Hole::open(), Site::set_up().await);
    let both =
        site.url(&site.role("loader"), "loader password").replace('@', &format!("@{},", hole.address()));
    let both = url(&format!("{both}?connect_timeout=1"));
    connect(&both).await.expect("the second answers");
    let pool =
        Pool::new(&both, PoolSettings { wait: Duration::from_secs(10), ..settings(1) }).expect("a pool");
    pool.get().await.expect("the second answers").give_back();
}

#[tokio::test]
async fn who_gets_no_connection_is_told_why_the_last_one_failed() {
    let site = Site::set_up().await;
    let pool = Pool::new(&url(&site.url(&site.role("loader"), "hunter2")), settings(1)).expect("a pool");
    let Err(PoolError::Connect(reason)) = pool.get().await else { panic!("a wrong password") };
    assert!(reason.contains("password authentication failed") && !reason.contains("hunter2"), "{reason}");
}
