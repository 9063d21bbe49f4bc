//! Everything that can keep a whole request from being accepted, and the one table of its replies.

use std::time::Duration;

use hyper::StatusCode;

use crate::log::LogRefusal;

/// Why a request is not answered with verdicts. The text is the reply's `detail`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Not readable as what it says it is.
    #[error("{0}")]
    BadBody(String),
    /// Readable, but what surrounds the events is wrong.
    #[error("{0}")]
    BadEnvelope(String),
    #[error("name the organization in the `Organization` header or in the body's `organization`")]
    MissingOrganization,
    #[error("send a write key as `Authorization: Bearer …`, or in the body's `key`")]
    MissingKey,
    /// One reply for a key that never existed, was revoked, or is no key.
    #[error("this write key does not exist or was revoked")]
    UnknownKey,
    #[error("the write key does not belong to the organization that the request names")]
    OrganizationMismatch,
    #[error("this organization is suspended: its events are not taken at present")]
    OrganizationSuspended,
    #[error("this organization does not take events from pages of this origin")]
    OriginNotAllowed,
    #[error("there is nothing here: batches go to POST /v1/events")]
    NotFound,
    #[error("this route takes {allow}")]
    MethodNotAllowed {
        /// What goes into `Allow`.
        allow: &'static str,
    },
    #[error(
        "`Content-Type` must be application/json, text/plain (the same JSON), application/x-ndjson or \
         application/x-protobuf, in UTF-8"
    )]
    UnsupportedType,
    #[error("`Content-Encoding` must be gzip, zstd or br, once, or be left out")]
    UnsupportedEncoding,
    #[error("the body was not complete after {} s", .limit.as_secs_f64())]
    SlowBody {
        /// What it had.
        limit: Duration,
    },
    #[error("the body is larger than {limit} bytes {}", .form.as_text())]
    BodyTooLarge {
        /// In which form it is too large.
        form: BodyForm,
        /// The most it may be.
        limit: usize,
    },
    #[error("this organization sends more events than its limit of {events_per_second} a second")]
    RateLimited {
        /// The limit.
        events_per_second: u32,
        /// Until the batch would fit.
        wait: Duration,
    },
    #[error("the service has not loaded its organizations yet")]
    Starting,
    #[error("the service has more unanswered requests than it can hold")]
    Overloaded,
    #[error("the log did not acknowledge the events in time; some of them may be stored all the same")]
    LogUnavailable,
    #[error("{}", .0.told())]
    LogRefuses(LogRefusal),
    #[error("this process is shutting down; another one will answer")]
    Draining,
}

/// What a size limit speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// The body as it arrives.
    Wire,
    /// What is left when it is unpacked.
    Unpacked,
}

impl BodyForm {
    fn as_text(self) -> &'static str {
        match self {
            Self::Wire => "as it arrives",
            Self::Unpacked => "when it is unpacked",
        }
    }
}

/// What a problem's reply says besides its detail.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) status: StatusCode,
    /// What clients tell problems apart by; never changes.
    pub(super) code: &'static str,
    /// The same for every problem of this code.
    pub(super) title: &'static str,
}

const fn row(status: StatusCode, code: &'static str, title: &'static str) -> Row {
    Row { status, code, title }
}

#[rustfmt::skip] // One problem a line: it is read as a table.
mod rows {
    use super::{Row, StatusCode, row};

