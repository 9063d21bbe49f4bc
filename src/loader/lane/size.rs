//! How much a lane gives a writer at a time: half as much after a transaction that took too long, and more again once some
//! have passed. What takes too long as a whole would otherwise take too long for ever.

use super::BatchLimits;

/// So many transactions in a row that passed say that twice as much may be tried.
const PASSED: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::loader) struct Size {
    /// Events; `None`: as many as the settings allow.
    rows: Option<usize>,
    passed: u32,
}

impl Size {
    /// What may be taken at a time. Whatever it is, one record always may.
    pub(in crate::loader) fn of(self, limits: BatchLimits) -> BatchLimits {
        BatchLimits { rows: self.rows.map_or(limits.rows, |rows| rows.min(limits.rows)), ..limits }
    }

    /// A transaction with so many events, or up to so many, took too long.
    pub(in crate::loader) fn was_too_much(&mut self, rows: usize) {
        *self = Self { rows: Some((rows / 2).max(1)), passed: 0 };
    }

    /// A transaction passed.
    pub(in crate::loader) fn passed(&mut self) {
        let Some(rows) = &mut self.rows else { return };
        self.passed += 1;
        if self.passed == PASSED {
            self.passed = 0;
            *rows = rows.saturating_mul(2);
        }
    }
}
