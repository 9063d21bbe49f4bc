//! Whether the process makes progress (`/healthz`), and whether it would take work (`/readyz`).
//!
//! Progress is a beat: each part that can get stuck registers a heartbeat with the longest silence it may keep.
//! Nothing outside the process is part of it, so that an outage of Postgres or the log restarts nobody.
//! Readiness is a question put to each role whenever somebody asks.

mod reply;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use reply::reply;

/// What a process can be there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes batches. Where it runs beside others, this one decides `/readyz`: see [`Health::readiness`].
    Intake,
    /// Loads records.
    Loader,
    /// Keeps reports.
    Reporter,
}

impl Role {
    /// As settings and replies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Loader => "loader",
            Self::Reporter => "reporter",
        }
    }
}

/// Why a role would not take work now, in a few words for an operator.
pub type Reason = Cow<'static, str>;

/// The health of one process; cheap to clone.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    draining: AtomicBool,
    beats: Mutex<Vec<Arc<Beat>>>,
    roles: Mutex<BTreeMap<Role, Probe>>,
}

type Probe = Box<dyn Fn() -> Result<(), Reason> + Send>;

struct Beat {
    part: &'static str,
    longest_silence: Duration,
    /// Milliseconds since the process's health was made.
    last_ms: AtomicU64,
}

/// One part's proof of life. Dropping it says that the part ended as it should.
#[must_use = "a heartbeat that is dropped is no longer watched"]
pub struct Heartbeat {
    beat: Arc<Beat>,
    health: Health,
}

/// Whether work would be taken now.
#[derive(Debug)]
pub struct Readiness {
    /// What decides: `Ok`, or the reason.
    pub verdict: Result<(), Reason>,
    /// Whether the process is on its way out.
    pub draining: bool,
    /// Every role's own condition.
    pub roles: BTreeMap<Role, Result<(), Reason>>,
}

impl Readiness {
    /// Whether each role would take work: none does in a process that is on its way out.
    pub fn by_role(&self) -> impl Iterator<Item = (Role, bool)> {
        self.roles.iter().map(|(role, condition)| (*role, condition.is_ok() && !self.draining))
    }
}

impl Health {
    /// Alive, and not ready until a role says so.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                draining: AtomicBool::new(false),
                beats: Mutex::default(),
                roles: Mutex::default(),
            }),
        }
    }

    /// Watches a part that must not be silent for longer than `longest_silence`. Registering counts as a beat.
    pub fn watch(&self, part: &'static str, longest_silence: Duration) -> Heartbeat {
        let beat = Arc::new(Beat { part, longest_silence, last_ms: AtomicU64::new(self.now_ms()) });
        lock(&self.shared.beats).push(Arc::clone(&beat));
        Heartbeat { beat, health: self.clone() }
    }

    /// Lets `ready` answer for a role from now on. It is called whenever somebody asks, and must not wait.
    pub fn answer_for(&self, role: Role, ready: impl Fn() -> Result<(), Reason> + Send + 'static) {
        lock(&self.shared.roles).insert(role, Box::new(ready));
    }

    /// Turns the process unready for good.
    pub fn start_drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// The parts that have been silent for too long, and for how long.
    pub fn stuck(&self) -> Vec<(&'static str, Duration)> {
        let now_ms = self.now_ms();
        let beats = lock(&self.shared.beats);
        let silences = beats.iter().map(|beat| {
            let silence_ms = now_ms.saturating_sub(beat.last_ms.load(Ordering::Relaxed));
            (beat, Duration::from_millis(silence_ms))
        });
        silences
            .filter(|(beat, silence)| *silence > beat.longest_silence)
            .map(|(beat, silence)| (beat.part, silence))
            .collect()
    }

    /// Asks every role. Intake decides where it runs: its load balancer must not be told of the loader's trouble.
    pub fn readiness(&self) -> Readiness {
        let roles: BTreeMap<Role, Result<(), Reason>> =
            lock(&self.shared.roles).iter().map(|(role, ready)| (*role, ready())).collect();
        let draining = self.shared.draining.load(Ordering::Relaxed);
        let verdict = match roles.first_key_value() {
            _ if draining => Err(Reason::Borrowed("draining")),
            Some((_, condition)) => condition.clone(),
            None => Err(Reason::Borrowed("starting")),
        };
        Readiness { verdict, draining, roles }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("stuck", &self.stuck()).finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// Says that the part made progress.
    pub fn beat(&self) {
        self.beat.last_ms.store(self.health.now_ms(), Ordering::Relaxed);
    }

    /// Says that the part last made progress at this moment.
    pub fn beat_as_of(&self, moment: Instant) {
        let since_start = moment.saturating_duration_since(self.health.shared.started);
        let at_ms = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        self.beat.last_ms.store(at_ms, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        lock(&self.health.shared.beats).retain(|beat| !Arc::ptr_eq(beat, &self.beat));
    }
}

/// A probe that panicked leaves nothing half-written behind: the lists are whole either way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_roles_is_starting() {
        assert_eq!(Health::new().readiness().verdict, Err("starting".into()));
    }

    #[test]
    fn intake_decides_where_both_roles_run() {
        let health = Health::new();
        health.answer_for(Role::Loader, || Err("the log is away".into()));
        assert_eq!(health.readiness().verdict, Err("the log is away".into()));
        health.answer_for(Role::Intake, || Ok(()));
        let readiness = health.readiness();
        assert_eq!(readiness.verdict, Ok(()));
        assert_eq!(readiness.roles[&Role::Loader], Err("the log is away".into()));
    }

    #[test]
    fn a_drain_turns_it_unready_whatever_the_roles_say() {
        let health = Health::new();
        health.answer_for(Role::Intake, || Ok(()));
        health.start_drain();
        assert_eq!(health.readiness().verdict, Err("draining".into()));
    }

    #[test]
    fn silence_is_noticed_until_the_next_beat_or_the_end() {
        let health = Health::new();
        let heartbeat = health.watch("loader", Duration::ZERO);
        let deadline = Instant::now() + Duration::from_secs(5);
        while health.stuck().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(health.stuck().first().map(|(part, _)| *part), Some("loader"));
        drop(heartbeat);
        assert!(health.stuck().is_empty());
    }
}
