//! One organization's books: the ledger's side against its schema's.

use std::collections::{BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::ledger::{Entry, Ledger};
use crate::store::audit::Holdings;
use crate::tenant::Organization;

/// What came of comparing one organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its slug.
    pub organization: String,
    /// Events that the log has.
    pub accepted: u64,
    /// The schema's total.
    pub stored: u64,
    /// The schema's total.
    pub duplicate: u64,
    /// Dead letters that can be replayed.
    pub dead: u64,
    /// Dead letters that a person gave up.
    pub discarded: u64,
    /// Events in held records.
    pub held: u64,
    /// Events that the loader has not come to.
    pub in_flight: u64,
    /// Ids that should be here and are not.
    pub missing: Vec<Uuid>,
    /// Ids that are here and should not be.
    pub foreign: Vec<Uuid>,
    /// What else does not add up, for people.
    pub remarks: Vec<String>,
}

impl Account {
    /// Whether there is no difference.
    pub fn is_ok(&self) -> bool {
        self.missing.is_empty() && self.foreign.is_empty() && self.remarks.is_empty()
    }

    /// What the right side of the sum comes to.
    pub fn accounted(&self) -> u64 {
        self.stored + self.duplicate + self.dead + self.discarded + self.held + self.in_flight
    }
}

/// Where a record of the log should be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Below the watermark: in the schema.
    Loaded,
    /// In `held_record`.
    Held,
    /// The anchor has passed it though it is neither loaded nor held: lost.
    Lost,
    /// The loader has not come to it.
    InFlight,
}

/// A comparison under way: ids of the schema come in by [`Books::stored`], in order.
pub(super) struct Books<'a> {
    ledger: &'a Ledger,
    organization: Organization,
    holdings: Holdings,
    anchors: &'a HashMap<i32, i64>,
    /// Everything in the schema must be in the log: it is whole, and the schema was never loaded from another.
    log_has_everything: bool,
    log_is_whole: bool,
    /// The next of the organization's mentions to compare.
    at: usize,
    /// Rows seen.
    rows: u64,
    /// Should be stored, and is not: dead or held perhaps.
    absent: Vec<Uuid>,
    foreign: BTreeSet<Uuid>,
}

impl<'a> Books<'a> {
    pub(super) fn open(
        ledger: &'a Ledger,
        organization: Organization,
        holdings: Holdings,
        anchors: &'a HashMap<i32, i64>,
        log_is_whole: bool,
    ) -> Self {
        let log_has_everything = log_is_whole && !holdings.has_other_generations;
        Self {
            ledger,
            organization,
            holdings,
            anchors,
            log_has_everything,
            log_is_whole,
            at: 0,
            rows: 0,
            absent: Vec::new(),
            foreign: BTreeSet::new(),
        }
    }

    pub(super) fn schema(&self) -> &str {
        &self.organization.schema_name
    }

    /// The schema has this id in `event`. Ids come in order.
    pub(super) fn stored(&mut self, id: Uuid) {
        self.rows += 1;
        while let Some((expected, _)) = self.ledger.mention(self.organization.id, self.at)
            && expected < id
        {
            self.pass_over();
        }
        let is_own = self.ledger.mention(self.organization.id, self.at).is_some_and(|(own, _)| own == id);
        if is_own {
            self.at = self.ledger.same_id(self.organization.id, self.at).end;
        } else if self.is_foreign(id) {
            self.foreign.insert(id);
        }
    }

    /// The next id of the log is not in `event`. That may be so: where all its mentions are held or in flight.
    fn pass_over(&mut self) {
        let mentions = self.ledger.same_id(self.organization.id, self.at);
        let next = mentions.end;
        let (mut should_be_here, mut is_held, mut id) = (false, false, None);
        for (mention, entry) in mentions.filter_map(|at| self.ledger.mention(self.organization.id, at)) {
            id = Some(mention);
            match self.place(entry) {
                Place::Loaded | Place::Lost => should_be_here = true,
                Place::Held => is_held = true,
                Place::InFlight => {}
            }
        }
        if should_be_here && !is_held {
            self.absent.extend(id);
        }
        self.at = next;
    }

