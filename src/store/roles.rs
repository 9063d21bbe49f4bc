//! The roles of an organization, and the mark that says whose they are.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::{GenericClient, Transaction};

use super::{Admin, Error, Installation, retry};
use crate::tenant::{OrganizationId, Slug};

/// What one organization's things are called in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantNames {
    /// Holds its tables.
    pub schema: String,
    /// May insert there.
    pub writer: String,
    /// May select there.
    pub reader: String,
}

impl TenantNames {
    /// The names that provisioning gives.
    pub fn new(installation: &Installation, slug: &Slug) -> Self {
        Self {
            schema: format!("org_{slug}"),
            writer: installation.prefix.writer_role(slug),
            reader: installation.prefix.reader_role(slug),
        }
    }
}

/// A COMMENT that says who made a role or a schema, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// How the mark of every organization begins.
    pub(super) const OF_ANY_ORGANIZATION: &str = "Rollbook organization ";

    /// What belongs to one organization.
    pub(super) fn of(organization: OrganizationId) -> Self {
        Self(format!("{}{organization}", Self::OF_ANY_ORGANIZATION))
    }

    /// What belongs to the installation in one database.
    pub(super) fn of_installation(database: &str) -> Self {
        Self(format!("Rollbook installation in database {database}"))
    }

    /// As Postgres keeps it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether something of a name exists, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Ours,
    SomebodyElses,
}

impl Found {
    fn new(row: Option<tokio_postgres::Row>, mark: &Mark) -> Self {
        match row.map(|row| row.get::<_, Option<String>>(0)) {
            None => Self::Nothing,
            Some(Some(comment)) if comment == mark.0 => Self::Ours,
            Some(_) => Self::SomebodyElses,
        }
    }
}

/// Looks for a role.
pub(super) async fn find_role(
    client: &impl GenericClient,
    role: &str,
    mark: &Mark,
) -> Result<Found, tokio_postgres::Error> {
    let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    Ok(Found::new(client.query_opt(sql, &[&role]).await?, mark))
}

/// Looks for a schema.
pub(super) async fn find_schema(
    client: &impl GenericClient,
    schema: &str,
    mark: &Mark,
) -> Result<Found, tokio_postgres::Error> {
    let sql = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
    Ok(Found::new(client.query_opt(sql, &[&schema]).await?, mark))
}

/// Makes a role that nobody can log in as, unless it is there and ours.
pub(super) async fn ensure_role(admin: &mut Admin, role: &str, mark: &Mark) -> Result<(), Error> {
    retry::on_conflict(async || {
        let share = admin.must_share_roles().then(|| admin.owner().to_owned());
        let transaction = admin.client.transaction().await?;
        match find_role(&transaction, role, mark).await? {
            Found::Ours => return Ok(()),
            Found::SomebodyElses => return Err(Error::NameTaken { kind: "role", name: role.to_owned() }),
            Found::Nothing => {}
        }
        let (name, comment) = (quoted(role), literal(&mark.0));
        transaction
            .batch_execute(&format!("CREATE ROLE {name} NOLOGIN; COMMENT ON ROLE {name} IS {comment}"))
            .await?;
        share_role(&transaction, role, share.as_deref()).await?;
        Ok(transaction.commit().await?)
    })
    .await
}

/// Makes a schema that belongs to the owner of the database, unless it is there and ours.
pub(super) async fn ensure_schema(admin: &mut Admin, schema: &str, mark: &Mark) -> Result<(), Error> {
    retry::on_conflict(async || {
        let owner = quoted(admin.owner());
        let transaction = admin.client.transaction().await?;
        match find_schema(&transaction, schema, mark).await? {
            Found::Ours => return Ok(()),
            Found::SomebodyElses => return Err(Error::NameTaken { kind: "schema", name: schema.to_owned() }),
            Found::Nothing => {}
        }
        let (name, comment) = (quoted(schema), literal(&mark.0));
        transaction
            .batch_execute(&format!(
                "CREATE SCHEMA {name} AUTHORIZATION {owner}; COMMENT ON SCHEMA {name} IS {comment}"
            ))
            .await?;
        Ok(transaction.commit().await?)
    })
    .await
}

/// Lets the owner of the database grant and drop a role that somebody else makes (see [`Admin::must_share_roles`]).
pub(super) async fn share_role(
    transaction: &Transaction<'_>,
    role: &str,
    owner: Option<&str>,
) -> Result<(), Error> {
    if let Some(owner) = owner {
        let (role, owner) = (quoted(role), quoted(owner));
        transaction
            .batch_execute(&format!("GRANT {role} TO {owner} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"))
            .await?;
    }
    Ok(())
}

/// A name as it can stand in a statement.
pub(crate) fn quoted(name: &str) -> String {
    escape_identifier(name)
}

/// A text as it can stand in a statement.
pub(super) fn literal(text: &str) -> String {
    escape_literal(text).trim_start().to_owned()
}
