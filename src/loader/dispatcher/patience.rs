//! How long a transaction may take before it counts as slow: measured against its size, and against what the server
//! takes for others at the moment.

use std::time::Duration;

/// What a transaction of so many rows takes on a server that has nothing else to do, roughly.
const A_TRANSACTION: Duration = Duration::from_millis(5);
const A_ROW: Duration = Duration::from_micros(15);
/// So many times what is usual at the moment is slow.
const TIMES: f64 = 8.0;
/// No transaction is slow before this.
const LEAST: Duration = Duration::from_millis(150);
/// However slow the server, a transaction that takes longer makes room.
const MOST: Duration = Duration::from_secs(2);
/// How much one transaction moves what is usual. Not by how slow it was: half are faster than what is usual and half are
/// slower, so that few slow schemas make nothing usual, and a server that has become slow does.
const STEP: f64 = 0.05;
/// What is usual lies between these.
const USUAL: std::ops::RangeInclusive<f64> = 0.5..=20.0;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// What transactions take at the moment, over what they take at best.
    usual: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { usual: 1.0 }
    }
}

impl Patience {
    /// For a transaction of so many rows.
    pub(super) fn of(&self, rows: usize) -> Duration {
        best(rows).mul_f64(TIMES * self.usual).clamp(LEAST, MOST)
    }

    /// A transaction took so long.
    pub(super) fn learn(&mut self, rows: usize, took: Duration) {
        let stretch = took.as_secs_f64() / best(rows).as_secs_f64();
        let moved = if stretch > self.usual { self.usual * (1.0 + STEP) } else { self.usual * (1.0 - STEP) };
        self.usual = moved.clamp(*USUAL.start(), *USUAL.end());
    }
}

fn best(rows: usize) -> Duration {
    A_TRANSACTION + A_ROW * u32::try_from(rows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_take_longer_than_a_row_and_everything_when_the_server_is_busy() {
        let mut patience = Patience::default();
        assert_eq!(patience.of(1), LEAST);
        let before = patience.of(10_000);
        assert!(before > LEAST);
        (0..100).for_each(|_| patience.learn(1_000, Duration::from_millis(200)));
        assert!(patience.of(10_000) > before && patience.of(1) > LEAST);
        (0..1_000).for_each(|_| patience.learn(1_000, Duration::from_secs(60)));
        assert_eq!(patience.of(1_000_000), MOST);
    }

    #[test]
    fn a_few_slow_schemas_make_nothing_usual() {
        let mut patience = Patience::default();
        for n in 0..10_000 {
            let took = if n % 3 == 0 { Duration::from_secs(9) } else { Duration::from_millis(6) };
            patience.learn(10, took);
        }
        assert_eq!(patience.of(10), LEAST);
    }
}
