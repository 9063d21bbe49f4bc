//! A request without a connection and a log: intake's own steps, for fuzzing and for benches.
//!
//! The steps are those of `batch`; what waits, and what limits rate and memory, is left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, Response};
use tokio::time::Instant;
use uuid::Uuid;

use super::allowance::SizeLimit;
use super::batch::{Batch, Receipt};
use super::check::Judged;
use super::problem::Problem;
use super::reply::{self, Listing};
use super::resolve;
use super::unpack::Encoding;
use crate::config::intake::{Bodies, BodyLimits};
use crate::event::UnixMillis;
use crate::log::SealedRecord;
use crate::tenant::Directory;

/// How NDJSON arrives here: in pieces as no client makes them, so that every place is one to cut at.
const PIECE_BYTES: usize = 61;

/// A batch, answered as if the log had taken it.
#[derive(Debug)]
pub struct Answered {
    /// What the client is told of every event, or why it is refused.
    pub reply: Response<Full<Bytes>>,
    /// What the log would be given.
    pub records: Vec<SealedRecord>,
}

/// Answers a batch with these headers and this body, as it comes over the wire.
pub fn answer(
    directory: &Directory,
    headers: &HeaderMap,
    wire: Bytes,
    max_unpacked_bytes: usize,
    received_at: UnixMillis,
) -> Answered {
    let receipt = receipt(received_at);
    match judge(directory, headers, wire, max_unpacked_bytes, PIECE_BYTES, receipt) {
        Ok(Judged { outcomes, records }) => {
            let reply = reply::verdicts(receipt.id, receipt.at, &outcomes, Listing::All).map(Full::new);
            Answered { reply, records }
        }
        Err(problem) => Answered { reply: reply::problem(receipt.id, &problem), records: Vec::new() },
    }
}

/// What the log would be given, where NDJSON arrives in pieces of `piece_bytes`; `None` when the batch is refused.
pub fn records(
    directory: &Directory,
    headers: &HeaderMap,
    wire: Bytes,
    max_unpacked_bytes: usize,
    piece_bytes: usize,
    received_at: UnixMillis,
) -> Option<Vec<SealedRecord>> {
    let judged = judge(directory, headers, wire, max_unpacked_bytes, piece_bytes, receipt(received_at));
    judged.ok().map(|judged| judged.records)
}

fn receipt(received_at: UnixMillis) -> Receipt {
    Receipt { id: Uuid::now_v7(), at: received_at, started: Instant::now(), span: None }
}

fn judge(
    directory: &Directory,
    headers: &HeaderMap,
    wire: Bytes,
    max_unpacked_bytes: usize,
    piece_bytes: usize,
    receipt: Receipt,
) -> Result<Judged, Problem> {
    let limits = BodyLimits { timeout: Duration::MAX, max_bytes: usize::MAX, max_unpacked_bytes };
    let key = resolve::authorize(headers, directory);
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers = headers.clone();
    let batch = Batch::open(receipt, &Arc::new(head), key, wire.len(), &Bodies::new(limits))?;
    if batch.is_streamed() {
        // Where a body arrives, its size on the wire is limited to no more than that.
        batch.allowance().unpacked.check(wire.len())?;
        let mut stream = batch.stream(directory);
        wire.chunks(piece_bytes).for_each(|piece| stream.feed(piece));
        return stream.finish().map(|(_, judged)| judged);
    }
    let unpacked = batch.unpack(wire)?;
    batch.judge(unpacked, directory, |_, _| Ok(())).map(|(_, judged, ())| judged)
}

/// Unpacks a body by its headers; `None` when it is refused.
pub fn unpack(headers: &HeaderMap, wire: Bytes, max_unpacked_bytes: usize) -> Option<Bytes> {
    let encoding = Encoding::of(headers).ok()?;
    encoding.unpack(wire, SizeLimit::unpacked(max_unpacked_bytes)).ok()
}
