//! A record on its way through a lane.

use std::time::Instant;

use super::backlog::BacklogCharge;
use crate::event::UnixMillis;
use crate::log::LogRecord;

/// See the module.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) record: LogRecord,
    /// How many events its header says it carries.
    pub(super) events: usize,
    /// When intake received its batch.
    pub(super) received_at: UnixMillis,
    /// When the loader took it.
    pub(super) at: Instant,
    /// Its part of what waits in the lane, until it is dropped.
    #[expect(dead_code, reason = "held for what dropping it does")]
    pub(super) charge: BacklogCharge,
}
