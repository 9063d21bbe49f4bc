//! What can happen next in a state, and what it leads to.

use std::rc::Rc;

use super::database::{self, Violation};
use super::rule::{Rule, keeps};
use super::state::{Config, Faults, Loader, Open, POSITION, State};
use super::writer;
use crate::loader::partition::Partition;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// `None`: it happens by itself.
    pub(super) loader: Option<usize>,
    pub(super) what: What,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.loader {
            Some(loader) => write!(f, "loader {loader}: {:?}", self.what),
            None => write!(f, "{:?}", self.what),
        }
    }
}

/// In order of urgency: the first of them that can happen does, once nothing goes wrong any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    SchemaHeals,
    /// A loader that lost its partition learns of it. What its writers do is left to itself.
    Revoked,
    /// The loader ends because the server is another one, or has forgotten.
    BeginsAgain,
    OrphanRollsBack {
        organization: usize,
    },
    OrphanCommits {
        organization: usize,
    },
    LateHoldVanishes,
    LateHoldLands,
    /// The group's new owner begins to read.
    Begins,
    Commits {
        organization: usize,
    },
    /// An opening flush, or a drain, locks the watermark, compares and writes.
    Locks {
        organization: usize,
    },
    /// The lane's next task begins.
    WritesAll {
        organization: usize,
    },
    WritesOne {
        organization: usize,
    },
    /// A held lane drains though records are pending.
    DrainsFirst {
        organization: usize,
    },
    DrainsOneFirst {
        organization: usize,
    },
    Arrives,
    MovesAnchor,
    ReadsAgain {
        from: i64,
    },
    Brought {
        to: i64,
    },
    FindsHeld {
        organization: usize,
    },
    /// The look for held records finds that the server is another one: also where nothing else is to be done.
    FindsOtherServer,
    // From here on something goes wrong.
    CommitAnswerLost {
        organization: usize,
    },
    StatementAnswerLost {
        organization: usize,
        is_late: bool,
    },
    ArrivesWithoutRoom,
    BroughtWithoutRoom {
        takes: usize,
    },
    BroughtNothing,
    AnchorAnswerLost,
    SchemaBreaks,
    Removed,
    DrainedByAPerson {
        organization: usize,
    },
    MovesToAnother,
    Crashes,
    StandbyStops,
    StandbyTakesOver,
}

impl What {
    /// Whether it does not happen once nothing goes wrong any more.
    pub(super) fn is_trouble(self) -> bool {
        self >= Self::CommitAnswerLost { organization: 0 }
    }
}

/// What a step leads to; `None`: it cannot happen.
pub(super) type Next = Option<Result<State, Violation>>;

/// Calls `each` with every step from a state, and what it leads to.
pub(super) fn steps(state: &State, config: &Config, each: &mut impl FnMut(Step, Result<State, Violation>)) {
    let mut offer = |loader, what, next: Next| {
        if let Some(next) = next {
            each(Step { loader, what }, next.and_then(|next| next.checked(config)));
        }
    };
    server(state, config, &mut |what, next| offer(None, what, next));
    for loader in 0..state.loaders.len() {
        group(state, loader, &mut |what, next| offer(Some(loader), what, next));
        if let Some(reader) = &state.loaders[loader] {
            let mut offer = |what, next| offer(Some(loader), what, next);
            let at = writer::At { state, config, loader, reader };
            at.memory(&mut offer);
            if is_other_server(state, config, reader) {
                offer(What::BeginsAgain, ended(state, loader));
            } else {
                at.database(&mut offer);
                if reader.identity != state.database.identity {
                    offer(What::FindsOtherServer, ended(state, loader));
                }
            }
        }
    }
}

/// Connections that were made to another server are gone, and a new one shows whose it is.
fn is_other_server(state: &State, config: &Config, loader: &Loader) -> bool {
    !config.has_pooler
        && loader.identity != state.database.identity
        && keeps(Rule::IdentityGoesWithConnection)
}

