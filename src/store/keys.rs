//! Write keys in the control schema. Only their digests are there.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::organizations::{self, Lock};
use super::{Admin, Error};
use crate::tenant::{OrganizationId, Slug, WriteKey};

/// A key that was just made: the only time that it is there to be shown.
#[derive(Debug)]
pub struct NewKey {
    /// Names it to people.
    pub id: Uuid,
    /// The secret.
    pub key: WriteKey,
}

/// A key as it is listed.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// Names it.
    pub id: Uuid,
    /// What people call it.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped being valid.
    pub revoked_at: Option<Timestamp>,
}

/// Makes one more key; those that exist stay valid, so that clients can change over in their own time.
///
/// # Errors
/// The organization does not exist, is not complete, or was removed.
pub async fn add(admin: &mut Admin, slug: &Slug, label: Option<&str>) -> Result<NewKey, Error> {
    let change = admin.begin().await?;
    let organization = organizations::find(&*change, slug, Lock::AgainstChanges).await?.organization;
    organizations::refuse_unless_standing(&organization)?;
    let new = insert(&change, organization.id, label).await?;
    let what = json!({ "key_id": new.id, "label": label });
    change.record("key.add", Some(organization.id), &what).await?;
    change.commit().await?;
    Ok(new)
}

/// Makes a key's row inside someone else's transaction.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    organization: OrganizationId,
    label: Option<&str>,
) -> Result<NewKey, Error> {
    let new = NewKey { id: Uuid::now_v7(), key: WriteKey::generate().map_err(Error::Randomness)? };
    let sql = "INSERT INTO rollbook.write_key (id, organization_id, digest, label) VALUES ($1, $2, $3, $4)";
    let digest = new.key.digest();
    transaction.execute(sql, &[&new.id, &organization.0, &&digest.as_bytes()[..], &label]).await?;
    Ok(new)
}

/// An organization's keys, revoked ones too, oldest first.
///
/// # Errors
/// [`Error::NoSuchOrganization`], or Postgres.
pub async fn list(admin: &Admin, slug: &Slug) -> Result<Vec<ListedKey>, Error> {
    let id = organizations::show(admin, slug).await?.organization.id;
    let sql = "SELECT id, label, created_at, revoked_at FROM rollbook.write_key \
               WHERE organization_id = $1 ORDER BY created_at, id";
    let rows = admin.client.query(sql, &[&id.0]).await?;
    let read = |row: &tokio_postgres::Row| {
        Ok(ListedKey {
            id: row.get(0),
            label: row.get(1),
            created_at: Timestamp::try_from(row.get::<_, SystemTime>(2))?,
            revoked_at: row.get::<_, Option<SystemTime>>(3).map(Timestamp::try_from).transpose()?,
        })
    };
    let listed: Result<_, jiff::Error> = rows.iter().map(read).collect();
    listed.map_err(|error| Error::UnreadableRow { id, why: error.to_string() })
}

/// Makes a key invalid for good. One that was revoked before stays as it was.
///
/// # Errors
/// [`Error::NoSuchKey`], or Postgres.
pub async fn revoke(admin: &mut Admin, key: Uuid) -> Result<RevokedKey, Error> {
    let change = admin.begin().await?;
    // The organization first, as whoever removes it does: neither waits for the other in a circle.
    let find = "SELECT o.id, o.slug FROM rollbook.organization o JOIN rollbook.write_key k ON o.id = k.organization_id \
                WHERE k.id = $1 FOR KEY SHARE OF o";
    let row = change.query_opt(find, &[&key]).await?.ok_or(Error::NoSuchKey(key))?;
    let (id, organization) = (OrganizationId(row.get(0)), row.get(1));
    let revoke = "UPDATE rollbook.write_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";
    if change.execute(revoke, &[&key]).await? > 0 {
        change.record("key.revoke", Some(id), &json!({ "key_id": key })).await?;
    }
    let when = "SELECT revoked_at FROM rollbook.write_key WHERE id = $1";
    let revoked_at: SystemTime = change.query_one(when, &[&key]).await?.get(0);
    change.commit().await?;
    let revoked_at = Timestamp::try_from(revoked_at)
        .map_err(|error| Error::UnreadableRow { id, why: error.to_string() })?;
    Ok(RevokedKey { organization, revoked_at })
}

/// A key that is no longer valid.
#[derive(Clone, Debug)]
pub struct RevokedKey {
    /// Slug of the organization whose key it was.
    pub organization: String,
    /// Since when.
    pub revoked_at: Timestamp,
}
