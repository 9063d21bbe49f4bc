//! The in-memory snapshot of organizations and keys, and the two doors to a [`Tenant`].
//!
//! The snapshot is replaced whole by whoever follows the control schema (see [`crate::store`]) and kept while
//! Postgres is away. Reading it takes no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::{KeyDigest, Organization, OrganizationId, Slug, State, WriteKey};

/// Organizations are read every second; after so long without, Postgres is away.
const SILENCE: Duration = Duration::from_secs(5);
/// Two of the looks that are taken each second.
const OVERDUE: Duration = Duration::from_secs(2);

/// Proof that a caller's key was looked up and names this organization, or that a record which intake wrote does.
/// The field is private on purpose.
#[derive(Clone, Debug)]
pub struct Tenant {
    organization: Arc<Organization>,
}

impl Tenant {
    /// Names the organization for good.
    pub fn id(&self) -> OrganizationId {
        self.organization.id
    }

    /// Names the organization to people.
    pub fn slug(&self) -> &Slug {
        &self.organization.slug
    }

    /// What the control schema says of it.
    pub fn organization(&self) -> &Organization {
        &self.organization
    }
}

/// Everything the control schema said at one moment. A login that may not read keys leaves them empty.
#[derive(Debug)]
pub struct Snapshot {
    by_id: HashMap<OrganizationId, Arc<Organization>>,
    /// Live keys only: a revoked key is one that does not exist.
    by_key: HashMap<KeyDigest, OrganizationId>,
    taken_at: Instant,
}

impl Snapshot {
    /// Gathers what was read. `taken_at` is when the read began.
    pub fn new(
        organizations: impl IntoIterator<Item = Organization>,
        keys: impl IntoIterator<Item = (KeyDigest, OrganizationId)>,
        taken_at: Instant,
    ) -> Self {
        let by_id = organizations.into_iter().map(|o| (o.id, Arc::new(o))).collect();
        Self { by_id, by_key: keys.into_iter().collect(), taken_at }
    }
}

/// Why a request has no tenant. Each variant is one reply.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// No snapshot yet: nobody is unknown, we just cannot tell.
    #[error("organizations have not been loaded yet")]
    Starting,
    /// The key does not exist, was revoked, or is no key; one reply for all.
    #[error("no such write key")]
    UnknownKey,
    /// The tag names another organization than the key, or nobody.
    #[error("the key does not belong to the organization that the request names")]
    OrganizationMismatch,
    /// The organization is suspended.
    #[error("the organization is suspended")]
    OrganizationSuspended,
}

/// A key that was found. Still no tenant: the tag has to agree first.
#[derive(Debug)]
pub struct KeyHolder {
    organization: Arc<Organization>,
}

impl KeyHolder {
    /// Whose key it is.
    pub fn organization(&self) -> &Organization {
        &self.organization
    }

    /// The first door: the tenant, if `tag` is the slug of the key's own organization and that one is active.
    ///
    /// # Errors
    /// A tag nobody has, and a tag that is no slug, are answered like one that is somebody else's.
    pub fn claim(self, tag: &str) -> Result<Tenant, ResolveError> {
        if self.organization.slug.as_str() != tag {
            return Err(ResolveError::OrganizationMismatch);
        }
        match self.organization.state {
            State::Active => Ok(Tenant { organization: self.organization }),
            State::Suspended => Err(ResolveError::OrganizationSuspended),
            // Neither has live keys; a snapshot torn between the two tables is read as "no such key".
            State::Provisioning | State::Removed => Err(ResolveError::UnknownKey),
        }
    }
}

/// Whose a record is.
#[derive(Debug)]
pub enum RecordOwner {
    /// An organization that has a schema, suspended or not: what was accepted is stored.
    Tenant(Tenant),
    /// An organization that was removed.
    Removed,
    /// An id that the snapshot does not know: nobody's, or made since it was taken.
    Unknown,
}

