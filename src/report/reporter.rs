//! The role `reporter`: every organization has its turn, and none waits for another's trouble.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::reports::Width;
use super::schedule::{Next, Schedule, Side};
use super::{Condition, ReportError, Reports, Turn};
use crate::ops::metrics::catalogue::{REPORT_EVENTS, REPORT_LAG_SECONDS, REPORT_RUN_SECONDS};
use crate::ops::{Complaints, Heartbeat, chain};
use crate::store::{Backoff, Pool, TENANT_SCHEMA_VERSION};
use crate::tenant::{Directory, OrganizationId, RolePrefix, State, Tenant};

/// Who has turns, each on a connection of its own. Those whose turns take minutes wait for each other alone.
const SIDES: [Side; 4] = [Side::Quick, Side::Quick, Side::Patient, Side::Patient];
/// How many connections that takes.
#[allow(clippy::cast_possible_truncation, reason = "there are four")]
pub const TURNS: u32 = SIDES.len() as u32;
/// The longest sleep: organizations come and go, and the lag grows.
const TICK: Duration = Duration::from_millis(500);

/// What the reporter works with.
#[allow(missing_debug_implementations, reason = "a heartbeat shows nothing")]
pub struct Parts {
    /// Connections of the loader's login, [`TURNS`] of them.
    pub pool: Pool,
    /// The organizations.
    pub directory: Arc<Directory>,
    /// How their roles are called.
    pub roles: RolePrefix,
    /// How often each has its turn.
    pub period: Duration,
    /// Where its trouble is told.
    pub condition: Arc<Condition>,
    /// Beats with each turn, whatever it comes to.
    pub heartbeat: Heartbeat,
}

/// Keeps the reports of every organization current until `stop`. A turn that is under way then is given up: what it did is
/// not done.
pub async fn run(parts: Parts, stop: CancellationToken) {
    start_counting();
    let plan = Plan {
        schedule: Schedule::new(parts.period),
        tenants: HashMap::new(),
        widths: HashMap::new(),
        known_since: None,
        lag_told_at: Instant::now(),
    };
    let reporter =
        Arc::new(Reporter { plan: Mutex::new(plan), parts, complaints: Complaints::now_and_then() });
    // A task each: what one gathers keeps no other from its connection.
    let turns: JoinSet<()> = SIDES.into_iter().map(|side| Arc::clone(&reporter).work(side)).collect();
    stop.run_until_cancelled(turns.join_all()).await;
}

/// All samples begin with the process: the first events that are taken in are then an increase.
fn start_counting() {
    gauge!(REPORT_LAG_SECONDS).set(0.0);
    counter!(REPORT_EVENTS).increment(0);
    let _runs = histogram!(REPORT_RUN_SECONDS);
}

struct Reporter {
    parts: Parts,
    plan: Mutex<Plan>,
    complaints: Complaints,
}

/// Who has turns, and when.
struct Plan {
    schedule: Schedule,
    /// Those that have a schema.
    tenants: HashMap<OrganizationId, Tenant>,
    /// How large the last slices of those were that had a turn.
    widths: HashMap<OrganizationId, Width>,
    /// When the snapshot that they are from was read.
    known_since: Option<Instant>,
    lag_told_at: Instant,
}

impl Plan {
    /// Whose turn on this side it is, and when not: until when to wait.
    fn next(
        &mut self,
        side: Side,
        directory: &Directory,
        now: Instant,
    ) -> Result<(Tenant, Duration), Instant> {
        let known_since = directory.taken_at();
        if self.known_since != known_since {
            let has_schema =
                |tenant: &Tenant| matches!(tenant.organization().state, State::Active | State::Suspended);
            let tenants = directory.record_owners().into_iter().filter(has_schema);
            self.tenants = tenants.map(|tenant| (tenant.id(), tenant)).collect();
            self.widths.retain(|id, _| self.tenants.contains_key(id));
            self.schedule.keep(&self.tenants.keys().copied().collect(), now);
            self.known_since = known_since;
        }
        if now.saturating_duration_since(self.lag_told_at) >= TICK {
            gauge!(REPORT_LAG_SECONDS).set(self.schedule.lag(now).as_secs_f64());
            self.lag_told_at = now;
        }
        match self.schedule.next(side, now) {
            Next::Wait(until) => Err(until),
            Next::Turn { organization, patience } => {
                self.tenants.get(&organization).map(|tenant| (tenant.clone(), patience)).ok_or(now)
            }
        }
    }
}

impl Reporter {
    async fn work(self: Arc<Self>, side: Side) {
        let mut backoff = Backoff::for_server();
        loop {
            self.parts.heartbeat.beat();
            let now = Instant::now();
            let next = self.plan().next(side, &self.parts.directory, now);
            match next {
                Err(until) => {
                    let wait = until.saturating_duration_since(now);
                    tokio::time::sleep(wait.clamp(Duration::from_millis(10), TICK)).await;
                }
                Ok((tenant, patience)) => {
                    let outcome = self.turn(&tenant, patience).await;
                    self.tell(&tenant, &outcome);
                    self.plan().schedule.done(tenant.id(), &outcome, Instant::now());
                    match outcome {
                        Err(ReportError::Server(_) | ReportError::NoConnection(_)) => {
                            tokio::time::sleep(backoff.next()).await
                        }
                        _ => backoff.reset(),
                    }
                }
            }
        }
    }

    async fn turn(&self, tenant: &Tenant, patience: Duration) -> Result<Turn, ReportError> {
        if tenant.organization().schema_version != TENANT_SCHEMA_VERSION {
            return Err(ReportError::unreadable("the schema is at another version: run `rollbook migrate`"));
        }
        let client = self.parts.pool.get().await.map_err(ReportError::NoConnection)?;
        let width = self.plan().widths.entry(tenant.id()).or_default().clone();
        let reports = Reports::of(tenant, &self.parts.roles).with_patience(patience).with_width(width);
        let started = Instant::now();
        let turn = reports.turn(&client).await;
        // After an error it was rolled back; where that failed the connection is closed, and not lent again.
        if !matches!(turn, Err(ReportError::Server(_))) {
            client.give_back();
        }
        if let Ok(Turn { added: 1.., .. }) = turn {
            histogram!(REPORT_RUN_SECONDS).record(started.elapsed().as_secs_f64());
        }
        turn
    }

    fn tell(&self, tenant: &Tenant, outcome: &Result<Turn, ReportError>) {
        let organization = tenant.slug().as_str();
        let was_failing = self.plan().schedule.is_failing(tenant.id());
        let cause = |error: &ReportError| std::error::Error::source(error).map(chain);
        match outcome {
            Ok(_) => {
                if was_failing {
                    tracing::info!(organization, "reports are kept again");
                }
            }
            Err(ReportError::Busy | ReportError::Superseded) => return,
            Err(error @ ReportError::TooLong(_)) if self.plan().schedule.side(tenant.id()) == Side::Quick => {
                tracing::debug!(organization, %error, "a turn is had again, with more patience");
            }
            Err(error @ (ReportError::Server(_) | ReportError::NoConnection(_))) => {
                let trouble = chain(error);
                if let Some(unwritten) = self.complaints.hear_text(&trouble, Instant::now()) {
                    tracing::warn!(trouble, unwritten, "no reports are kept");
                }
                self.parts.condition.set(Some(trouble));
                return;
            }
            Err(error) if !was_failing => {
                tracing::warn!(organization, %error, cause = cause(error), "reports of an organization are not kept");
            }
            Err(_) => {}
        }
        if self.parts.condition.set(None) {
            tracing::info!("reports are kept again");
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
