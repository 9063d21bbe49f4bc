//! What became of the events, counted where Prometheus sees it.

use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

use super::Shared;
use super::holding::Drained;
use super::lane::Waiting;
use super::partition::LaneKey;
use super::writer::Fates;
use crate::event::UnixMillis;
use crate::ops::metrics::OTHER;
use crate::ops::metrics::catalogue::{
    DB_CONNECTIONS, FRESHNESS, LOADER_BATCH_ROWS, LOADER_BATCH_SECONDS, LOADER_EVENTS, LOADER_LANES,
    LOADER_PARTITIONS, LOADER_REWINDS, LOADER_UNREADABLE_RECORDS,
};

/// All samples whose labels are known begin with the process: a first record that is unreadable is then an increase.
pub(super) fn start_counting() {
    Outcomes { label: OTHER.into() }.begin();
    counter!(LOADER_UNREADABLE_RECORDS).increment(0);
    counter!(LOADER_REWINDS).increment(0);
    let states = [
        (LOADER_LANES, ["live", "held"]),
        (LOADER_PARTITIONS, ["running", "stopped"]),
        (DB_CONNECTIONS, ["idle", "busy"]),
    ];
    for (name, states) in states {
        for state in states {
            gauge!(name, "state" => state).increment(0);
        }
    }
    let _rows = histogram!(LOADER_BATCH_ROWS);
    let _seconds = histogram!(LOADER_BATCH_SECONDS);
    let _freshness = histogram!(FRESHNESS);
}

/// One lane's counters, under its organization's label.
#[derive(Clone, Debug)]
pub(super) struct Outcomes {
    label: SharedString,
}

impl Outcomes {
    pub(super) fn new(label: SharedString) -> Self {
        Self { label }
    }

    /// Every fate begins at zero: an organization's first record that is held is then an increase.
    pub(super) fn begin(&self) {
        for fate in ["stored", "duplicate", "dead", "held", "unattributed"] {
            self.events(fate, 0);
        }
    }

    /// Those of a lane.
    pub(super) fn of(shared: &Shared, key: LaneKey) -> Self {
        Self::new(match key {
            LaneKey::Organization(id) => shared.label(id),
            LaneKey::Undecodable => OTHER.into(),
        })
    }

    /// A batch was committed.
    pub(super) fn flushed(&self, fates: &Fates, rows: usize, took: Duration) {
        self.events("stored", fates.stored);
        self.events("duplicate", fates.duplicate);
        self.events("dead", fates.dead);
        histogram!(LOADER_BATCH_ROWS).record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        histogram!(LOADER_BATCH_SECONDS).record(took.as_secs_f64());
    }

    /// Held records were drained in one transaction.
    pub(super) fn drained(&self, drained: &Drained, took: Duration) {
        let fates = &drained.fates;
        let rows = usize::try_from(fates.stored + fates.duplicate + fates.dead);
        self.flushed(fates, rows.unwrap_or(usize::MAX), took);
        (0..drained.unreadable).for_each(|_| unreadable());
    }

    /// These records can be seen by analysts now: from received to visible, once a record.
    pub(super) fn visible(&self, records: &[Waiting]) {
        let now = UnixMillis::now();
        let freshness = histogram!(FRESHNESS);
        for record in records {
            let age_ms = now.0.saturating_sub(record.received_at.0).max(0);
            freshness.record(Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64());
        }
    }

    /// So many events are held.
    pub(super) fn held(&self, events: usize) {
        self.events("held", events as u64);
    }

    /// So many events belong to an organization that was removed.
    pub(super) fn unattributed(&self, events: usize) {
        self.events("unattributed", events as u64);
    }

    fn events(&self, fate: &'static str, count: u64) {
        counter!(LOADER_EVENTS, "organization" => self.label.clone(), "fate" => fate).increment(count);
    }
}

/// A record was written down as unreadable.
pub(super) fn unreadable() {
    counter!(LOADER_UNREADABLE_RECORDS).increment(1);
}
