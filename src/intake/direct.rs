//! A request without a connection and a log: intake's own steps, for fuzzing and for benches.
//!
//! In the order of `route`; what waits, and what limits rate and memory, is left out.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};
use uuid::Uuid;

use super::check::{Judged, Judging};
use super::decode::Form;
use super::lines::Stream;
use super::problem::Problem;
use super::reply::{self, Listing};
use super::resolve;
use super::unpack::{Encoding, Unpacker};
use crate::event::{Clock, UnixMillis};
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
    let id = Uuid::now_v7();
    match judge(directory, headers, wire, max_unpacked_bytes, PIECE_BYTES, (id, received_at)) {
        Ok(Judged { outcomes, records }) => {
            let reply = reply::verdicts(id, received_at, &outcomes, Listing::All).map(Full::new);
            Answered { reply, records }
        }
        Err(problem) => Answered { reply: reply::problem(id, &problem), records: Vec::new() },
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
    let receipt = (Uuid::now_v7(), received_at);
    let judged = judge(directory, headers, wire, max_unpacked_bytes, piece_bytes, receipt);
    judged.ok().map(|judged| judged.records)
}

fn judge(
    directory: &Directory,
    headers: &HeaderMap,
    wire: Bytes,
    max_unpacked_bytes: usize,
    piece_bytes: usize,
    (id, received_at): (Uuid, UnixMillis),
) -> Result<Judged, Problem> {
    let form = Form::of(headers)?;
    let encoding = Encoding::of(headers)?;
    let authorized = resolve::authorize(headers, directory)?;
    match form {
        Form::Whole(form) => {
            let unpacked = encoding.unpack(wire, max_unpacked_bytes)?;
            let envelope = form.decode(&unpacked)?;
            let tenant = resolve::resolve(headers, authorized, &envelope, directory)?;
            let mut judging = Judging::new(&tenant, id, Clock { received_at, sent_at: envelope.sent_at });
            judging.take(&envelope.defaults, envelope.events.iter());
            Ok(judging.finish())
        }
        Form::Lines => {
            let unpacker = Unpacker::new(encoding, max_unpacked_bytes);
            let mut stream = Stream::begin(headers, authorized, directory, (id, received_at), unpacker);
            wire.chunks(piece_bytes).for_each(|piece| stream.feed(Bytes::copy_from_slice(piece)));
            stream.finish().map(|(_, judged)| judged)
        }
    }
}

/// Unpacks a body by its headers; `None` when it is refused.
pub fn unpack(headers: &HeaderMap, wire: Bytes, max_unpacked_bytes: usize) -> Option<Bytes> {
    Encoding::of(headers).and_then(|encoding| encoding.unpack(wire, max_unpacked_bytes)).ok()
}