    /// An id that the log does not have as this organization's.
    fn is_foreign(&self, id: Uuid) -> bool {
        self.log_has_everything || self.ledger.has(id)
    }

    fn place(&self, entry: Entry) -> Place {
        let Entry { partition, offset, .. } = entry;
        if self.is_below_watermark(partition, offset) {
            Place::Loaded
        } else if self.holdings.held.contains_key(&(partition, offset)) {
            Place::Held
        } else if self.holdings.unreadable.is_some()
            || self.anchors.get(&partition).is_some_and(|next_offset| offset < *next_offset)
        {
            Place::Lost
        } else {
            Place::InFlight
        }
    }

    fn is_below_watermark(&self, partition: i32, offset: i64) -> bool {
        self.holdings.watermarks.get(&partition).is_some_and(|totals| offset < totals.next_offset)
    }

    /// No more ids are stored: draws the line.
    pub(super) fn close(mut self) -> Account {
        while self.ledger.mention(self.organization.id, self.at).is_some() {
            self.pass_over();
        }
        let letters: HashSet<Uuid> =
            self.holdings.dead_letters.iter().map(|letter| letter.event_id).collect();
        for id in &letters {
            if !self.ledger.has_of(self.organization.id, *id) && self.is_foreign(*id) {
                self.foreign.insert(*id);
            }
        }
        let mut missing = std::mem::take(&mut self.absent);
        missing.retain(|id| !letters.contains(id));
        let mut account = self.count();
        account.missing = missing;
        account.foreign = std::mem::take(&mut self.foreign).into_iter().collect();
        account.remarks = self.remarks(&account);
        account
    }

    fn count(&self) -> Account {
        let id = self.organization.id;
        let in_flight = (0..self.ledger.accepted(id))
            .filter_map(|at| self.ledger.mention(id, at))
            .filter(|(_, entry)| self.place(*entry) == Place::InFlight)
            .count();
        // What is held and below the watermark is stored already, and will be deleted unwritten.
        let held = self
            .holdings
            .held
            .iter()
            .filter(|((partition, offset), _)| !self.is_below_watermark(*partition, *offset));
        let letters = || self.holdings.dead_letters.iter().filter(|letter| letter.is_of_this_generation);
        Account {
            organization: self.organization.slug.to_string(),
            accepted: self.ledger.accepted(id) as u64,
            stored: self.holdings.watermarks.values().map(|totals| totals.stored).sum(),
            duplicate: self.holdings.watermarks.values().map(|totals| totals.duplicate).sum(),
            dead: letters().filter(|letter| !letter.is_discarded).count() as u64,
            discarded: letters().filter(|letter| letter.is_discarded).count() as u64,
            held: held.map(|(_, events)| *events).sum(),
            in_flight: in_flight as u64,
            missing: Vec::new(),
            foreign: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn remarks(&self, account: &Account) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(reason) = &self.holdings.unreadable {
            remarks.push(format!("the schema cannot be read: {reason}"));
            return remarks;
        }
        if !self.log_is_whole {
            return remarks;
        }
        if account.accepted != account.accounted() {
            let (accepted, accounted) = (account.accepted, account.accounted());
            remarks.push(format!("the log has {accepted} events, {accounted} are accounted for"));
        }
        let dead: u64 = self.holdings.watermarks.values().map(|totals| totals.dead).sum();
        if dead != account.dead + account.discarded {
            let letters = account.dead + account.discarded;
            remarks.push(format!("the dead total is {dead}, the dead letters are {letters}"));
        }
        if self.log_has_everything && self.rows != account.stored {
            remarks.push(format!("the stored total is {}, the rows are {}", account.stored, self.rows));
        }
        remarks
    }
}

#[cfg(test)]
mod tests;
