//! How the loader is, for health checks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::server::Server;
use crate::tenant::Directory;

/// How the loader is: written by it, read by health checks.
#[derive(Debug, Default)]
pub struct Condition {
    pub(super) server: Server,
    joined: AtomicBool,
    stopped: Mutex<BTreeMap<i32, String>>,
}

impl Condition {
    /// Why partitions are not being consumed; `None`: they are. A member of the group that has no partitions is well.
    /// `organizations` are read while no lane has anything to ask, too.
    pub fn trouble(&self, organizations: &Directory) -> Option<String> {
        if let Some(reason) = self.server.trouble() {
            return Some(format!("Postgres cannot be used: {reason}"));
        }
        if let Some(trouble) = organizations.starting().or_else(|| organizations.silence()) {
            return Some(trouble);
        }
        if !self.is_joined() {
            return Some(
                "not a member of the consumer group: the log is away, or is assigning partitions".to_owned(),
            );
        }
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let (partition, reason) = stopped.first_key_value()?;
        let others = match stopped.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(format!("partition {partition} is stopped{others}: {reason}"))
    }

    /// Whether Postgres or the log is what we wait for.
    pub(super) fn is_waiting(&self, organizations: &Directory) -> bool {
        self.server.trouble().is_some() || organizations.is_overdue() || !self.is_joined()
    }

    /// Whether the group counts us in.
    fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    pub(super) fn set_joined(&self, joined: bool) {
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// A partition of ours must not be read on.
    pub(super) fn stopped(&self, partition: i32, reason: String) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, reason);
    }

    /// A partition is not ours any more, or is looked at afresh.
    pub(super) fn forget(&self, partition: i32) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}
