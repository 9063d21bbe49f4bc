//! How the reporter is, for health checks.

use std::sync::{Mutex, PoisonError};

use crate::tenant::Directory;

/// Whether Postgres can be used: written by the reporter, read by health checks. An organization's trouble is its own, and
/// is told in the log and in `status`.
#[derive(Debug, Default)]
pub struct Condition {
    trouble: Mutex<Option<String>>,
}

impl Condition {
    /// Why no organization gets its reports; `None`: they do. `organizations` are read while none has its turn, too.
    pub fn trouble(&self, organizations: &Directory) -> Option<String> {
        let met = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        met.or_else(|| organizations.starting()).or_else(|| organizations.silence())
    }

    /// Gives back whether that is new.
    pub(super) fn set(&self, trouble: Option<String>) -> bool {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != trouble;
        *known = trouble;
        is_new
    }
}
