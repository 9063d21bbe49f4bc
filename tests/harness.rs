//! What every test stands on: a site of its own, and the real program.

mod program;
mod site;

use std::time::{Duration, Instant};

pub(crate) use program::{Ran, Rollbook};
pub(crate) use site::{Site, sqlstate};

/// Waits for a state, and says which one never came.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
