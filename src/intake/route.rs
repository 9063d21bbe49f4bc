//! One request, from its headers to its reply: the contract's order of errors, read from top to bottom.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Version};
use tokio::time::Instant;
use uuid::Uuid;

use super::body::Arriving;
use super::budget::Reservation;
use super::check::{Judged, Judging};
use super::decode::Form;
use super::lines::Stream;
use super::problem::Problem;
use super::reply::{self, Listing};
use super::unpack::{Encoding, Unpacker};
use super::{Intake, body, cors, linger, publish, resolve};
use crate::event::{Clock, UnixMillis};
use crate::ops::health;
use crate::tenant::Tenant;

const EVENTS: &str = "/v1/events";
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// When a request began, and what it is called.
#[derive(Clone, Copy)]
struct Receipt {
    id: Uuid,
    /// The rows' own time. The headers' arrival, not the body's end: it is compared with when the client sent it.
    at: UnixMillis,
    started: Instant,
}

/// Answers one request, whatever it is.
pub(super) async fn answer(intake: &Arc<Intake>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let receipt = Receipt { id: Uuid::now_v7(), at: UnixMillis::now(), started: Instant::now() };
    let (head, body) = request.into_parts();
    let head = Arc::new(head);
    let mut response = match unmetered(intake, &head) {
        Some(response) => response,
        None => match take(intake, &head, body, receipt).await {
            Ok(response) => {
                intake.meter.count_answered(receipt.started.elapsed());
                response
            }
            Err(problem) => {
                intake.meter.count_problem(problem.row(), receipt.started.elapsed());
                reply::problem(receipt.id, &problem)
            }
        },
    };
    cors::allow_reading(response.headers_mut());
    drop_body_for_head(&head, &mut response);
    if intake.closing.is_cancelled() {
        end_connection(&head, &mut response);
    }
    response
}

/// Answers a request on a connection too many.
pub(super) fn turn_away(intake: &Arc<Intake>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let mut response = unmetered(intake, &head).unwrap_or_else(|| {
        let problem = Problem::Overloaded;
        linger::read_away(intake, &head.headers, body, &problem);
        intake.meter.count_problem(problem.row(), started.elapsed());
        reply::problem(Uuid::now_v7(), &problem)
    });
    cors::allow_reading(response.headers_mut());
    drop_body_for_head(&head, &mut response);
    end_connection(&head, &mut response);
    response
}

/// A reply to HEAD only tells how long its body would be. hyper sees to that on HTTP/1.1; on HTTP/2 it would send the body,
/// which is a protocol error.
fn drop_body_for_head(head: &Parts, response: &mut Response<Full<Bytes>>) {
    if head.method == Method::HEAD {
        let length = response.body().size_hint().lower();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = Full::default();
    }
}

