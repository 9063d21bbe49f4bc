//! What can happen next: every step of every part, from one state.
//!
//! Waiting for a server that is away changes nothing, so it is no step.

use std::fmt;

use super::rule::{Rule, Rules};
use super::state::{Faults, LOADERS, Lane, Loader, Offsets, Probe, RECORDS, Spill, State, Transaction};

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
    FoundHeld,
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
    /// A spill holds the first of what waits in front of it: the flush's own records, and those behind them.
    SpillCopies {
        records: u8,
    },
    /// It holds some of what comes.
    Spill {
        from: u8,
        to: u8,
    },
    /// It was about to hold that when the flush ended, which is the next step.
    SpillCutOff {
        from: u8,
        to: u8,
    },
    /// Records were found to be held, and are so no longer.
    FoundHeldBefore,
    OrphanCommits,
    LateHoldLands,
    /// By a person, or by a loader that sees to earlier generations.
    DrainedByAnother {
        records: u8,
    },
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
    let is_free = state.transaction.is_none() && !state.broken && !state.removed;
    if is_free && !(rules.keep(Rule::DrainLock) && is_draining(state)) {
        for some in state.held.beginnings() {
            let what = What::DrainedByAnother { records: some.count() };
            each(None, what, commit(*state, drain(state, rules, some, None)));
        }
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

/// What a drain of these records writes and deletes, once it has the watermark locked.
fn drain(state: &State, rules: Rules, held: Offsets, client: Option<usize>) -> Transaction {
    let covered = if rules.keep(Rule::DrainSkipsCovered) { state.watermark } else { 0 };
    let rows = held.from(covered);
    Transaction { client, rows, moves_watermark_to: rows.end(), deletes_below: held.end() }
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

    fn has_pending(&self) -> bool {
        !self.is.pending.is_empty()
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
            let is = Loader { believes: true, pending: Offsets::NONE, taken: start, lane: Lane::Ended };
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
            let revoked = State { owner, committed: self.is.next_offset(), faults, ..self.gone() };
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
            let pending = is.pending.with(Offsets::range(is.taken, is.taken + 1));
            let routed = Loader { pending, taken: is.taken + 1, lane, ..is };
            each(What::Route, Ok(self.with(self.passed_over(routed))));
        }
        if self.state.committed != is.next_offset() {
            each(What::CommitOffset, Ok(State { committed: is.next_offset(), ..*self.state }));
        }
        match is.lane {
            Lane::Ended if !self.state.held.is_empty() => {
                each(What::OpenLaneWithHeld, Ok(self.with_lane(Lane::Reopen)));
            }
            Lane::Live(_, Spill::None) if self.rules.keep(Rule::LookBesideLive) => {
                let none_held = self.state.held.is_empty();
                let what = if none_held { What::FoundHeldBefore } else { What::FoundHeld };
                each(what, Ok(self.with_lane(Lane::Reopen)));
            }
            _ => {}
        }
    }

    /// Without what a live lane's watermark covers.
    fn passed_over(&self, is: Loader) -> Loader {
        match is.lane {
            Lane::Live(watermark, _) if self.rules.keep(Rule::SkipCovered) => {
                Loader { pending: is.pending.from(watermark), ..is }
            }
            _ => is,
        }
    }

    fn lane(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        match self.is.lane {
            Lane::Ended => {}
            Lane::Reopen => self.open(each),
            Lane::WatermarkRead(watermark) => {
                let lane = self.live_unless_held(watermark);
                each(What::OpenReadsHeld, Ok(self.opened(lane)));
            }
            Lane::NoneHeldRead => {
                let lane = Lane::Live(self.state.watermark, Spill::None);
                each(What::OpenReadsWatermark, Ok(self.opened(lane)));
            }
            Lane::Live(watermark, spill) if self.has_pending() => {
                self.flush(watermark, spill, each);
                let first = Offsets::range(0, self.is.next_offset() + 1);
                self.spill(first, spill, |spill| Lane::Live(watermark, spill), each);
            }
            Lane::Live(..) => each(What::Idle, Ok(self.with_lane(Lane::Ended))),
            Lane::Flushing(before, spill) => {
                self.commit_flush(before, spill, each);
                let flushed = self.state.transaction.map_or(Offsets::NONE, |open| open.rows);
                self.spill(flushed, spill, |spill| Lane::Flushing(before, spill), each);
            }
            Lane::Held => {
                self.hold(each);
                self.read_held(Probe::Beside, each);
            }
            Lane::LastProbe => self.read_held(Probe::Last, each),
            Lane::Draining(held, probe) => {
                self.hold_beside(probe, each);
                self.drain(held, probe, each);
            }
            Lane::DrainWriting(probe) => {
                self.hold_beside(probe, each);
                self.commit_drain(probe, each);
            }
            Lane::Unattributed => self.write_down(each),
        }
    }

    fn live_unless_held(&self, watermark: u8) -> Lane {
        let none_held = self.state.held.is_empty() || !self.rules.keep(Rule::OpenByReadingHeld);
        if none_held { Lane::Live(watermark, Spill::None) } else { Lane::Held }
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
        each(What::Open, Ok(self.opened(self.live_unless_held(state.watermark))));
    }

    fn opened(&self, lane: Lane) -> State {
        self.with(self.passed_over(Loader { lane, ..self.is }))
    }

    /// Up to the commit: from there on another one's wait for the row's lock ends in its own time-out.
    fn flush(&self, watermark: u8, spill: Spill, each: &mut impl FnMut(What, Result<State, Violation>)) {
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
            each(What::FlushIsStale, Ok(self.with_lane(self.unless_spilled(spill, Lane::Reopen))));
            return;
        }
        if state.broken {
            return;
        }
        for rows in self.is.pending.beginnings() {
            // It was cut before anything behind it was held.
            let has_gap = rows != Offsets::range(self.is.next_offset(), rows.end());
            if spill != Spill::None && has_gap {
                return;
            }
            let client = Some(self.loader);
            let open = Transaction { client, rows, moves_watermark_to: rows.end(), deletes_below: 0 };
            let flushing = self.with_lane(Lane::Flushing(watermark, spill));
            let what = What::Flush { records: rows.count() };
            each(what, Ok(State { transaction: Some(open), ..flushing }));
        }
    }

    /// Where a flush leads: to `lane`, unless something was held meanwhile.
    fn unless_spilled(&self, spill: Spill, lane: Lane) -> Lane {
        if spill != Spill::None && self.rules.keep(Rule::SpillLeavesLive) { Lane::Held } else { lane }
    }

    fn commit_flush(&self, before: u8, spill: Spill, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let Some(open) = state.transaction else { return };
        let live = |watermark| self.unless_spilled(spill, Lane::Live(watermark, Spill::None));
        let pending = self.is.pending.without(open.rows);
        let stored = self.with(Loader { pending, lane: live(open.moves_watermark_to), ..self.is });
        each(What::Commit, commit(stored, open));
        if state.broken {
            each(What::Refused, Ok(State { transaction: None, ..self.with_lane(Lane::Held) }));
        }
        let Some(faults) = self.one_answer_less() else { return };
        let rolled_back = State { transaction: None, faults, ..self.with_lane(live(before)) };
        each(What::Disconnected, Ok(rolled_back));
        let reopen = if self.rules.keep(Rule::LostAnswerIsRead) {
            self.with_lane(self.unless_spilled(spill, Lane::Reopen))
        } else {
            stored
        };
        let transaction = Some(Transaction { client: None, ..open });
        each(What::CommitAnswerLost, Ok(State { transaction, faults, ..reopen }));
    }

    /// Beside the flush of at least these records, and in order.
    fn spill(
        &self,
        flushed: Offsets,
        spill: Spill,
        lane: impl Fn(Spill) -> Lane,
        each: &mut impl FnMut(What, Result<State, Violation>),
    ) {
        let (state, is, mut faults) = (self.state, self.is, self.state.faults);
        match spill {
            Spill::None if faults.spills > 0 => faults.spills -= 1,
            Spill::Begun => {}
            Spill::None | Spill::CutOff => return,
        }
        let begun = State { faults, ..self.with_lane(lane(Spill::Begun)) };
        let cut_off = State { faults, ..self.with_lane(lane(Spill::CutOff)) };
        let is_removed = state.removed && self.rules.keep(Rule::HoldAsksForRemoval);
        if self.rules.keep(Rule::SpillFromTheFront) {
            for copies in is.pending.beginnings() {
                let what = What::SpillCopies { records: copies.count() };
                each(what, Ok(if is_removed { cut_off } else { hold(begun, self.rules, copies) }));
            }
        }
        // What it held before has left `pending`, and what is held next comes behind that.
        let held_up_to = Offsets::range(0, is.taken).without(is.pending).end();
        for from in flushed.end().max(held_up_to)..is.taken {
            let before = is.pending.without(is.pending.from(from));
            let is_first = before.beginnings().all(|some| state.is_safe(some.end() - 1));
            if self.rules.keep(Rule::SpillFromTheFront) && !is_first {
                return;
            }
            for to in from + 1..=is.taken {
                let to_hold = Offsets::range(from, to);
                if let Some(lost_answers) = faults.lost_answers.checked_sub(1) {
                    let late_hold = state.late_hold.with(to_hold);
                    let faults = Faults { lost_answers, ..faults };
                    each(What::SpillCutOff { from, to }, Ok(State { late_hold, faults, ..cut_off }));
                }
                let what = What::Spill { from, to };
                if is_removed {
                    each(what, Ok(cut_off));
                    continue;
                }
                let finished = Loader { pending: is.pending.without(to_hold), ..begun.loaders[self.loader] };
                let held = State { faults, ..self.with(finished) };
                each(what, Ok(hold(held, self.rules, to_hold)));
            }
        }
    }

    fn hold(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        for to_hold in self.is.pending.beginnings() {
            let records = to_hold.count();
            let finished = self.with(Loader { pending: self.is.pending.without(to_hold), ..self.is });
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
        if self.has_pending() && may_write && !self.rules.keep(Rule::QueueBehindHeld) {
            each(What::GoLivePastHeld, Ok(self.opened(Lane::Live(state.watermark, Spill::None))));
        }
    }

    fn hold_beside(&self, probe: Probe, each: &mut impl FnMut(What, Result<State, Violation>)) {
        match probe {
            Probe::Beside => self.hold(each),
            Probe::Last => {}
        }
    }

    /// The probe, up to the first held records.
    fn read_held(&self, probe: Probe, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        if state.removed {
            each(What::DrainFindsNone, Ok(self.with_lane(Lane::Unattributed)));
        }
        if self.rules.keep(Rule::DrainLock) && is_draining(state) {
            if probe == Probe::Last {
                each(What::Refused, Ok(self.with_lane(Lane::Held)));
            }
            return;
        }
        if state.held.is_empty() {
            let is_last = probe == Probe::Last || !self.rules.keep(Rule::LastProbeAlone);
            let lane = if is_last { Lane::Reopen } else { Lane::LastProbe };
            each(What::DrainFindsNone, Ok(self.with_lane(lane)));
            return;
        }
        let last_alone = state.held.from(state.held.end() - 1);
        let in_order = self.rules.keep(Rule::DrainInOrder);
        for some in if in_order { state.held } else { last_alone }.beginnings() {
            let what = What::DrainReads { records: some.count() };
            each(what, Ok(self.with_lane(Lane::Draining(some, probe))));
        }
    }

    /// The probe, from the lock on the watermark up to the commit.
    fn drain(&self, held: Offsets, probe: Probe, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let (is_locked, refused) = (state.transaction.is_some(), self.with_lane(Lane::Held));
        if state.removed {
            each(What::SchemaGone, Ok(refused));
            return;
        }
        if is_locked || state.broken {
            each(What::Refused, Ok(refused));
        }
        let open = drain(state, self.rules, held, Some(self.loader));
        if is_locked || state.broken && !open.rows.is_empty() {
            return;
        }
        let mut writing = State { transaction: Some(open), ..self.with_lane(Lane::DrainWriting(probe)) };
        if !self.rules.keep(Rule::DrainDeletesWithRows) {
            writing.held = writing.held.from(open.deletes_below);
        }
        each(What::DrainWrites, Ok(writing));
    }

    fn commit_drain(&self, probe: Probe, each: &mut impl FnMut(What, Result<State, Violation>)) {
        let state = self.state;
        let Some(open) = state.transaction else { return };
        let held = self.with_lane(Lane::Held);
        let goes_on = match probe {
            Probe::Beside => Lane::Held,
            Probe::Last => Lane::LastProbe,
        };
        each(What::Commit, commit(self.with_lane(goes_on), open));
        if state.broken {
            each(What::Refused, Ok(State { transaction: None, ..held }));
        }
        if let Some(faults) = self.one_answer_less() {
            let transaction = Some(Transaction { client: None, ..open });
            each(What::CommitAnswerLost, Ok(State { transaction, faults, ..held }));
        }
    }

    fn write_down(&self, each: &mut impl FnMut(What, Result<State, Violation>)) {
        if self.has_pending() {
            let first = self.is.pending.first();
            let finished = self.with(Loader { pending: self.is.pending.without(first), ..self.is });
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
    let of_loader = |loader: &Loader| matches!(loader.lane, Lane::Draining(..) | Lane::DrainWriting(_));
    by_orphan || (0..LOADERS).any(|loader| of_loader(&state.loaders[loader]))
}