/// The current snapshot, shared by all who resolve.
#[derive(Debug, Default)]
pub struct Directory {
    current: ArcSwapOption<Snapshot>,
    /// Why it could not be replaced when that was tried last.
    failure: ArcSwapOption<String>,
}

impl Directory {
    /// Looks a presented key up.
    ///
    /// # Errors
    /// [`ResolveError::Starting`] before the first snapshot, [`ResolveError::UnknownKey`] for a key that is not live.
    pub fn authenticate(&self, key: &WriteKey) -> Result<KeyHolder, ResolveError> {
        let snapshot = self.current.load();
        let snapshot = snapshot.as_ref().ok_or(ResolveError::Starting)?;
        let id = snapshot.by_key.get(&key.digest()).ok_or(ResolveError::UnknownKey)?;
        let organization = snapshot.by_id.get(id).ok_or(ResolveError::UnknownKey)?;
        Ok(KeyHolder { organization: Arc::clone(organization) })
    }

    /// The second door: the tenant of a record that intake wrote. `None` before the first snapshot.
    pub fn of_record(&self, id: OrganizationId) -> Option<RecordOwner> {
        let snapshot = self.current.load();
        let snapshot = snapshot.as_ref()?;
        Some(match snapshot.by_id.get(&id) {
            None => RecordOwner::Unknown,
            Some(organization) if organization.state == State::Removed => RecordOwner::Removed,
            Some(organization) => RecordOwner::Tenant(Tenant { organization: Arc::clone(organization) }),
        })
    }

    /// How people call an organization, whatever became of it: for them, and no door to a tenant. `None`: the snapshot does
    /// not know it, or there is none yet.
    pub fn slug(&self, id: OrganizationId) -> Option<Slug> {
        let snapshot = self.current.load();
        snapshot.as_ref()?.by_id.get(&id).map(|organization| organization.slug.clone())
    }

    /// Every organization that records may belong to. Empty before the first snapshot.
    pub fn record_owners(&self) -> Vec<Tenant> {
        let snapshot = self.current.load();
        let organizations = snapshot.iter().flat_map(|snapshot| snapshot.by_id.values());
        let stands = organizations.filter(|organization| organization.state != State::Removed);
        stands.map(|organization| Tenant { organization: Arc::clone(organization) }).collect()
    }

    /// Puts a newer snapshot in place of the current one.
    pub fn replace(&self, snapshot: Snapshot) {
        self.current.store(Some(Arc::new(snapshot)));
        self.failure.store(None);
    }

    /// Organizations could not be read, for this reason; the current snapshot stays.
    pub fn not_replaced(&self, reason: String) {
        self.failure.store(Some(Arc::new(reason)));
    }

    /// Why there is no snapshot yet, in words for an operator; `None`: there is one.
    pub fn starting(&self) -> Option<String> {
        let is_starting = self.current.load().is_none();
        is_starting.then(|| self.with_reason("starting: organizations have not been loaded yet"))
    }

    /// Why Postgres seems to be away, likewise: organizations are read every second, and have not been for a while.
    pub fn silence(&self) -> Option<String> {
        let silence = self.taken_at().map(|read_at| read_at.elapsed()).filter(|silence| *silence > SILENCE);
        silence.map(|silence| {
            self.with_reason(&format!("Postgres has not answered for {} s", silence.as_secs()))
        })
    }

    /// Whether Postgres may be away: the look of each second is overdue. Sooner than people are told.
    pub fn is_overdue(&self) -> bool {
        self.taken_at().is_none_or(|read_at| read_at.elapsed() > OVERDUE)
    }

    fn with_reason(&self, what: &str) -> String {
        self.failure.load().as_deref().map_or(what.to_owned(), |reason| format!("{what}: {reason}"))
    }

    /// When the current snapshot was read; `None` before the first.
    pub fn taken_at(&self) -> Option<Instant> {
        self.current.load().as_ref().map(|snapshot| snapshot.taken_at)
    }
}