    pub(super) static BAD_BODY: Row = row(StatusCode::BAD_REQUEST, "bad_body", "The body cannot be read");
    pub(super) static BAD_ENVELOPE: Row = row(StatusCode::BAD_REQUEST, "bad_envelope", "What surrounds the events is wrong");
    pub(super) static MISSING_ORGANIZATION: Row = row(StatusCode::BAD_REQUEST, "missing_organization", "No organization is named");
    pub(super) static MISSING_KEY: Row = row(StatusCode::UNAUTHORIZED, "missing_key", "No write key was sent");
    pub(super) static UNKNOWN_KEY: Row = row(StatusCode::UNAUTHORIZED, "unknown_key", "No such write key");
    pub(super) static ORGANIZATION_MISMATCH: Row = row(StatusCode::FORBIDDEN, "organization_mismatch", "Key and organization do not agree");
    pub(super) static ORGANIZATION_SUSPENDED: Row = row(StatusCode::FORBIDDEN, "organization_suspended", "The organization is suspended");
    pub(super) static ORIGIN_NOT_ALLOWED: Row = row(StatusCode::FORBIDDEN, "origin_not_allowed", "The page's origin is not allowed");
    pub(super) static NOT_FOUND: Row = row(StatusCode::NOT_FOUND, "not_found", "No such route");
    pub(super) static METHOD_NOT_ALLOWED: Row = row(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not take this method");
    pub(super) static UNSUPPORTED_TYPE: Row = row(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", "The content type is not supported");
    pub(super) static UNSUPPORTED_ENCODING: Row = row(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "The content encoding is not supported");
    pub(super) static SLOW_BODY: Row = row(StatusCode::REQUEST_TIMEOUT, "slow_body", "The body took too long");
    pub(super) static BODY_TOO_LARGE: Row = row(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large");
    pub(super) static RATE_LIMITED: Row = row(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "The organization sends too much");
    pub(super) static STARTING: Row = row(StatusCode::SERVICE_UNAVAILABLE, "starting", "The service is starting");
    pub(super) static OVERLOADED: Row = row(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "The service is overloaded");
    pub(super) static LOG_UNAVAILABLE: Row = row(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "The log is unavailable");
    pub(super) static DRAINING: Row = row(StatusCode::SERVICE_UNAVAILABLE, "draining", "The service is shutting down");
}

/// Every row, for what must know all codes beforehand.
pub(super) static TABLE: [&Row; 19] = [
    &rows::BAD_BODY,
    &rows::BAD_ENVELOPE,
    &rows::MISSING_ORGANIZATION,
    &rows::MISSING_KEY,
    &rows::UNKNOWN_KEY,
    &rows::ORGANIZATION_MISMATCH,
    &rows::ORGANIZATION_SUSPENDED,
    &rows::ORIGIN_NOT_ALLOWED,
    &rows::NOT_FOUND,
    &rows::METHOD_NOT_ALLOWED,
    &rows::UNSUPPORTED_TYPE,
    &rows::UNSUPPORTED_ENCODING,
    &rows::SLOW_BODY,
    &rows::BODY_TOO_LARGE,
    &rows::RATE_LIMITED,
    &rows::STARTING,
    &rows::OVERLOADED,
    &rows::LOG_UNAVAILABLE,
    &rows::DRAINING,
];

impl Problem {
    /// The single place where problems become replies; no `_` arm, so that a new one must be decided.
    pub(super) fn row(&self) -> &'static Row {
        match self {
            Self::BadBody(_) => &rows::BAD_BODY,
            Self::BadEnvelope(_) => &rows::BAD_ENVELOPE,
            Self::MissingOrganization => &rows::MISSING_ORGANIZATION,
            Self::MissingKey => &rows::MISSING_KEY,
            Self::UnknownKey => &rows::UNKNOWN_KEY,
            Self::OrganizationMismatch => &rows::ORGANIZATION_MISMATCH,
            Self::OrganizationSuspended => &rows::ORGANIZATION_SUSPENDED,
            Self::OriginNotAllowed => &rows::ORIGIN_NOT_ALLOWED,
            Self::NotFound => &rows::NOT_FOUND,
            Self::MethodNotAllowed { .. } => &rows::METHOD_NOT_ALLOWED,
            Self::UnsupportedType => &rows::UNSUPPORTED_TYPE,
            Self::UnsupportedEncoding => &rows::UNSUPPORTED_ENCODING,
            Self::SlowBody { .. } => &rows::SLOW_BODY,
            Self::BodyTooLarge { .. } => &rows::BODY_TOO_LARGE,
            Self::RateLimited { .. } => &rows::RATE_LIMITED,
            Self::Starting => &rows::STARTING,
            Self::Overloaded => &rows::OVERLOADED,
            Self::LogUnavailable | Self::LogRefuses(_) => &rows::LOG_UNAVAILABLE,
            Self::Draining => &rows::DRAINING,
        }
    }

    /// When to come back, in whole seconds, where coming back helps. Jittered by up to double, so that clients that
    /// were refused together do not return together.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let least = match self {
            Self::RateLimited { wait, .. } => wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
            Self::Starting | Self::Overloaded | Self::Draining => 1,
            Self::LogUnavailable | Self::LogRefuses(_) => 5,
            Self::BadBody(_)
            | Self::BadEnvelope(_)
            | Self::MissingOrganization
            | Self::MissingKey
            | Self::UnknownKey
            | Self::OrganizationMismatch
            | Self::OrganizationSuspended
            | Self::OriginNotAllowed
            | Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::UnsupportedType
            | Self::UnsupportedEncoding
            | Self::SlowBody { .. }
            | Self::BodyTooLarge { .. } => return None,
        };
        Some(least + rand::random_range(0..=least))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: HashSet<_> = TABLE.iter().map(|row| row.code).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn a_rate_limited_client_is_never_told_to_come_back_too_early() {
        let problem = Problem::RateLimited { events_per_second: 10, wait: Duration::from_millis(2_001) };
        for _ in 0..100 {
            let seconds = problem.retry_after_seconds().expect("a 429 says when to come back");
            assert!((3..=6).contains(&seconds), "{seconds}");
        }
    }
}
