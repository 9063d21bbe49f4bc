//! What can happen next: every step of every part, from one state.
//!
//! Waiting for a server that is away changes nothing, so it is no step.

use std::fmt;

use super::rule::{Rule, Rules};
use super::state::{Faults, LOADERS, Lane, Loader, Offsets, RECORDS, State, Transaction};

/// One step, for people.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) loader: Option<usize>,
    pub(super) what: What,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loader {
            Some(0) => write!(f, "loader A: {:?}", self.what),
            Some(_) => write!(f, "loader B: {:?}", self.what),
            None => write!(f, "          {:?}", self.what),
        }
    }
}

/// What happens. In order of urgency: with nothing going wrong any more, the first that can happen does. From
/// [`What::SchemaBreaks`] on it is trouble, which then does not happen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    SchemaHeals,
    OrphanRollsBack,
    LateHoldVanishes,
    /// A loader hears that it lost the partition: nothing is committed.
    Lost,
    Assigned,
    Route,
    Open,
    OpenReadsWatermark,
    OpenReadsHeld,
    Flush {
        records: u8,
    },
    /// The watermark is elsewhere.
    FlushIsStale,
    Commit,
    Hold {
        records: u8,
    },
    DrainReads {
        records: u8,
    },
    DrainFindsNone,
    DrainWrites,
    WriteDown,
    /// The organization was removed.
    SchemaGone,
    CommitOffset,
    OpenLaneWithHeld,
    Idle,
    SchemaBreaks,
    /// A moment before, or at the commit; or a lock was not to be had.
    Refused,
    /// A lane in trouble goes on with what is new.
    GoLivePastHeld,
    /// The connection broke before the commit was asked for.
    Disconnected,
    CommitAnswerLost,
    HoldAnswerLost {
        records: u8,
    },
    OrphanCommits,
    LateHoldLands,
    Revoked,
    Crash,
    Removed,
}

impl What {
    /// Whether it goes on happening once nothing goes wrong any more.
    pub(super) fn is_trouble(self) -> bool {
        self >= Self::SchemaBreaks
    }
}

/// What a rule is there to prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// A record's rows were stored a second time.
    Doubled,
    /// The log's offset is past a record that is neither stored, held nor written down.
    Lost,
    /// The watermark covers a record that was not stored, or one was stored before an earlier one.
    Skipped,
    /// The watermark moved back.
    MovedBack,
    /// A record is held for a removed organization, and nobody will ever look.
    HeldForNobody,
    /// Nothing goes wrong any more, and still not everything is stored.
    DoesNotSettle,
}

/// Calls `each` with every step from a state, and what it leads to.
pub(super) fn steps(state: &State, rules: Rules, each: &mut impl FnMut(Step, Result<State, Violation>)) {
    let mut each = |loader, what, next: Result<State, Violation>| {
        each(Step { loader, what }, next.and_then(checked));
    };
    servers(state, rules, &mut each);
    for (loader, is) in state.loaders.iter().enumerate() {
        let mut each = |what, next| each(Some(loader), what, next);
        let at = At { state, rules, loader, is: *is };
        at.group(&mut each);
        if is.believes {
            at.receive_loop(&mut each);
            at.lane(&mut each);
        }
    }
}

fn checked(state: State) -> Result<State, Violation> {
    let mut all_before_stored = true;
    for offset in 0..RECORDS {
        let times = state.stored[usize::from(offset)];
        if times > 1 {
            return Err(Violation::Doubled);
        }
        if offset < state.committed && !state.is_safe(offset) {
            return Err(Violation::Lost);
        }
        let is_stored = times == 1;
        if !is_stored && offset < state.watermark || is_stored && !all_before_stored {
            return Err(Violation::Skipped);
        }
        all_before_stored = is_stored;
    }
    if state.removed && !state.held.is_empty() {
        return Err(Violation::HeldForNobody);
    }
    Ok(state)
}

