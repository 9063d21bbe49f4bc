//! What every test stands on: a site of its own, the real program, the running service, and a client of it.

mod cluster;
mod events;
mod hole;
mod http;
mod pooler;
mod program;
mod prometheus;
mod service;
mod site;
mod table;
mod topic;
mod vectors;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use cluster::Cluster;
pub(crate) use events::{Form, id_of, played};
pub(crate) use hole::Hole;
pub(crate) use http::{Http, Reply};
pub(crate) use pooler::{Lending, Pooler};
pub(crate) use program::{Ran, Rollbook};
pub(crate) use prometheus::{Prometheus, of_deploy, program};
pub(crate) use service::Service;
pub(crate) use site::{Organization, Site, sqlstate};
pub(crate) use table::{Carries, event_of};
pub(crate) use vectors::{Seen, codes_of, compare, seen};
pub(crate) use wire::{Wire, batch_head};

/// Waits for a state, and says which one never came.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(60), what, is_so).await;
}

/// The same with another patience.
pub(crate) async fn within(patience: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
