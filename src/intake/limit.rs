//! Each organization's own limit: events a second, in bursts.
//!
//! A token bucket in the form of one number per organization: when the bucket will be full again (GCRA's theoretical
//! arrival time). So a limit that changes takes effect with the next batch, and an organization whose bucket is full
//! need not be remembered. Ready-made limiters fix the rate when they are made, or keep every key for good.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::problem::Problem;
use crate::tenant::{OrganizationId, Tenant};

/// No bucket is smaller than the largest batch: one that is full takes any.
const LEAST_BURST: u32 = 500;
/// Full buckets are forgotten when the table has doubled since the last time, and is larger than this.
const LEAST_SWEEP: usize = 1_024;

/// The buckets of all organizations that have a limit.
#[derive(Debug)]
pub(super) struct Limiter {
    /// For organizations without a limit of their own.
    default_limit: Option<NonZeroU32>,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    full_at: HashMap<OrganizationId, Instant>,
    sweep_at: usize,
}

impl Limiter {
    pub(super) fn new(default_limit: Option<NonZeroU32>) -> Self {
        let buckets = Buckets { full_at: HashMap::new(), sweep_at: LEAST_SWEEP };
        Self { default_limit, buckets: Mutex::new(buckets) }
    }

    /// Takes a batch out of the tenant's bucket, whole or not at all.
    pub(super) fn charge(&self, tenant: &Tenant, events: usize, now: Instant) -> Result<(), Problem> {
        let Some(limit) = tenant.organization().rate_limit.or(self.default_limit) else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .charge(tenant.id(), limit, events, now)
            .map_err(|wait| Problem::RateLimited { events_per_second: limit.get(), wait })
    }
}

impl Buckets {
    /// `Err` is the time until the batch would fit.
    fn charge(
        &mut self,
        organization: OrganizationId,
        limit: NonZeroU32,
        events: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let per_second = f64::from(limit.get());
        let to_fill = Duration::from_secs_f64(f64::from(limit.get().max(LEAST_BURST)) / per_second);
        let events = f64::from(u32::try_from(events).unwrap_or(u32::MAX));
        let full_at = self.full_at.get(&organization).copied().unwrap_or(now).max(now);
        // After a limit was raised the old debt is at most one bucket of the new size.
        let full_at = full_at.min(now + to_fill) + Duration::from_secs_f64(events / per_second);
        let wait = full_at.saturating_duration_since(now + to_fill);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at.insert(organization, full_at);
        self.forget_full_ones(now);
        Ok(())
    }

    fn forget_full_ones(&mut self, now: Instant) {
        if self.full_at.len() >= self.sweep_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = (self.full_at.len() * 2).max(LEAST_SWEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn buckets() -> Buckets {
        Buckets { full_at: HashMap::new(), sweep_at: LEAST_SWEEP }
    }

    fn limit(events_per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(events_per_second).expect("not zero")
    }

    const ACME: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const BIRCH: OrganizationId = OrganizationId(Uuid::from_u128(2));

    #[test]
    fn a_full_batch_passes_however_low_the_limit_and_the_next_waits_for_it() {
        let (mut buckets, now) = (buckets(), Instant::now());
        assert_eq!(buckets.charge(ACME, limit(1), 500, now), Ok(()));
        assert_eq!(buckets.charge(ACME, limit(1), 10, now), Err(Duration::from_secs(10)));
        assert_eq!(buckets.charge(ACME, limit(1), 10, now + Duration::from_secs(10)), Ok(()));
        assert_eq!(buckets.charge(BIRCH, limit(1), 500, now), Ok(()), "its own bucket");
    }

    #[test]
    fn over_time_exactly_the_limit_passes() {
        let (mut buckets, start) = (buckets(), Instant::now());
        let passed: usize = (0..60_000u64)
            .filter(|ms| buckets.charge(ACME, limit(2_000), 10, start + Duration::from_millis(*ms)).is_ok())
            .count()
            * 10;
        let (burst, sustained) = (2_000, 60 * 2_000);
        assert!(passed.abs_diff(burst + sustained) <= 20, "{passed}");
    }

    #[test]
    fn a_refused_batch_costs_nothing_and_a_raised_limit_helps_at_once() {
        let (mut buckets, now) = (buckets(), Instant::now());
        assert_eq!(buckets.charge(ACME, limit(1), 500, now), Ok(()));
        for _ in 0..100 {
            assert_eq!(buckets.charge(ACME, limit(1), 5, now), Err(Duration::from_secs(5)));
        }
        assert!(
            buckets.charge(ACME, limit(10_000), 500, now).expect_err("still in debt")
                <= Duration::from_millis(51)
        );
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let (mut buckets, start) = (buckets(), Instant::now());
        for n in 0..100_000u32 {
            let now = start + Duration::from_millis(u64::from(n));
            buckets
                .charge(OrganizationId(Uuid::from_u128(n.into())), limit(100), 1, now)
                .expect("a full bucket");
        }
        assert!(buckets.full_at.len() <= 2 * LEAST_SWEEP, "{}", buckets.full_at.len());
    }
}