/// What happens without a loader.
fn servers(
    state: &State,
    rules: Rules,
    each: &mut impl FnMut(Option<usize>, What, Result<State, Violation>),
) {
    let faults = state.faults;
    if state.broken {
        each(None, What::SchemaHeals, Ok(State { broken: false, ..*state }));
    } else if faults.breaks > 0 && !state.removed {
        let faults = Faults { breaks: faults.breaks - 1, ..faults };
        each(None, What::SchemaBreaks, Ok(State { broken: true, faults, ..*state }));
    }
    if let Some(orphan @ Transaction { client: None, .. }) = state.transaction {
        each(None, What::OrphanRollsBack, Ok(State { transaction: None, ..*state }));
        each(None, What::OrphanCommits, commit(*state, orphan));
    }
    if !state.late_hold.is_empty() {
        let gone = State { late_hold: Offsets::NONE, ..*state };
        each(None, What::LateHoldVanishes, Ok(gone));
        each(None, What::LateHoldLands, Ok(hold(gone, rules, state.late_hold)));
    }
    // Dropping the schema waits for the transaction that uses it.
    if faults.removals > 0 && state.transaction.is_none() {
        let faults = Faults { removals: faults.removals - 1, ..faults };
        let written_down = state.written_down.with(state.held);
        let held = Offsets::NONE;
        let removed = State { removed: true, broken: false, held, written_down, faults, ..*state };
        each(None, What::Removed, Ok(removed));
    }
}

/// All of the transaction, at once.
fn commit(mut state: State, open: Transaction) -> Result<State, Violation> {
    state.transaction = None;
    for offset in 0..RECORDS {
        if open.rows.has(offset) {
            state.stored[usize::from(offset)] += 1;
        }
    }
    if !open.rows.is_empty() {
        if open.moves_watermark_to < state.watermark {
            // Told before what else it did: going back is what writes twice.
            return Err(Violation::MovedBack);
        }
        state.watermark = open.moves_watermark_to;
    }
    state.held = state.held.from(open.deletes_below);
    Ok(state)
}

/// The `INSERT` with its trigger.
fn hold(mut state: State, rules: Rules, records: Offsets) -> State {
    if !state.removed || !rules.keep(Rule::HoldAsksForRemoval) {
        state.held = state.held.with(records);
    }
    if !rules.keep(Rule::HoldLeavesWatermark) {
        state.watermark = state.watermark.max(records.end());
    }
    state
}

/// One loader in a state.
struct At<'a> {
    state: &'a State,
    rules: Rules,
    loader: usize,
    is: Loader,
}

