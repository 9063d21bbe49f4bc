//! Whose records a lane carries.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Shared;
use super::lane::Nobody;
use super::writer::{Refusal, Statements};
use crate::store::TENANT_SCHEMA_VERSION;
use crate::tenant::{OrganizationId, RecordOwner, Tenant};

/// The oldest schema version that this release can write to: what came since is the reporter's.
const OLDEST_SCHEMA_VERSION: i32 = 4;

/// Where the records belong.
#[derive(Debug)]
pub(super) enum Owner {
    /// In this schema.
    Schema(Box<Statements>),
    /// In a schema that this release must not touch, for this reason.
    Unusable(String),
    /// In the schema of an organization that is newer than the snapshot, which will know it in a moment.
    NotYetKnown,
    /// Nowhere.
    Nobody(Nobody),
}

/// Looks the organization up: in the snapshot, and in the control schema where the snapshot does not know it.
pub(super) async fn owner_of(shared: &Shared, client: &Client, id: OrganizationId) -> Result<Owner, Refusal> {
    match shared.directory.of_record(id) {
        None => Ok(Owner::NotYetKnown),
        Some(RecordOwner::Removed) => Ok(Owner::Nobody(Nobody::Removed)),
        Some(RecordOwner::Unknown) => unknown_to_the_snapshot(client, id).await,
        Some(RecordOwner::Tenant(tenant)) => Ok(in_schema(shared, &tenant)),
    }
}

fn in_schema(shared: &Shared, tenant: &Tenant) -> Owner {
    match refuse_version(tenant) {
        Ok(()) => {
            let statements =
                Statements::new(tenant, &shared.roles, &shared.settings.transaction).on(&shared.identity);
            Owner::Schema(Box::new(statements))
        }
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

/// Either no organization ever had the id, or it is newer than the snapshot.
async fn unknown_to_the_snapshot(client: &Client, id: OrganizationId) -> Result<Owner, Refusal> {
    const STATE: &str = "SELECT state FROM rollbook.organization WHERE id = $1";
    let found = client.query_typed_opt(STATE, &[(&id.0, Type::UUID)]).await?;
    Ok(match found.map(|row| row.get::<_, String>(0)).as_deref() {
        None => Owner::Nobody(Nobody::Unknown),
        Some("removed") => Owner::Nobody(Nobody::Removed),
        Some(_) => Owner::NotYetKnown,
    })
}
