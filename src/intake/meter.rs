//! What intake counts. Handles are looked up once and kept: counting costs the hot path an addition.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::StatusCode;
use metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::check::Outcome;
use super::problem::{Row, TABLE};
use crate::event::RefusalCode;
use crate::ops::metrics::catalogue::{
    INTAKE_BODY_BYTES, INTAKE_EVENTS, INTAKE_REJECTIONS, INTAKE_REQUEST_SECONDS, INTAKE_REQUESTS,
};
use crate::ops::metrics::{OTHER, organization_label};
use crate::tenant::{OrganizationId, Tenant};

const REFUSAL_CODES: [RefusalCode; 11] = [
    RefusalCode::TooLarge,
    RefusalCode::BadType,
    RefusalCode::UnknownType,
    RefusalCode::UnknownField,
    RefusalCode::MissingField,
    RefusalCode::OutOfRange,
    RefusalCode::BadAnswer,
    RefusalCode::BadWatched,
    RefusalCode::BadText,
    RefusalCode::TooOld,
    RefusalCode::InFuture,
];

/// All handles of intake; every one whose labels are known starts at zero.
pub(super) struct Meter {
    answered: Counter,
    preflights: Counter,
    problems: HashMap<&'static str, Counter>,
    request_seconds: Histogram,
    wire_bytes: Histogram,
    unpacked_bytes: Histogram,
    rejections: HashMap<RefusalCode, Counter>,
    /// Of every organization that has written: those without a label of their own share [`OTHER`]'s.
    organizations: RwLock<HashMap<OrganizationId, Arc<Verdicts>>>,
    others: Arc<Verdicts>,
}

/// Verdicts on one organization's events.
struct Verdicts {
    accepted: Counter,
    duplicate: Counter,
    rejected: Counter,
    retry: Counter,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            answered: requests(StatusCode::OK, "ok"),
            preflights: requests(StatusCode::NO_CONTENT, "preflight"),
            problems: TABLE.iter().map(|row| (row.code, requests(row.status, row.code))).collect(),
            request_seconds: histogram!(INTAKE_REQUEST_SECONDS),
            wire_bytes: histogram!(INTAKE_BODY_BYTES, "form" => "wire"),
            unpacked_bytes: histogram!(INTAKE_BODY_BYTES, "form" => "unpacked"),
            rejections: REFUSAL_CODES
                .map(|code| (code, counter!(INTAKE_REJECTIONS, "code" => code.as_str())))
                .into(),
            organizations: RwLock::default(),
            others: Arc::new(Verdicts::labelled(OTHER.into())),
        }
    }

    pub(super) fn count_answered(&self, took: Duration) {
        self.answered.increment(1);
        self.request_seconds.record(took);
    }

    pub(super) fn count_preflight(&self) {
        self.preflights.increment(1);
    }

    pub(super) fn count_problem(&self, row: &Row, took: Duration) {
        if let Some(counter) = self.problems.get(row.code) {
            counter.increment(1);
        }
        self.request_seconds.record(took);
    }

    pub(super) fn count_body(&self, wire: usize, unpacked: usize) {
        self.wire_bytes.record(bytes(wire));
        self.unpacked_bytes.record(bytes(unpacked));
    }

    /// Counts what the reply will say of each event.
    pub(super) fn count_events(&self, tenant: &Tenant, outcomes: &[Outcome]) {
        let (mut accepted, mut duplicate, mut rejected, mut retry) = (0, 0, 0, 0);
        for outcome in outcomes {
            match outcome {
                Outcome::Accepted(_) => accepted += 1,
                Outcome::Duplicate(_) => duplicate += 1,
                Outcome::Unavailable(_) => retry += 1,
                Outcome::Rejected(refusal) => {
                    rejected += 1;
                    if let Some(counter) = self.rejections.get(&refusal.code) {
                        counter.increment(1);
                    }
                }
            }
        }
        let verdicts = self.verdicts_of(tenant);
        verdicts.accepted.increment(accepted);
        verdicts.duplicate.increment(duplicate);
        verdicts.rejected.increment(rejected);
        verdicts.retry.increment(retry);
    }

    fn verdicts_of(&self, tenant: &Tenant) -> Arc<Verdicts> {
        let known =
            self.organizations.read().unwrap_or_else(PoisonError::into_inner).get(&tenant.id()).cloned();
        known.unwrap_or_else(|| self.label(tenant))
    }

    fn label(&self, tenant: &Tenant) -> Arc<Verdicts> {
        let label = organization_label(tenant.slug());
        let mut organizations = self.organizations.write().unwrap_or_else(PoisonError::into_inner);
        let verdicts = organizations.entry(tenant.id()).or_insert_with(|| match &*label {
            OTHER => Arc::clone(&self.others),
            _ => Arc::new(Verdicts::labelled(label)),
        });
        Arc::clone(verdicts)
    }
}

impl Verdicts {
    fn labelled(organization: SharedString) -> Self {
        let counter =
            |verdict| counter!(INTAKE_EVENTS, "organization" => organization.clone(), "verdict" => verdict);
        Self {
            accepted: counter("accepted"),
            duplicate: counter("duplicate"),
            rejected: counter("rejected"),
            retry: counter("retry"),
        }
    }
}

fn requests(status: StatusCode, code: &'static str) -> Counter {
    counter!(INTAKE_REQUESTS, "status" => status.as_str().to_owned(), "code" => code)
}

/// Exact up to 4 GiB, which no body is.
fn bytes(length: usize) -> f64 {
    u32::try_from(length).unwrap_or(u32::MAX).into()
}
