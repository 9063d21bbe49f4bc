//! Each organization's own limit: events a second, in bursts. It is this process's: others count for themselves.
//!
//! A token bucket in the form of one number per organization: when the bucket will be full again (GCRA's theoretical
//! arrival time). So a limit that changes takes effect with the next batch, and an organization whose bucket is full
//! need not be remembered. Ready-made limiters fix the rate when they are made, or keep every key for good.
//!
//! A batch is charged when it is judged, not when its headers arrived: one that was slow to upload would otherwise be
//! compared with a bucket that others have moved on since.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::problem::Problem;
use crate::tenant::{Organization, OrganizationId, Tenant};

/// No bucket is smaller than the largest batch: one that is full takes any.
const LEAST_BURST: u32 = 500;
/// Full buckets are forgotten when the table has doubled since the last time, and is larger than this.
const LEAST_SWEEP: usize = 1_024;

/// The buckets of all organizations that have a limit.
#[derive(Debug)]
pub(super) struct Limiter {
    /// For organizations without a limit of their own.
    default_limit: Option<NonZeroU32>,
    buckets: Arc<Mutex<Buckets>>,
}

/// What one batch took out of its organization's bucket. Dropped, it goes back: what was answered 503 costs nothing.
#[derive(Debug)]
#[must_use = "a charge that is dropped is given back"]
pub(super) struct Charge {
    /// `None` where there is no limit.
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Taken {
    buckets: Arc<Mutex<Buckets>>,
    organization: OrganizationId,
    /// The limit that it was charged by.
    limit: NonZeroU32,
    events: usize,
}

#[derive(Debug)]
struct Buckets {
    full_at: HashMap<OrganizationId, Instant>,
    sweep_at: usize,
}

impl Limiter {
    pub(super) fn new(default_limit: Option<NonZeroU32>) -> Self {
        let buckets = Buckets { full_at: HashMap::new(), sweep_at: LEAST_SWEEP };
        Self { default_limit, buckets: Arc::new(Mutex::new(buckets)) }
    }

    /// Takes a batch out of the tenant's bucket, whole or not at all.
    pub(super) fn charge(&self, tenant: &Tenant, events: usize) -> Result<Charge, Problem> {
        let Some(limit) = self.limit_of(tenant.organization()) else { return Ok(Charge { taken: None }) };
        // The time is taken under the lock: it never goes back from one charge of a bucket to the next.
        let mut buckets = lock(&self.buckets);
        buckets.charge(tenant.id(), limit, events, Instant::now()).map_err(|wait| limited(limit, wait))?;
        let (buckets, organization) = (Arc::clone(&self.buckets), tenant.id());
        Ok(Charge { taken: Some(Taken { buckets, organization, limit, events }) })
    }

    /// Refuses a batch that no bucket takes, however small it is: that of an organization which has no token left.
    pub(super) fn refuse_if_empty(&self, organization: &Organization) -> Result<(), Problem> {
        let Some(limit) = self.limit_of(organization) else { return Ok(()) };
        let wait = lock(&self.buckets).wait(organization.id, limit, 1, Instant::now());
        if wait > Duration::ZERO { Err(limited(limit, wait)) } else { Ok(()) }
    }

    fn limit_of(&self, organization: &Organization) -> Option<NonZeroU32> {
        organization.rate_limit.or(self.default_limit)
    }
}

impl Charge {
    /// So many of the batch's events were answered with a verdict that stands; the others' tokens go back.
    pub(super) fn settle(mut self, events: usize) {
        if let Some(taken) = &mut self.taken {
            taken.events = taken.events.saturating_sub(events);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.events > 0 {
            lock(&self.buckets).give_back(self.organization, cost(self.limit, self.events));
        }
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
        let wait = self.wait(organization, limit, events, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        let full_at = self.full_at(organization, limit, now) + cost(limit, events);
        self.full_at.insert(organization, full_at);
        self.forget_full_ones(now);
        Ok(())
    }

    /// The time until so many events would fit.
    fn wait(&self, organization: OrganizationId, limit: NonZeroU32, events: usize, now: Instant) -> Duration {
        let full_at = self.full_at(organization, limit, now) + cost(limit, events);
        full_at.saturating_duration_since(now + to_fill(limit))
    }

    /// When the bucket will be full again; after a limit was raised the old debt is at most one bucket of the new size.
    fn full_at(&self, organization: OrganizationId, limit: NonZeroU32, now: Instant) -> Instant {
        self.full_at.get(&organization).map_or(now, |full_at| (*full_at).clamp(now, now + to_fill(limit)))
    }

    fn give_back(&mut self, organization: OrganizationId, cost: Duration) {
        // One that is not remembered is full.
        if let Some(full_at) = self.full_at.get_mut(&organization) {
            *full_at = full_at.checked_sub(cost).unwrap_or(*full_at);
        }
    }

    fn forget_full_ones(&mut self, now: Instant) {
        if self.full_at.len() >= self.sweep_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = (self.full_at.len() * 2).max(LEAST_SWEEP);
        }
    }
}

fn limited(limit: NonZeroU32, wait: Duration) -> Problem {
    Problem::RateLimited { events_per_second: limit.get(), wait }
}

/// How long an empty bucket takes.
fn to_fill(limit: NonZeroU32) -> Duration {
    Duration::from_secs_f64(f64::from(limit.get().max(LEAST_BURST)) / f64::from(limit.get()))
}

/// How long so many tokens take to come back.
fn cost(limit: NonZeroU32, events: usize) -> Duration {
    let events = f64::from(u32::try_from(events).unwrap_or(u32::MAX));
    Duration::from_secs_f64(events / f64::from(limit.get()))
}

fn lock(buckets: &Mutex<Buckets>) -> MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_is_given_back_can_be_spent_again_and_never_makes_more_than_a_full_bucket() {
        let (mut buckets, now) = (buckets(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(buckets.charge(ACME, limit(1), 500, now), Ok(()));
        buckets.give_back(ACME, 200 * second);
        assert_eq!(buckets.charge(ACME, limit(1), 201, now), Err(second));
        assert_eq!(buckets.charge(ACME, limit(1), 200, now), Ok(()));
        buckets.give_back(ACME, 500 * second);
        buckets.give_back(ACME, 500 * second);
        buckets.give_back(BIRCH, 500 * second);
        assert_eq!(buckets.charge(ACME, limit(1), 500, now), Ok(()));
        assert_eq!(buckets.charge(ACME, limit(1), 1, now), Err(second));
        assert_eq!(buckets.wait(BIRCH, limit(1), 501, now), second);
    }

    #[test]
    fn a_charge_that_is_dropped_or_settled_for_less_gives_the_rest_back() {
        let limiter = Limiter::new(Some(limit(1)));
        let charge = |events| {
            let mut buckets = lock(&limiter.buckets);
            buckets.charge(ACME, limit(1), events, Instant::now()).expect("tokens");
            let buckets = Arc::clone(&limiter.buckets);
            Charge { taken: Some(Taken { buckets, organization: ACME, limit: limit(1), events }) }
        };
        let left = || {
            let wait = lock(&limiter.buckets).wait(ACME, limit(1), 500, Instant::now());
            500 - (wait + Duration::from_millis(500)).as_secs()
        };
        drop(charge(500));
        assert_eq!(left(), 500);
        charge(500).settle(300);
        assert_eq!(left(), 200);
        charge(200).settle(200);
        assert_eq!(left(), 0);
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