/// Asks hyper to close behind this reply. HTTP/2 says it in another way (`graceful_shutdown`).
fn end_connection(head: &Parts, response: &mut Response<Full<Bytes>>) {
    if head.version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Probes and preflights are answered in any condition: a probe asks for the condition, and without its preflight a
/// browser cannot read in which one we are.
fn unmetered(intake: &Intake, head: &Parts) -> Option<Response<Full<Bytes>>> {
    if head.method == Method::OPTIONS && head.uri.path() == EVENTS {
        intake.meter.count_preflight();
        return Some(cors::preflight());
    }
    health::reply(&intake.health, &head.method, head.uri.path())
}

/// Takes one batch. What is left of a refused body is read away behind the reply.
async fn take(
    intake: &Arc<Intake>,
    head: &Arc<Parts>,
    mut body: Incoming,
    receipt: Receipt,
) -> Result<Response<Full<Bytes>>, Problem> {
    let judged = judge(intake, head, &mut body, receipt).await;
    if let Err(problem) = &judged {
        linger::read_away(intake, &head.headers, body, problem);
    }
    let (tenant, judged, reservation) = judged?;
    let (outcomes, reservation) = publish::publish(intake, tenant, judged, reservation).await?;
    let reply = reply::verdicts(receipt.id, receipt.at, &outcomes, Listing::of(head.uri.query()));
    // A client that does not read its reply keeps it in our memory.
    Ok(reply.map(|body| Full::new(reservation.hold(body))))
}

/// Everything up to the log.
async fn judge(
    intake: &Arc<Intake>,
    head: &Arc<Parts>,
    body: &mut Incoming,
    receipt: Receipt,
) -> Result<(Tenant, Judged, Reservation), Problem> {
    let mut reservation = admit(intake, body)?;
    check_route(head)?;
    let form = Form::of(&head.headers)?;
    let encoding = Encoding::of(&head.headers)?;
    body::check_declared_length(body, &intake.settings)?;
    let authorized = resolve::authorize(&head.headers, &intake.directory)?;
    let mut arriving = Arriving::new(body, &intake.settings, receipt.started);
    let (tenant, judged) = match form {
        Form::Whole(form) => {
            let wire = arriving.collect(&mut reservation).await?;
            let likely_bytes = encoding.likely_bytes(wire.len());
            let (ours, head) = (Arc::clone(intake), Arc::clone(head));
            // Nothing waits from here to the records: a body is unpacked, borrowed from and dropped in one go, so
            // that no more unpacked bodies exist than there are turns.
            let judging = move || {
                let wire_bytes = wire.len();
                let unpacked = encoding.unpack(wire, ours.settings.max_unpacked_bytes)?;
                ours.meter.count_body(wire_bytes, unpacked.len());
                let envelope = form.decode(&unpacked)?;
                let tenant = resolve::resolve(&head.headers, authorized, &envelope, &ours.directory)?;
                ours.limiter.charge(&tenant, envelope.events.len(), receipt.started.into_std())?;
                let clock = Clock { received_at: receipt.at, sent_at: envelope.sent_at };
                let mut judging = Judging::new(&tenant, receipt.id, clock);
                judging.take(&envelope.defaults, envelope.events.iter());
                Ok::<_, Problem>((tenant, judging.finish()))
            };
            intake.turns.work(likely_bytes, judging).await??
        }
        Form::Lines => {
            let unpacker = Unpacker::new(encoding, intake.settings.max_unpacked_bytes);
            let batch = (receipt.id, receipt.at);
            let stream = Stream::begin(&head.headers, authorized, &intake.directory, batch, unpacker);
            let (tenant, judged) = stream.read(intake, &mut arriving, &mut reservation).await?;
            intake.limiter.charge(&tenant, judged.outcomes.len(), receipt.started.into_std())?;
            (tenant, judged)
        }
    };
    let records_bytes: usize = judged.records.iter().map(|record| record.bytes.len()).sum();
    reservation.set(records_bytes.max(reply::most_bytes(judged.outcomes.len())))?;
    Ok((tenant, judged, reservation))
}

/// Whether this process takes anything at all now.
fn admit(intake: &Intake, body: &Incoming) -> Result<Reservation, Problem> {
    if intake.directory.taken_at().is_none() {
        return Err(Problem::Starting);
    }
    if intake.closing.is_cancelled() {
        return Err(Problem::Draining);
    }
    if intake.turns.are_late() {
        return Err(Problem::Overloaded);
    }
    intake.budget.reserve(body::declared_bytes(body))
}

fn check_route(head: &Parts) -> Result<(), Problem> {
    let path = head.uri.path();
    if path == EVENTS {
        return if head.method == Method::POST { Ok(()) } else { Err(not_allowed(cors::ALLOWED_METHODS)) };
    }
    if HEALTH.contains(&path) { Err(not_allowed("GET, HEAD")) } else { Err(Problem::NotFound) }
}

fn not_allowed(allow: &'static str) -> Problem {
    Problem::MethodNotAllowed { allow }
}
