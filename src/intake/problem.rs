//! Everything that can keep a whole request from being accepted, and the one table of its replies.

use std::time::Duration;

use hyper::StatusCode;

use super::allowance::SizeLimit;
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
    #[error("the body is larger than {0}")]
    BodyTooLarge(SizeLimit),
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
    #[error("the log takes no events now; none of them is stored")]
    LogTookNone,
    #[error("{}", .0.told())]
    LogRefuses(LogRefusal),
    #[error("this process is shutting down; another one will answer")]
    Draining,
}

impl Problem {
    /// The log may hold some of the events all the same.
    pub(super) fn may_be_stored(&mut self) {
        if let Self::LogTookNone = self {
            *self = Self::LogUnavailable;
        }
    }
}

/// What a problem's reply says besides its detail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) status: StatusCode,
    /// What clients tell problems apart by; never changes.
    pub(super) code: &'static str,
    /// The same for every problem of this code.
    pub(super) title: &'static str,
    again: Again,
}

/// Whether sending the same once more may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Not before something else has changed.
    Never,
    /// After so many seconds at least; later where the problem itself says so.
    AfterSeconds(u64),
}

/// Makes [`TABLE`] and [`Problem::row`] of one list. A variant that is not in it does not compile; so none goes uncounted.
macro_rules! table {
    ($($problem:pat => $status:ident, $code:literal, $title:literal, $again:expr;)+) => {
        /// Every row, for what must know all codes beforehand.
        pub(super) const TABLE: &[Row] =
            &[$(Row { status: StatusCode::$status, code: $code, title: $title, again: $again }),+];

        impl Problem {
            /// The single place where problems become replies.
            pub(super) fn row(&self) -> &'static Row {
                match self {
                    $($problem => {
                        const { &Row { status: StatusCode::$status, code: $code, title: $title, again: $again } }
                    })+
                }
            }
        }
    };
}

#[rustfmt::skip] // One problem a line: it is read as a table.
table! {
    Self::BadBody(_) => BAD_REQUEST, "bad_body", "The body cannot be read", Again::Never;
    Self::BadEnvelope(_) => BAD_REQUEST, "bad_envelope", "What surrounds the events is wrong", Again::Never;
    Self::MissingOrganization => BAD_REQUEST, "missing_organization", "No organization is named", Again::Never;
    Self::MissingKey => UNAUTHORIZED, "missing_key", "No write key was sent", Again::Never;
    Self::UnknownKey => UNAUTHORIZED, "unknown_key", "No such write key", Again::Never;
    Self::OrganizationMismatch => FORBIDDEN, "organization_mismatch", "Key and organization do not agree", Again::Never;
    Self::OrganizationSuspended => FORBIDDEN, "organization_suspended", "The organization is suspended", Again::Never;
    Self::OriginNotAllowed => FORBIDDEN, "origin_not_allowed", "The page's origin is not allowed", Again::Never;
    Self::NotFound => NOT_FOUND, "not_found", "No such route", Again::Never;
    Self::MethodNotAllowed { .. } => METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not take this method", Again::Never;
    Self::UnsupportedType => UNSUPPORTED_MEDIA_TYPE, "unsupported_type", "The content type is not supported", Again::Never;
    Self::UnsupportedEncoding => UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "The content encoding is not supported", Again::Never;
    Self::SlowBody { .. } => REQUEST_TIMEOUT, "slow_body", "The body took too long", Again::Never;
    Self::BodyTooLarge(_) => PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", Again::Never;
    Self::RateLimited { .. } => TOO_MANY_REQUESTS, "rate_limited", "The organization sends too much", Again::AfterSeconds(1);
    Self::Starting => SERVICE_UNAVAILABLE, "starting", "The service is starting", Again::AfterSeconds(1);
    Self::Overloaded => SERVICE_UNAVAILABLE, "overloaded", "The service is overloaded", Again::AfterSeconds(1);
    Self::LogUnavailable | Self::LogTookNone | Self::LogRefuses(_) => SERVICE_UNAVAILABLE, "log_unavailable", "The log is unavailable", Again::AfterSeconds(5);
    Self::Draining => SERVICE_UNAVAILABLE, "draining", "The service is shutting down", Again::AfterSeconds(1);
}

impl Problem {
    /// When to come back, in whole seconds, where coming back helps. Jittered by up to double, so that clients that
    /// were refused together do not return together.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let Again::AfterSeconds(least) = self.row().again else { return None };
        let least = if let Self::RateLimited { wait, .. } = self {
            least.max(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
        } else {
            least
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

    #[test]
    fn every_503_says_when_to_come_back_and_no_other_refusal_but_429_does() {
        for row in TABLE {
            let comes_back =
                row.status == StatusCode::SERVICE_UNAVAILABLE || row.status == StatusCode::TOO_MANY_REQUESTS;
            assert_eq!(row.again != Again::Never, comes_back, "{}", row.code);
        }
    }
}
