//! Whose records a lane carries.

use tokio_postgres::types::Type;

use super::Shared;
use super::writer::Refusal;
use super::writer::Statements;
use crate::store::TENANT_SCHEMA_VERSION;
use crate::tenant::{OrganizationId, RecordOwner, Tenant};

/// The oldest schema version that this release can write to.
const OLDEST_SCHEMA_VERSION: i32 = TENANT_SCHEMA_VERSION;

/// Where the records belong.
#[derive(Debug)]
pub(super) enum Owner {
    /// In this schema.
    Schema(Box<Statements>),
    /// In a schema that this release must not touch, for this reason.
    Unusable(String),
    /// Nowhere.
    Nobody(Nobody),
}

/// Why records have no schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    /// The organization was removed: its data is not kept.
    Removed,
    /// Nobody ever had this id: the bytes are kept, a person should look.
    Unknown,
}

/// Looks the organization up: in the snapshot, and in the control schema where the snapshot does not know it.
pub(super) async fn owner_of(shared: &Shared, id: OrganizationId) -> Result<Owner, Refusal> {
    match shared.directory.of_record(id) {
        None => Err(Refusal::Server("organizations have not been loaded yet".to_owned())),
        Some(RecordOwner::Removed) => Ok(Owner::Nobody(Nobody::Removed)),
        Some(RecordOwner::Unknown) => unknown_to_the_snapshot(shared, id).await,
        Some(RecordOwner::Tenant(tenant)) => Ok(in_schema(shared, &tenant)),
    }
}

fn in_schema(shared: &Shared, tenant: &Tenant) -> Owner {
    match refuse_version(tenant) {
        Ok(()) => Owner::Schema(Box::new(Statements::new(tenant, &shared.roles, &shared.settings))),
        Err(reason) => Owner::Unusable(reason),
    }
}

/// Refuses a schema that this release must not write to, with the reason.
pub(super) fn refuse_version(tenant: &Tenant) -> Result<(), String> {
    let version = tenant.organization().schema_version;
    if (OLDEST_SCHEMA_VERSION..=TENANT_SCHEMA_VERSION).contains(&version) {
        return Ok(());
    }
    let way_out = match version > TENANT_SCHEMA_VERSION {
        true => "use the newer release",
        false => "run `rollbook migrate`",
    };
    Err(format!(
        "the schema has version {version}, this release writes {OLDEST_SCHEMA_VERSION} to {TENANT_SCHEMA_VERSION}: {way_out}"
    ))
}

/// Whether the snapshot still says that the organization has a schema which this release writes to.
pub(super) fn has_usable_schema(shared: &Shared, id: OrganizationId) -> bool {
    match shared.directory.of_record(id) {
        Some(RecordOwner::Tenant(tenant)) => refuse_version(&tenant).is_ok(),
        Some(RecordOwner::Removed | RecordOwner::Unknown) | None => false,
    }
}

/// Either nobody ever had the id, or the organization is newer than the snapshot, which will know it in a moment.
async fn unknown_to_the_snapshot(shared: &Shared, id: OrganizationId) -> Result<Owner, Refusal> {
    const STATE: &str = "SELECT state FROM rollbook.organization WHERE id = $1";
    let client = shared.pool.get().await?;
    let found = client.query_typed_opt(STATE, &[(&id.0, Type::UUID)]).await?;
    client.give_back();
    match found.map(|row| row.get::<_, String>(0)).as_deref() {
        None => Ok(Owner::Nobody(Nobody::Unknown)),
        Some("removed") => Ok(Owner::Nobody(Nobody::Removed)),
        Some(_) => Err(Refusal::Again("the organization is newer than the snapshot".to_owned())),
    }
}