impl At<'_> {
    fn with(&self, is: Loader) -> State {
        let mut state = *self.state;
        state.loaders[self.loader] = is;
        state
    }

    fn with_lane(&self, lane: Lane) -> State {
        self.with(Loader { lane, ..self.is })
    }

    /// The loader forgets; what it asked of Postgres last may still come to be.
    fn gone(&self) -> State {
        let mut state = self.with(Loader::IDLE);
        if let Some(open) = &mut state.transaction
            && open.client == Some(self.loader)
        {
            open.client = None;
        }
        state
    }

    /// What the consumer group does to this loader.
    fn group(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let faults = state.faults;
        if !self.is.believes {
            let start = state.committed;
            let is = Loader { believes: true, pending: start, taken: start, lane: Lane::Ended };
            let assigned = State { owner: Some(self.loader), ..self.with(is) };
            if state.owner.is_none() {
                each(What::Assigned, Ok(assigned));
            } else if faults.moves > 0 {
                // The owner is not told: both believe.
                let faults = Faults { moves: faults.moves - 1, ..faults };
                each(What::Assigned, Ok(State { faults, ..assigned }));
            }
            return;
        }
        let owner = if state.owner == Some(self.loader) { None } else { state.owner };
        if owner.is_some() {
            each(What::Lost, Ok(self.gone()));
        } else if faults.moves > 0 {
            let faults = Faults { moves: faults.moves - 1, ..faults };
            let revoked = State { owner, committed: self.is.pending, faults, ..self.gone() };
            each(What::Revoked, Ok(revoked));
        }
        if faults.crashes > 0 {
            let faults = Faults { crashes: faults.crashes - 1, ..faults };
            each(What::Crash, Ok(State { owner, faults, ..self.gone() }));
        }
    }

    fn receive_loop(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let is = self.is;
        if is.taken < RECORDS {
            let lane = if is.lane == Lane::Ended { Lane::Reopen } else { is.lane };
            let routed = Loader { taken: is.taken + 1, lane, ..is };
            each(What::Route, Ok(self.with(self.passed_over(routed))));
        }
        if self.state.committed != is.pending {
            each(What::CommitOffset, Ok(State { committed: is.pending, ..*self.state }));
        }
        if is.lane == Lane::Ended && !self.state.held.is_empty() {
            each(What::OpenLaneWithHeld, Ok(self.with_lane(Lane::Reopen)));
        }
    }

    /// Without what a live lane's watermark covers.
    fn passed_over(&self, is: Loader) -> Loader {
        match is.lane {
            Lane::Live(watermark) if self.rules.keep(Rule::SkipCovered) => {
                Loader { pending: is.pending.max(watermark.min(is.taken)), ..is }
            }
            _ => is,
        }
    }

    fn lane(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        match self.is.lane {
            Lane::Ended => {}
            Lane::Reopen => self.open(each),
            Lane::WatermarkRead(watermark) => {
                let lane = if self.state.held.is_empty() { Lane::Live(watermark) } else { Lane::Held };
                each(What::OpenReadsHeld, Ok(self.opened(lane)));
            }
            Lane::NoneHeldRead => {
                each(What::OpenReadsWatermark, Ok(self.opened(Lane::Live(self.state.watermark))));
            }
            Lane::Live(watermark) if self.is.has_pending() => self.flush(watermark, each),
            Lane::Live(_) => each(What::Idle, Ok(self.with_lane(Lane::Ended))),
            Lane::Flushing(before) => self.commit_flush(before, each),
            Lane::Held => {
                self.hold(each);
                self.read_held(each);
            }
            Lane::Draining(held) => self.drain(held, each),
            Lane::DrainWriting => self.commit_drain(each),
            Lane::Unattributed => self.write_down(each),
        }
    }

    fn open(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        if state.removed {
            each(What::Open, Ok(self.with_lane(Lane::Unattributed)));
        }
        let held = self.with_lane(Lane::Held);
        if state.removed {
            // Nobody said so yet.
            each(What::SchemaGone, Ok(held));
            return;
        }
        if state.broken {
            each(What::Refused, Ok(held));
        }
        if !self.rules.keep(Rule::OneSnapshot) {
            each(What::OpenReadsWatermark, Ok(self.with_lane(Lane::WatermarkRead(state.watermark))));
            let lane = if state.held.is_empty() { Lane::NoneHeldRead } else { Lane::Held };
            each(What::OpenReadsHeld, Ok(self.with_lane(lane)));
            return;
        }
        // A schema can be broken for writing only.
        let none_held = state.held.is_empty() || !self.rules.keep(Rule::OpenByReadingHeld);
        let lane = if none_held { Lane::Live(state.watermark) } else { Lane::Held };
        each(What::Open, Ok(self.opened(lane)));
    }

    fn opened(&self, lane: Lane) -> State {
        self.with(self.passed_over(Loader { lane, ..self.is }))
    }

    /// Up to the commit: from there on another one's wait for the row's lock ends in its own time-out.
    fn flush(&self, watermark: u8, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let (is_locked, held) = (state.transaction.is_some(), self.with_lane(Lane::Held));
        if state.removed {
            each(What::SchemaGone, Ok(held));
            return;
        }
        if is_locked || state.broken {
            each(What::Refused, Ok(held));
        }
        if is_locked {
            return;
        }
        if self.rules.keep(Rule::CompareWatermark) && state.watermark != watermark {
            each(What::FlushIsStale, Ok(self.with_lane(Lane::Reopen)));
            return;
        }
        if state.broken {
            return;
        }
        for end in self.is.pending + 1..=self.is.taken {
            let open = Transaction {
                client: Some(self.loader),
                rows: Offsets::range(self.is.pending, end),
                moves_watermark_to: end,
                deletes_below: 0,
            };
            let flushing = self.with_lane(Lane::Flushing(watermark));
            let what = What::Flush { records: end - self.is.pending };
            each(what, Ok(State { transaction: Some(open), ..flushing }));
        }
    }

    fn commit_flush(&self, before: u8, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let Some(open) = state.transaction else { return };
        let end = open.moves_watermark_to;
        let stored = self.with(Loader { pending: end, lane: Lane::Live(end), ..self.is });
        each(What::Commit, commit(stored, open));
        if state.broken {
            each(What::Refused, Ok(State { transaction: None, ..self.with_lane(Lane::Held) }));
        }
        let Some(faults) = self.one_answer_less() else { return };
        let rolled_back = State { transaction: None, faults, ..self.with_lane(Lane::Live(before)) };
        each(What::Disconnected, Ok(rolled_back));
        let reopen =
            if self.rules.keep(Rule::LostAnswerIsRead) { self.with_lane(Lane::Reopen) } else { stored };
        let transaction = Some(Transaction { client: None, ..open });
        each(What::CommitAnswerLost, Ok(State { transaction, faults, ..reopen }));
    }

    fn hold(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        for end in self.is.pending + 1..=self.is.taken {
            let records = end - self.is.pending;
            let to_hold = Offsets::range(self.is.pending, end);
            let finished = self.with(Loader { pending: end, ..self.is });
            if !self.rules.keep(Rule::HoldBeforeOffset) {
                let late_hold = state.late_hold.with(to_hold);
                each(What::Hold { records }, Ok(State { late_hold, ..finished }));
                continue;
            }
            if state.removed && self.rules.keep(Rule::HoldAsksForRemoval) {
                each(What::Hold { records }, Ok(self.with_lane(Lane::Unattributed)));
                return;
            }
            each(What::Hold { records }, Ok(hold(finished, self.rules, to_hold)));
            if let Some(faults) = self.one_answer_less() {
                let late_hold = state.late_hold.with(to_hold);
                each(What::HoldAnswerLost { records }, Ok(State { late_hold, faults, ..*state }));
            }
        }
        let may_write = !state.broken && !state.removed && !state.held.is_empty();
        if self.is.has_pending() && may_write && !self.rules.keep(Rule::QueueBehindHeld) {
            each(What::GoLivePastHeld, Ok(self.opened(Lane::Live(state.watermark))));
        }
    }

    /// The probe, up to the first held records.
    fn read_held(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        if state.removed {
            each(What::DrainFindsNone, Ok(self.with_lane(Lane::Unattributed)));
        }
        if self.rules.keep(Rule::DrainLock) && is_draining(state) {
            return;
        }
        if state.held.is_empty() {
            each(What::DrainFindsNone, Ok(self.with_lane(Lane::Reopen)));
            return;
        }
        let mut some = if self.rules.keep(Rule::DrainInOrder) {
            state.held.first()
        } else {
            state.held.from(state.held.end() - 1)
        };
        loop {
            let records = u8::try_from(some.0.count_ones()).expect("eight at most");
            each(What::DrainReads { records }, Ok(self.with_lane(Lane::Draining(some))));
            if some == state.held || !self.rules.keep(Rule::DrainInOrder) {
                return;
            }
            some = some.with(state.held.without(some).first());
        }
    }

    /// The probe, from the lock on the watermark up to the commit.
    fn drain(&self, held: Offsets, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let (is_locked, refused) = (state.transaction.is_some(), self.with_lane(Lane::Held));
        if state.removed {
            each(What::SchemaGone, Ok(refused));
            return;
        }
        if is_locked || state.broken {
            each(What::Refused, Ok(refused));
        }
        let covered = if self.rules.keep(Rule::DrainSkipsCovered) { state.watermark } else { 0 };
        let rows = held.from(covered);
        if is_locked || state.broken && !rows.is_empty() {
            return;
        }
        let open = Transaction {
            client: Some(self.loader),
            rows,
            moves_watermark_to: rows.end(),
            deletes_below: held.end(),
        };
        let mut writing = State { transaction: Some(open), ..self.with_lane(Lane::DrainWriting) };
        if !self.rules.keep(Rule::DrainDeletesWithRows) {
            writing.held = writing.held.from(open.deletes_below);
        }
        each(What::DrainWrites, Ok(writing));
    }

    fn commit_drain(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let Some(open) = state.transaction else { return };
        let held = self.with_lane(Lane::Held);
        each(What::Commit, commit(held, open));
        if state.broken {
            each(What::Refused, Ok(State { transaction: None, ..held }));
        }
        if let Some(faults) = self.one_answer_less() {
            let transaction = Some(Transaction { client: None, ..open });
            each(What::CommitAnswerLost, Ok(State { transaction, faults, ..held }));
        }
    }

    fn write_down(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        if self.is.has_pending() {
            let first = Offsets::range(self.is.pending, self.is.pending + 1);
            let finished = self.with(Loader { pending: self.is.pending + 1, ..self.is });
            let written_down = self.state.written_down.with(first);
            each(What::WriteDown, Ok(State { written_down, ..finished }));
        }
    }

    fn one_answer_less(&self) -> Option<Faults> {
        let faults = self.state.faults;
        let lost_answers = faults.lost_answers.checked_sub(1)?;
        Some(Faults { lost_answers, ..faults })
    }
}

/// Whether the drain's advisory lock is taken: a transaction that outlived its client keeps it.
fn is_draining(state: &State) -> bool {
    let by_orphan = state.transaction.is_some_and(|open| open.client.is_none() && open.deletes_below > 0);
    let of_loader = |loader: &Loader| matches!(loader.lane, Lane::Draining(_) | Lane::DrainWriting);
    by_orphan || (0..LOADERS).any(|loader| of_loader(&state.loaders[loader]))
}
