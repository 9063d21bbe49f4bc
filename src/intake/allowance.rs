//! How much of a body one request may bring, by what it has shown.
//!
//! A request that names no live key in its headers is a stranger's until its body has named one: it gets what a browser
//! sends of a page that is going away, and a short patience.

use std::fmt;
use std::time::Duration;

use super::problem::Problem;
use crate::config::intake::{Bodies, BodyLimits};

/// The limits of one request's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Of the body as it arrives.
    pub(super) wire: SizeLimit,
    /// Of what is left when it is unpacked.
    pub(super) unpacked: SizeLimit,
    /// For all of it, counted from the request's headers.
    pub(super) timeout: Duration,
}

impl Allowance {
    /// Of a request that names a live key in its headers.
    pub(super) fn of_keyed(bodies: &Bodies) -> Self {
        Self::new(bodies.keyed, bodies.keyed)
    }

    /// Of any other.
    pub(super) fn of_stranger(bodies: &Bodies) -> Self {
        Self::new(bodies.strangers, bodies.keyed)
    }

    fn new(limits: BodyLimits, with_key: BodyLimits) -> Self {
        let size = |form, bytes, with_key| SizeLimit {
            form,
            bytes,
            with_key: (with_key > bytes).then_some(with_key),
        };
        Self {
            wire: size(BodyForm::Wire, limits.max_bytes, with_key.max_bytes),
            unpacked: size(BodyForm::Unpacked, limits.max_unpacked_bytes, with_key.max_unpacked_bytes),
            timeout: limits.timeout,
        }
    }
}

/// The most that a body may have in one of its forms. Its text goes on after "the body is larger than".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeLimit {
    form: BodyForm,
    bytes: usize,
    /// What a live key in the headers allows, where that is more.
    with_key: Option<usize>,
}

impl SizeLimit {
    /// Of what comes out of a body, whoever sent it.
    pub(super) fn unpacked(bytes: usize) -> Self {
        Self { form: BodyForm::Unpacked, bytes, with_key: None }
    }

    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// Refuses a body of more than that.
    pub(super) fn check(self, bytes: usize) -> Result<(), Problem> {
        if bytes > self.bytes { Err(Problem::BodyTooLarge(self)) } else { Ok(()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyForm {
    Wire,
    Unpacked,
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            BodyForm::Wire => "as it arrives",
            BodyForm::Unpacked => "when it is unpacked",
        };
        write!(f, "{} bytes {form}", self.bytes)?;
        match self.with_key {
            None => Ok(()),
            Some(bytes) => write!(f, "; with a live key in `Authorization` it may have {bytes}"),
        }
    }
}
