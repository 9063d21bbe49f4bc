//! A batch is settled once, whoever answers last and whoever still waits.

use std::num::NonZeroU32;

use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::*;
use crate::config::intake::REQUEST_BYTES;
use crate::intake::budget::Budget;
use crate::intake::limit::Limiter;
use crate::intake::turn::Owner;
use crate::log::LogRefusal;
use crate::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};

/// What a batch must leave as it found it.
struct Around {
    tenant: Tenant,
    limiter: Limiter,
    budget: Budget,
    tasks: TaskTracker,
}

const BUDGET_BYTES: u32 = 1_000_000;

impl Around {
    /// One organization with 500 tokens, and one more each second.
    fn new() -> Self {
        let key = WriteKey::generate().expect("randomness");
        let acme = Organization {
            id: OrganizationId(Uuid::now_v7()),
            slug: "acme".parse().expect("a slug"),
            schema_name: "org_acme".to_owned(),
            state: State::Active,
            schema_version: 1,
            completion: crate::tenant::Completion::default(),
            rate_limit: None,
            origins: Vec::new(),
        };
        let keys = [(key.digest(), acme.id)];
        let directory = Directory::default();
        directory.replace(Snapshot::new([acme], keys, Instant::now()));
        let tenant = directory.authenticate(&key).and_then(|holder| holder.claim("acme"));
        Self {
            tenant: tenant.expect("its own key"),
            limiter: Limiter::new(NonZeroU32::new(1)),
            budget: Budget::new(BUDGET_BYTES),
            tasks: TaskTracker::new(),
        }
    }

    /// A batch of 300 accepted events in two records, and one who waits for its reply.
    fn asked(&self) -> (Unsettled, oneshot::Receiver<Settled>) {
        let (client, settled) = oneshot::channel();
        let outcomes = (0..300).map(|n| Outcome::Accepted(Uuid::from_u128(n))).collect();
        let batch = Unsettled {
            tenant: self.tenant.clone(),
            meter: Arc::new(Meter::new()),
            complaints: Arc::new(Complaints::once_in(COMPLAINT_PERIOD)),
            asked: Mutex::new(Some(Asked {
                unanswered: vec![FIRST, SECOND],
                answers: Answers {
                    outcomes,
                    acknowledged: false,
                    unavailable: 0,
                    problem: Problem::LogUnavailable,
                },
                charge: self.limiter.charge(&self.tenant, 300).expect("tokens"),
                reservation: self.budget.reserve(self.owner(), 100).expect("room"),
                client,
                drain: self.tasks.token(),
            })),
        };
        (batch, settled)
    }

    fn owner(&self) -> Owner {
        Owner::Organization(self.tenant.id())
    }

    /// How many tokens are there, within what a slow test gets back meanwhile.
    fn has_tokens(&self, events: usize) -> bool {
        let fits = |events| self.limiter.charge(&self.tenant, events).is_ok();
        !fits(events + 60) && fits(events)
    }

    fn has_all_its_room(&self) -> bool {
        let all = (BUDGET_BYTES - REQUEST_BYTES) as usize;
        self.budget.reserve(self.owner(), 0).is_ok_and(|mut reservation| reservation.set(all).is_ok())
    }
}

const FIRST: Range<usize> = 0..200;
const SECOND: Range<usize> = 200..300;

fn unavailable(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Unavailable(_))).count()
}

#[test]
fn the_last_answer_settles_a_batch_and_what_the_log_lacks_is_given_back() {
    let around = Around::new();
    let (batch, mut settled) = around.asked();
    batch.hear(&SECOND, Err(PublishError::TimedOut));
    assert!(settled.try_recv().is_err(), "the log has not answered for the first record");
    assert_eq!(around.tasks.len(), 1, "the drain waits");
    batch.hear(&FIRST, Ok(()));
    let (outcomes, reservation) = settled.try_recv().expect("settled").expect("the log has some of it");
    assert_eq!((outcomes.len(), unavailable(&outcomes)), (300, 100));
    assert!(around.has_tokens(300), "200 of 500 are spent");
    assert_eq!(around.tasks.len(), 0);
    drop(reservation);
    assert!(around.has_all_its_room());
}

#[test]
fn a_batch_of_which_the_log_took_nothing_costs_nothing_and_says_what_the_log_says() {
    let around = Around::new();
    let (batch, mut settled) = around.asked();
    let refusal = LogRefusal::new("for operators", "for clients");
    batch.hear(&FIRST, Err(PublishError::Refused(refusal)));
    batch.hear(&SECOND, Err(PublishError::QueueFull));
    let problem = settled.try_recv().expect("settled").expect_err("nothing was acknowledged");
    assert!(matches!(problem, Problem::LogRefuses(told) if told == refusal), "{problem}");
    assert!(around.has_tokens(500));
    assert!(around.has_all_its_room());
}

#[test]
fn a_batch_is_settled_once_also_where_its_client_is_gone() {
    let around = Around::new();
    let (batch, settled) = around.asked();
    drop(settled);
    batch.hear(&FIRST, Ok(()));
    batch.hear(&SECOND, Ok(()));
    assert!(around.has_tokens(200), "all 300 are spent");
    assert!(around.has_all_its_room());
    assert_eq!(around.tasks.len(), 0);
}

#[test]
fn what_the_log_leaves_unanswered_is_given_up_and_an_answer_that_comes_later_changes_nothing() {
    let around = Around::new();
    let (batch, mut settled) = around.asked();
    batch.hear(&FIRST, Ok(()));
    batch.give_up();
    let (outcomes, _) = settled.try_recv().expect("settled").expect("the log has some of it");
    assert_eq!(unavailable(&outcomes), 100);
    assert!(around.has_tokens(300));
    batch.hear(&SECOND, Ok(()));
    batch.give_up();
    assert!(around.has_tokens(300), "nothing is given back twice");

    let (none, mut settled) = Around::new().asked();
    none.give_up();
    let problem = settled.try_recv().expect("settled").expect_err("nothing was acknowledged");
    assert!(matches!(problem, Problem::LogUnavailable), "{problem}");
}
