//! The rest of a refused body, read away behind the reply.
//!
//! A connection that is closed with unread bytes in it is reset, and the reply is lost with it: most clients read
//! only when they have sent everything. So a little more is taken in and dropped, for a while.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use tokio::time::timeout;

use super::Intake;
use super::problem::Problem;

const MOST_BYTES: usize = 4 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(2);

/// Takes over what is left of a body, unless no client would be helped by it, and keeps `until_then` meanwhile.
pub(super) fn read_away(
    intake: &Arc<Intake>,
    headers: &HeaderMap,
    body: Incoming,
    problem: &Problem,
    until_then: impl Send + 'static,
) {
    // Who waits for `100 Continue` sends nothing when refused, and reading would ask for it.
    let is_waiting = headers.contains_key(EXPECT);
    // A client that was too slow gets no more time.
    let was_slow = matches!(problem, Problem::SlowBody { .. });
    if !body.is_end_stream() && !is_waiting && !was_slow {
        let closing = intake.killed.clone();
        intake.tasks.spawn(async move {
            // However it ends, the connection is closed behind it if there was more.
            let _ = closing.run_until_cancelled(timeout(LONGEST, drop_bytes(body))).await;
            drop(until_then);
        });
    }
}

async fn drop_bytes(mut body: Incoming) {
    let mut dropped = 0;
    while dropped < MOST_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        dropped += frame.data_ref().map_or(0, |chunk| chunk.len());
    }
}
