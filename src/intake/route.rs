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

use super::batch::{Batch, Receipt};
use super::body::Arriving;
use super::budget::Reservation;
use super::check::Judged;
use super::limit::Charge;
use super::patience::Busy;
use super::places::Visitor;
use super::problem::Problem;
use super::read_away::read_away;
use super::reply::{self, Listing};
use super::request_id::request_id;
use super::span::RequestSpan;
use super::turn::Owner;
use super::{Intake, batch, body, cors, publish, resolve};
use crate::event::UnixMillis;
use crate::ops::health;
use crate::tenant::Tenant;

pub(super) const EVENTS: &str = "/v1/events";
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Answers one request, whatever it is.
pub(super) async fn answer(
    intake: &Arc<Intake>,
    request: Request<Incoming>,
    visitor: &Visitor,
    busy: &Busy,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let receipt =
        Receipt { id: request_id(&head.headers), at: UnixMillis::now(), started: Instant::now(), span: None };
    let head = Arc::new(head);
    let mut response = match unmetered(intake, &head) {
        Some(response) => response,
        None => {
            let mut span = RequestSpan::begin(&head, receipt.id);
            let receipt = Receipt { span: span.context(), ..receipt };
            match take(intake, &head, body, receipt, visitor, busy, &mut span).await {
                Ok(response) => {
                    intake.meter.count_answered(receipt.started.elapsed());
                    response
                }
                Err(problem) => refuse(intake, &problem, receipt.id, receipt.started, span),
            }
        }
    };
    cors::allow_reading(response.headers_mut());
    drop_body_for_head(&head, &mut response);
    if intake.closing.is_cancelled() || visitor.sent_away().is_cancelled() {
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
        read_away(intake, &head.headers, body, &problem, ());
        let id = request_id(&head.headers);
        refuse(intake, &problem, id, started, RequestSpan::begin(&head, id))
    });
    cors::allow_reading(response.headers_mut());
    drop_body_for_head(&head, &mut response);
    end_connection(&head, &mut response);
    response
}

/// Counts a refusal and tells the client. What is said of it here is not what the client sent.
fn refuse(
    intake: &Intake,
    problem: &Problem,
    id: Uuid,
    started: Instant,
    mut span: RequestSpan,
) -> Response<Full<Bytes>> {
    let row = problem.row();
    span.refused(row);
    intake.meter.count_problem(row, started.elapsed());
    tracing::debug!(request.id = %id, status = row.status.as_u16(), code = row.code, "a request was refused");
    reply::problem(id, problem)
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
    visitor: &Visitor,
    busy: &Busy,
    span: &mut RequestSpan,
) -> Result<Response<Full<Bytes>>, Problem> {
    let judged = judge(intake, head, &mut body, receipt, visitor, span).await;
    if let Err(problem) = &judged {
        // That is still this request's, and not yet the next one's beginning.
        read_away(intake, &head.headers, body, problem, busy.clone());
    }
    let Accepted { tenant, judged, charge, reservation } = judged?;
    span.of_organization(tenant.slug());
    let (outcomes, reservation) = publish::publish(intake, tenant, judged, charge, reservation).await?;
    let reply = reply::verdicts(receipt.id, receipt.at, &outcomes, Listing::of(head.uri.query()));
    span.judged(&outcomes);
    // A client that does not read its reply keeps it in our memory.
    Ok(reply.map(|body| Full::new(reservation.stay_with(body))))
}

/// A batch of which only the log has yet to be asked.
struct Accepted {
    tenant: Tenant,
    judged: Judged,
    charge: Charge,
    reservation: Reservation,
}

/// Everything up to the log.
async fn judge(
    intake: &Arc<Intake>,
    head: &Arc<Parts>,
    body: &mut Incoming,
    receipt: Receipt,
    visitor: &Visitor,
    span: &mut RequestSpan,
) -> Result<Accepted, Problem> {
    let declared_bytes = body::declared_bytes(body);
    let key = resolve::authorize(&head.headers, &intake.directory);
    if let Ok(Some(authorized)) = &key {
        span.of_organization(&authorized.organization().slug);
    }
    let owner = batch::owner(&key);
    let mut reservation = admit(intake, owner, declared_bytes)?;
    check_route(head)?;
    let batch = Batch::open(receipt, head, key, declared_bytes, &intake.settings.bodies)?;
    if let Owner::Organization(id) = owner {
        visitor.shows_key(id);
    }
    // How many events there are, and so how long to wait, is told by the body: only a flood is refused without it.
    if intake.turns.are_waited_for(owner)
        && let Some(welcome) = batch.welcome()
    {
        intake.limiter.refuse_if_empty(welcome.organization())?;
    }
    let (started, sent_away) = (receipt.started, visitor.sent_away());
    let mut arriving = Arriving::new(body, batch.allowance(), started, sent_away, &intake.last_call);
    let (tenant, judged, charge) = if batch.is_streamed() {
        let stream = batch.stream(&intake.directory);
        let (tenant, judged) = stream.read(intake, owner, &mut arriving, &mut reservation).await?;
        let charge = intake.limiter.charge(&tenant, judged.outcomes.len())?;
        (tenant, judged, charge)
    } else {
        let wire = arriving.collect(&mut reservation).await?;
        let (ours, most_bytes) = (Arc::clone(intake), batch.most_bytes(wire.len()));
        // Nothing waits from here to the records: a body is unpacked, borrowed from and dropped in one go, so that no
        // more unpacked bodies exist than there are turns.
        let judging = move || {
            let wire_bytes = wire.len();
            let unpacked = batch.unpack(wire)?;
            ours.meter.count_body(wire_bytes, unpacked.len());
            batch.judge(unpacked, &ours.directory, |tenant, events| ours.limiter.charge(tenant, events))
        };
        intake.turns.work(owner, most_bytes, judging).await??
    };
    let bytes = judged.most_bytes();
    if owner == Owner::Strangers {
        // The body has named a live key.
        visitor.shows_key(tenant.id());
        reservation = reservation.move_to(&intake.budget, Owner::Organization(tenant.id()), bytes)?;
    } else {
        reservation.set(bytes)?;
    }
    Ok(Accepted { tenant, judged, charge, reservation })
}

/// Whether this process takes anything at all now.
fn admit(intake: &Intake, owner: Owner, body_bytes: usize) -> Result<Reservation, Problem> {
    if intake.directory.taken_at().is_none() {
        return Err(Problem::Starting);
    }
    if intake.closing.is_cancelled() {
        return Err(Problem::Draining);
    }
    // Mostly nothing waits, and nobody needs to know how much room there is.
    if intake.turns.are_waited_for(owner) && intake.turns.are_late(owner, intake.budget.is_short(owner)) {
        return Err(Problem::Overloaded);
    }
    let budget = match owner {
        Owner::Organization(_) => &intake.budget,
        Owner::Strangers => &intake.strangers,
    };
    budget.reserve(owner, body_bytes)
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