/// What happens without a loader.
fn server(state: &State, config: &Config, offer: &mut impl FnMut(What, Next)) {
    let faults = state.faults;
    let spend = |faults| State { faults, ..state.clone() };
    if state.is_broken {
        offer(What::SchemaHeals, Some(Ok(State { is_broken: false, ..state.clone() })));
    } else if faults.breaks > 0 && !state.is_removed {
        let next = spend(Faults { breaks: faults.breaks - 1, ..faults });
        offer(What::SchemaBreaks, Some(Ok(State { is_broken: true, ..next })));
    }
    for organization in 0..config.organizations() {
        if let Some(Open { loader: None, transaction, .. }) = state.open[organization] {
            let mut gone = state.clone();
            gone.open[organization] = None;
            offer(What::OrphanRollsBack { organization }, Some(Ok(gone.clone())));
            let committed = gone.database_mut().commit(organization, transaction);
            offer(What::OrphanCommits { organization }, Some(committed.map(|()| gone)));
        }
        if faults.drains > 0 && state.open[organization].is_none() && state.database.any_held(organization) {
            let mut next = spend(Faults { drains: faults.drains - 1, ..faults });
            let database = next.database_mut();
            let read = database.first_held(organization, 1);
            let drain = database.drain(organization, read);
            let drained = database.commit(organization, drain);
            offer(What::DrainedByAPerson { organization }, Some(drained.map(|()| next)));
        }
    }
    if let Some((organization, records)) = state.late_hold {
        let gone = State { late_hold: None, ..state.clone() };
        offer(What::LateHoldVanishes, keeps(Rule::HoldBeforeOffset).then(|| Ok(gone.clone())));
        let mut landed = gone;
        landed.database_mut().hold(organization, records, state.is_removed && organization == 0);
        offer(What::LateHoldLands, Some(Ok(landed)));
    }
    // Dropping the schema waits for the transaction that uses it.
    if faults.removals > 0 && state.open[0].is_none() {
        let mut next = spend(Faults { removals: faults.removals - 1, ..faults });
        (next.is_removed, next.is_broken) = (true, false);
        next.database_mut().remove(0);
        offer(What::Removed, Some(Ok(next)));
    }
    if faults.rewinds > 0 && state.standby.is_none() {
        let standby = Some(Rc::clone(&state.database));
        offer(What::StandbyStops, Some(Ok(State { standby, ..state.clone() })));
    }
    if let Some(standby) = state.standby.as_ref().filter(|_| faults.rewinds > 0) {
        let mut next = spend(Faults { rewinds: faults.rewinds - 1, ..faults });
        let identity = state.database.identity + 1;
        next.database = Rc::new(database::Database { identity, ..(**standby).clone() });
        next.standby = None;
        next.late_hold = None;
        writer::connections_are_lost(&mut next);
        offer(What::StandbyTakesOver, Some(Ok(next)));
    }
}

/// What the group does to a loader.
fn group(state: &State, loader: usize, offer: &mut impl FnMut(What, Next)) {
    let (faults, is_owner) = (state.faults, state.owner == loader);
    match (&state.loaders[loader], is_owner) {
        (None, true) => offer(What::Begins, Some(Ok(begun(state, loader)))),
        (Some(_), false) => offer(What::Revoked, ended(state, loader)),
        (None, false) | (Some(_), true) => {}
    }
    if is_owner && faults.moves > 0 {
        let next = State { faults: Faults { moves: faults.moves - 1, ..faults }, ..state.clone() };
        offer(What::MovesToAnother, Some(Ok(State { owner: 1 - loader, ..next })));
    }
    if state.loaders[loader].is_some() && faults.crashes > 0 {
        let next = State { faults: Faults { crashes: faults.crashes - 1, ..faults }, ..state.clone() };
        offer(What::Crashes, ended(&next, loader));
    }
}

fn begun(state: &State, loader: usize) -> State {
    let mut next = state.clone();
    let anchor = state.database.anchors[0];
    let start = match keeps(Rule::BeginAtAnchor) {
        true => anchor,
        false => Some(state.committed).filter(|committed| *committed > 0),
    };
    next.loaders[loader] = Some(Rc::new(Loader {
        partition: Partition::new(POSITION, 0, start.map(database::anchor), 0),
        identity: state.database.identity,
        anchor,
        runs: [None; 2],
        again: None,
    }));
    next
}

/// Everything is forgotten but what reached the server.
fn ended(state: &State, loader: usize) -> Next {
    let mut next = state.clone();
    next.loaders[loader] = None;
    for open in next.open.iter_mut().flatten() {
        open.loader = open.loader.filter(|of| *of != loader);
    }
    Some(Ok(next))
}
