//! What the log says: which ids, whose, at which offsets.

use std::collections::HashMap;
use std::ops::Range;

use uuid::Uuid;

use crate::log::record::RecordView;
use crate::tenant::OrganizationId;

/// A ledger that is still written.
#[derive(Debug, Default)]
pub(super) struct OpenLedger {
    organizations: HashMap<OrganizationId, u32>,
    records: Vec<Entry>,
    mentions: Vec<Mention>,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    organization: u32,
    /// Where it stands.
    pub(super) partition: i32,
    /// Where it stands.
    pub(super) offset: i64,
}

/// An id in a record. Ids repeat: a client's retry is a second mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    id: Uuid,
    record: u32,
}

impl OpenLedger {
    /// Adds a record. One that cannot be decoded, in whole or in part, has no fate but `unreadable_record`, as the
    /// loader has it: it is nobody's.
    pub(super) fn write(&mut self, partition: i32, offset: i64, bytes: &[u8]) {
        let Ok(view) = RecordView::parse(bytes) else { return };
        let record = number(self.records.len());
        let before = self.mentions.len();
        for event in view.events() {
            let Ok(event) = event else {
                self.mentions.truncate(before);
                return;
            };
            self.mentions.push(Mention { id: event.id, record });
        }
        let next = number(self.organizations.len());
        let organization = *self.organizations.entry(view.organization_id).or_insert(next);
        self.records.push(Entry { organization, partition, offset });
    }

    /// Sorts it.
    pub(super) fn close(self) -> Ledger {
        let Self { organizations, records, mut mentions } = self;
        mentions.sort_unstable();
        let mut by_organization = vec![Vec::new(); organizations.len()];
        for (at, mention) in mentions.iter().enumerate() {
            by_organization[records[mention.record as usize].organization as usize].push(number(at));
        }
        Ledger { organizations, records, mentions, by_organization }
    }
}

/// A ledger that is read.
#[derive(Debug)]
pub(super) struct Ledger {
    organizations: HashMap<OrganizationId, u32>,
    records: Vec<Entry>,
    /// By id.
    mentions: Vec<Mention>,
    /// Which mentions are an organization's, by id.
    by_organization: Vec<Vec<u32>>,
}

impl Ledger {
    /// How many events an organization has in the log, repeated ones too.
    pub(super) fn accepted(&self, organization: OrganizationId) -> usize {
        self.of(organization).len()
    }

    /// The record of each of an organization's mentions, by id.
    pub(super) fn mention(&self, organization: OrganizationId, at: usize) -> Option<(Uuid, Entry)> {
        let mention = self.mentions[*self.of(organization).get(at)? as usize];
        Some((mention.id, self.records[mention.record as usize]))
    }

    /// Whether the log has an id, as anybody's.
    pub(super) fn has(&self, id: Uuid) -> bool {
        self.mentions.binary_search_by_key(&id, |mention| mention.id).is_ok()
    }

    /// Whether the log has an id as this organization's.
    pub(super) fn has_of(&self, organization: OrganizationId, id: Uuid) -> bool {
        let of = self.of(organization);
        of.binary_search_by_key(&id, |at| self.mentions[*at as usize].id).is_ok()
    }

    /// All mentions of the id at this place of an organization's, as a range of places.
    pub(super) fn same_id(&self, organization: OrganizationId, at: usize) -> Range<usize> {
        let of = self.of(organization);
        let id = |at: usize| self.mentions[of[at] as usize].id;
        let end = (at..of.len()).find(|next| id(*next) != id(at)).unwrap_or(of.len());
        at..end
    }

    fn of(&self, organization: OrganizationId) -> &[u32] {
        self.organizations
            .get(&organization)
            .and_then(|number| self.by_organization.get(*number as usize))
            .map_or(&[], Vec::as_slice)
    }
}

/// Four thousand million events would take 100 GB here: memory ends first.
fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer events than memory holds")
}
