//! The parts of a process live and end together.

use std::time::Duration;

use anyhow::Context;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`, or until one part ends, for any reason; then stops the others and waits for them. The first failure is
/// the outcome.
///
/// # Errors
/// A part failed or panicked, or was not done `grace` after the stop; unfinished parts are dropped.
pub async fn supervise(
    mut parts: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    grace: Duration,
) -> anyhow::Result<()> {
    let mut outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => flatten(ended),
    };
    stop.cancel();
    timeout(grace, async move {
        while let Some(ended) = parts.join_next().await {
            outcome = outcome.and(flatten(ended));
        }
        outcome
    })
    .await
    .context("still draining at the deadline; unfinished parts were dropped")?
}

fn flatten(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended.context("a part of the process panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obedient(stop: &CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_failure_brings_the_others_down_and_is_the_outcome() {
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        parts.spawn(obedient(&stop));
        parts.spawn(async { anyhow::bail!("no more disk") });
        let outcome = supervise(parts, stop.clone(), Duration::from_secs(5)).await;
        assert_eq!(outcome.expect_err("a part failed").to_string(), "no more disk");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let mut parts = JoinSet::new();
        parts.spawn(async { panic!("a bug") });
        let outcome = supervise(parts, CancellationToken::new(), Duration::from_secs(5)).await;
        assert!(outcome.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_stop_is_dropped_at_the_deadline() {
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        parts.spawn(std::future::pending());
        stop.cancel();
        let outcome = supervise(parts, stop, Duration::from_secs(25)).await;
        assert!(outcome.expect_err("deadline").to_string().starts_with("still draining"));
    }
}
