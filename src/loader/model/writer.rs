//! What a loader does: what the log brings to its lanes, and what writers do for them.

use super::database::{Offsets, Violation};
use super::rule::{Rule, keeps};
use super::state::{Config, Faults, LATER, Loader, Open, Run, State, key, next_offset, record};
use super::step::{Next, What};
use crate::loader::lane::{
    self, BatchLimits, Expected, First, Kept, Nobody, Receipt, Refused, Room, Task, Told, Wants,
};

const ALL: BatchLimits = BatchLimits { rows: usize::MAX, bytes: usize::MAX };
const ONE: BatchLimits = BatchLimits { rows: 1, bytes: 1 };

/// A loader in a state.
pub(super) struct At<'a> {
    pub(super) state: &'a State,
    pub(super) config: &'a Config,
    pub(super) loader: usize,
    pub(super) reader: &'a Loader,
}

impl At<'_> {
    /// What needs no database.
    pub(super) fn memory(&self, offer: &mut impl FnMut(What, Next)) {
        let next_offset = self.reader.partition.next_offset();
        if next_offset < self.config.records() {
            offer(What::Arrives, Some(Ok(self.arrived(self.state.clone(), next_offset, Room::Free))));
            offer(
                What::ArrivesWithoutRoom,
                self.without_room().map(|next| Ok(self.arrived(next, next_offset, Room::None))),
            );
        }
        match self.reader.again {
            None => self.read_again(offer),
            Some((from, to)) => self.bring(from, to, offer),
        }
        for organization in 0..self.config.organizations() {
            if self.state.database.any_held(organization) {
                let mut next = self.state.clone();
                next.loader_mut(self.loader).lane_mut(organization).found_held();
                offer(What::FindsHeld { organization }, Some(Ok(next)));
            }
        }
    }

    fn without_room(&self) -> Option<State> {
        let faults = self.state.faults;
        let no_room = faults.no_room.checked_sub(1)?;
        Some(State { faults: Faults { no_room, ..faults }, ..self.state.clone() })
    }

    fn arrived(&self, mut next: State, offset: i64, room: Room) -> State {
        let key = key(self.config.organization(offset));
        next.loader_mut(self.loader).partition.arrive(key, record(offset), room);
        next
    }

    fn left_from(&self, organization: usize) -> Option<i64> {
        self.reader.lane(organization).and_then(lane::Lane::left_from)
    }

    /// The dispatcher reads again for one lane, and for those which left nothing before it.
    fn wanted(&self, from: i64) -> impl Iterator<Item = usize> {
        let is_wanted = move |left: i64| left >= from || !keeps(Rule::OfLane(lane::Rule::CatchUpWithoutGap));
        let lanes = 0..self.config.organizations();
        lanes.filter(move |organization| self.left_from(*organization).is_some_and(is_wanted))
    }

    fn read_again(&self, offer: &mut impl FnMut(What, Next)) {
        let mut froms: Vec<i64> = (0..self.config.organizations())
            .filter_map(|organization| self.left_from(organization))
            .collect();
        froms.dedup();
        for from in froms {
            let mut next = self.state.clone();
            let to = self.reader.partition.next_offset();
            for organization in self.wanted(from) {
                next.loader_mut(self.loader).lane_mut(organization).begin_to_catch_up(to);
            }
            next.loader_mut(self.loader).again = Some((from, to));
            offer(What::ReadsAgain { from }, Some(Ok(next)));
        }
    }

    fn bring(&self, from: i64, to: i64, offer: &mut impl FnMut(What, Next)) {
        for up_to in from + 1..=to {
            let what = if up_to == to { What::Brought { to } } else { What::Brought { to: up_to } };
            offer(what, Some(Ok(self.brought(self.state.clone(), from, up_to, usize::MAX))));
        }
        if let Some(next) = self.without_room() {
            offer(What::BroughtWithoutRoom { takes: 0 }, Some(Ok(self.brought(next.clone(), from, to, 0))));
            offer(What::BroughtWithoutRoom { takes: 1 }, Some(Ok(self.brought(next.clone(), from, to, 1))));
            let mut nothing = next;
            nothing.loader_mut(self.loader).again = None;
            offer(What::BroughtNothing, Some(Ok(nothing)));
        }
    }

    /// The log's records from `from` up to `to` go to their lanes, each of which has room for so many.
    fn brought(&self, mut next: State, from: i64, to: i64, takes: usize) -> State {
        for organization in self.wanted(from) {
            let records = self.config.of(organization).and(Offsets::below(to)).without(Offsets::below(from));
            let mut taken = 0;
            let lane = next.loader_mut(self.loader).lane_mut(organization);
            lane.catch_up(from, records.iter().map(record), to, |_, _| {
                taken += 1;
                if taken <= takes { Room::Free } else { Room::None }
            });
        }
        next.loader_mut(self.loader).again = None;
        next
    }

    /// What needs the database.
    pub(super) fn database(&self, offer: &mut impl FnMut(What, Next)) {
        self.anchor(offer);
        for organization in 0..self.config.organizations() {
            match self.reader.runs[organization] {
                None => {
                    let wants = self.reader.lane(organization).map(|lane| lane.wants(*LATER));
                    if wants == Some(Wants::Writer) {
                        for is_all in [true, false] {
                            self.begin(organization, is_all, First::Pending, offer);
                            self.begin(organization, is_all, First::DueDrain(*LATER), offer);
                        }
                    } else if self.reader.lane(organization).is_some_and(lane::Lane::went_back) {
                        let mut next = self.state.clone();
                        next.loaders[self.loader] = None;
                        offer(What::BeginsAgain, Some(self.orphaned(next)));
                    }
                }
                Some(Run::Writing) => self.commit(organization, offer),
                Some(run) => {
                    offer(What::Locks { organization }, self.lock(self.state.clone(), organization, run))
                }
            }
        }
    }

    fn anchor(&self, offer: &mut impl FnMut(What, Next)) {
        let mut next = self.state.clone();
        let loader = next.loader_mut(self.loader);
        let Some(to) = loader.partition.safe_place().map(next_offset) else { return };
        let (identity, from) = (loader.identity, loader.anchor);
        if from.is_some_and(|from| from >= to) {
            return;
        }
        if !next.database_mut().move_anchor(0, identity, from, to) {
            next.loaders[self.loader] = None;
            return offer(What::BeginsAgain, Some(self.orphaned(next)));
        }
        if let Some(lost_answers) = next.faults.lost_answers.checked_sub(1) {
            let faults = Faults { lost_answers, ..next.faults };
            offer(What::AnchorAnswerLost, Some(Ok(State { faults, ..next.clone() })));
        }
        next.loader_mut(self.loader).anchor = Some(to);
        next.committed = to;
        offer(What::MovesAnchor, Some(Ok(next)));
    }

    fn orphaned(&self, mut next: State) -> Result<State, Violation> {
        for open in next.open.iter_mut().flatten() {
            open.loader = open.loader.filter(|of| *of != self.loader);
        }
        Ok(next)
    }

    /// The lane's next task, up to the first moment at which another can come in between.
    fn begin(&self, organization: usize, is_all: bool, first: First, offer: &mut impl FnMut(What, Next)) {
        let mut next = self.state.clone();
        if !keeps(Rule::IdentityGoesWithConnection) {
            next.loader_mut(self.loader).identity = next.database.identity;
        }
        let lane = next.loader_mut(self.loader).lane_mut(organization);
        let task = lane.begin(if is_all { ALL } else { ONE }, first);
        // What is due only makes a difference where something is pending, too.
        if (first != First::Pending) != (matches!(task, Task::Drain { .. }) && lane.first(1).next().is_some())
        {
            return;
        }
        let records: Offsets = lane.first(task.records()).map(|record| record.offset).collect();
        if !is_all && records.count() == lane.first(2).count() {
            return;
        }
        let what = match (first, is_all) {
            (First::DueDrain(_), true) => What::DrainsFirst { organization },
            (First::DueDrain(_), false) => What::DrainsOneFirst { organization },
            (First::Pending, true) => What::WritesAll { organization },
            (First::Pending, false) => What::WritesOne { organization },
        };
        let is_behind_known =
            matches!(task, Task::Flush { expected: Expected::Watermark(_), .. } | Task::WriteDown { .. });
        if self.reader.identity != self.state.database.identity
            && !is_behind_known
            && keeps(Rule::OpeningReadsIdentity)
            && keeps(Rule::IdentityGoesWithConnection)
        {
            next.loaders[self.loader] = None;
            return offer(What::BeginsAgain, Some(self.orphaned(next)));
        }
        match task {
            Task::Hold { .. } => self.hold(next, organization, records, what, offer),
            Task::WriteDown { .. } => {
                next.database_mut().write_down(organization, records);
                let told = Told::WrittenDown(Kept::confirmed());
                self.statement(next, organization, told, what, offer);
            }
            Task::Open | Task::Flush { .. } | Task::Drain { .. } => {
                offer(what, self.in_schema(next, organization, &task, records, is_all));
            }
        }
    }

    fn in_schema(
        &self,
        mut next: State,
        organization: usize,
        task: &Task,
        records: Offsets,
        is_all: bool,
    ) -> Next {
        if let Some(refused) = self.refused(organization) {
            return self.told(next, organization, refused);
        }
        let any_held = next.database.any_held(organization);
        match task {
            Task::Open if any_held => self.told(next, organization, Told::FoundHeld),
            Task::Open => {
                let found = next.database.watermark(organization);
                self.told(next, organization, Told::Found(found))
            }
            Task::Flush { expected: Expected::AtLeast(_), .. } if any_held => {
                self.told(next, organization, Told::FoundHeld)
            }
            Task::Flush { expected: expected @ Expected::AtLeast(_), .. } => {
                let run = Run::Looked { expected: *expected, records };
                next.loader_mut(self.loader).runs[organization] = Some(run);
                Some(Ok(next))
            }
            Task::Flush { expected, .. } => {
                self.lock(next, organization, Run::Looked { expected: *expected, records })
            }
            Task::Drain { .. } => {
                let read = next.database.first_held(organization, if is_all { usize::MAX } else { 1 });
                if read.is_empty() {
                    return self.told(next, organization, Told::NoneHeld);
                }
                next.loader_mut(self.loader).runs[organization] = Some(Run::DrainRead(read));
                Some(Ok(next))
            }
            Task::Hold { .. } | Task::WriteDown { .. } => None,
        }
    }

    /// What becomes of whatever needs the schema.
    fn refused(&self, organization: usize) -> Option<Told> {
        if organization > 0 {
            return None;
        }
        match (self.state.is_removed, self.state.is_broken) {
            (true, _) => Some(Told::Gone(Nobody::Removed)),
            (false, true) => Some(Told::Refused(Refused::Schema("broken".to_owned()))),
            (false, false) => None,
        }
    }

    /// Waits for the watermark's lock, compares, and writes.
    fn lock(&self, mut next: State, organization: usize, run: Run) -> Next {
        if next.open[organization].is_some() {
            return None;
        }
        if let Some(refused) = self.refused(organization) {
            return self.told(next, organization, refused);
        }
        let (transaction, is_drain) = match run {
            Run::Looked { expected, records } => {
                let first = records.lowest().unwrap_or_default();
                if let Err(found) = next.database.judge(organization, expected, first) {
                    return self.told(next, organization, Told::Found(found));
                }
                (next.database.flush(organization, records), false)
            }
            Run::DrainRead(read) => (next.database_mut().drain(organization, read), true),
            Run::Writing => return None,
        };
        next.open[organization] = Some(Open { transaction, loader: Some(self.loader), is_drain });
        next.loader_mut(self.loader).runs[organization] = Some(Run::Writing);
        Some(Ok(next))
    }

    fn commit(&self, organization: usize, offer: &mut impl FnMut(What, Next)) {
        let Some(open) = self.state.open[organization].filter(|open| open.loader == Some(self.loader)) else {
            return;
        };
        let mut next = self.state.clone();
        next.open[organization] = None;
        let transaction = open.transaction;
        if let Some(lost_answers) = next.faults.lost_answers.checked_sub(1) {
            let mut lost = State { faults: Faults { lost_answers, ..next.faults }, ..next.clone() };
            lost.open[organization] = Some(Open { loader: None, ..open });
            // A drain is asked nothing after its commit; whatever became of it, the next one finds out.
            let told = if open.is_drain { Told::Refused(Refused::Server) } else { Told::Unconfirmed };
            offer(What::CommitAnswerLost { organization }, self.told(lost, organization, told));
        }
        if let Err(violation) = next.database_mut().commit(organization, transaction) {
            return offer(What::Commits { organization }, Some(Err(violation)));
        }
        let told = match open.is_drain {
            true => Told::Drained { bytes: 0 },
            false => {
                let found = super::database::watermark(transaction.found);
                let to = super::database::watermark(transaction.to).expect("a record was stored");
                let receipt = Receipt::committed(transaction.rows.count(), found, to);
                Told::Flushed { receipt, met_duplicates: false }
            }
        };
        offer(What::Commits { organization }, self.told(next, organization, told));
    }

    fn hold(
        &self,
        mut next: State,
        organization: usize,
        records: Offsets,
        what: What,
        offer: &mut impl FnMut(What, Next),
    ) {
        if !keeps(Rule::HoldBeforeOffset) {
            if next.late_hold.is_none() {
                next.late_hold = Some((organization, records));
                offer(what, self.told(next, organization, Told::Held(Kept::confirmed())));
            }
            return;
        }
        let is_removed = next.is_removed && organization == 0;
        if let Some(lost_answers) = next.faults.lost_answers.checked_sub(1)
            && next.late_hold.is_none()
        {
            let mut late = State { faults: Faults { lost_answers, ..next.faults }, ..next.clone() };
            late.late_hold = Some((organization, records));
            let what = What::StatementAnswerLost { organization, is_late: true };
            offer(what, self.told(late, organization, Told::Refused(Refused::Server)));
        }
        let told = match next.database_mut().hold(organization, records, is_removed) {
            true => Told::Held(Kept::confirmed()),
            false => Told::Gone(Nobody::Removed),
        };
        self.statement(next, organization, told, what, offer);
    }

    /// A statement that landed: it is answered, or its answer is lost.
    fn statement(
        &self,
        next: State,
        organization: usize,
        told: Told,
        what: What,
        offer: &mut impl FnMut(What, Next),
    ) {
        if let Some(lost_answers) = next.faults.lost_answers.checked_sub(1) {
            let lost = State { faults: Faults { lost_answers, ..next.faults }, ..next.clone() };
            let what = What::StatementAnswerLost { organization, is_late: false };
            offer(what, self.told(lost, organization, Told::Refused(Refused::Server)));
        }
        offer(what, self.told(next, organization, told));
    }

    fn told(&self, mut next: State, organization: usize, told: Told) -> Next {
        next.loader_mut(self.loader).tell(organization, told);
        Some(Ok(next))
    }
}

/// The server is another one: what was under way came to nothing.
pub(super) fn connections_are_lost(next: &mut State) {
    next.open = [None; 2];
    for loader in 0..next.loaders.len() {
        let Some(reader) = next.loaders[loader].clone() else { continue };
        for organization in 0..reader.runs.len() {
            if reader.runs[organization].is_some() {
                next.loader_mut(loader).tell(organization, Told::Refused(Refused::Server));
            }
        }
    }
}
