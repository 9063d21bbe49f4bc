//! What became of the events, counted where Prometheus sees it.

use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

use super::Shared;
use super::held_record::Drained;
use super::lane::Waiting;
use super::partition::LaneKey;
use super::writer::Fates;
use crate::event::UnixMillis;
use crate::ops::metrics::OTHER;

/// All samples whose labels are known begin with the process: a first record that is unreadable is then an increase.
pub(super) fn start_counting() {
    for fate in ["stored", "duplicate", "dead", "held", "unattributed"] {
        counter!("rollbook_loader_events_total", "organization" => OTHER, "fate" => fate).increment(0);
    }
    counter!("rollbook_loader_unreadable_records_total").increment(0);
    counter!("rollbook_loader_rewinds_total").increment(0);
    for state in ["live", "held"] {
        gauge!("rollbook_loader_lanes", "state" => state).increment(0);
    }
    let _rows = histogram!("rollbook_loader_batch_rows");
    let _seconds = histogram!("rollbook_loader_batch_seconds");
    let _freshness = histogram!("rollbook_freshness_seconds");
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
        histogram!("rollbook_loader_batch_rows").record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        histogram!("rollbook_loader_batch_seconds").record(took.as_secs_f64());
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
        let freshness = histogram!("rollbook_freshness_seconds");
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
        counter!("rollbook_loader_events_total", "organization" => self.label.clone(), "fate" => fate)
            .increment(count);
    }
}

/// A record was written down as unreadable.
pub(super) fn unreadable() {
    counter!("rollbook_loader_unreadable_records_total").increment(1);
}
