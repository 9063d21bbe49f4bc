//! A request without a connection and a log: intake's own steps, for fuzzing.
//!
//! In the order of `route`; what waits, and what limits rate and memory, is left out.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};
use uuid::Uuid;

use super::check::{self, Judged};
use super::decode::Form;
use super::problem::Problem;
use super::reply::{self, Listing};
use super::resolve;
use super::unpack::Encoding;
use crate::event::{Clock, UnixMillis};
use crate::log::SealedRecord;
use crate::tenant::Directory;

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
    match judge(directory, headers, wire, max_unpacked_bytes, (id, received_at)) {
        Ok(Judged { outcomes, records }) => {
            Answered { reply: reply::verdicts(id, received_at, &outcomes, Listing::All), records }
        }
        Err(problem) => Answered { reply: reply::problem(id, &problem), records: Vec::new() },
    }
}

fn judge(
    directory: &Directory,
    headers: &HeaderMap,
    wire: Bytes,
    max_unpacked_bytes: usize,
    (id, received_at): (Uuid, UnixMillis),
) -> Result<Judged, Problem> {
    let form = Form::of(headers)?;
    let encoding = Encoding::of(headers)?;
    let authorized = resolve::authorize(headers, directory)?;
    let unpacked = encoding.unpack(wire, max_unpacked_bytes)?;
    let envelope = form.decode(headers, &unpacked)?;
    let tenant = resolve::resolve(headers, authorized, &envelope, directory)?;
    Ok(check::judge(&tenant, id, &envelope, Clock { received_at, sent_at: envelope.sent_at }))
}

/// Unpacks a body by its headers; `None` when it is refused.
pub fn unpack(headers: &HeaderMap, wire: Bytes, max_unpacked_bytes: usize) -> Option<Bytes> {
    Encoding::of(headers).and_then(|encoding| encoding.unpack(wire, max_unpacked_bytes)).ok()
}
