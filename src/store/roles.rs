//! The roles of an organization, and the mark that says whose they are.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::change::Change;
use super::{Error, Installation};
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

/// A COMMENT that says who made a role or a schema, and for whom: by an id, for names change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    /// How the mark of every organization begins.
    pub(super) const OF_ANY_ORGANIZATION: &str = "Rollbook organization ";
    /// How the mark of every installation begins.
    pub(super) const OF_ANY_INSTALLATION: &str = "Rollbook installation ";
    /// How it began before an installation had an id: the name of its database followed.
    pub(super) const BY_DATABASE: &str = "Rollbook installation in database ";

    /// What belongs to one organization.
    pub(super) fn of(organization: OrganizationId) -> Self {
        Self(format!("{}{organization}", Self::OF_ANY_ORGANIZATION))
    }

    /// What belongs to one installation.
    pub(super) fn of_installation(id: Uuid) -> Self {
        Self(format!("{}{id}", Self::OF_ANY_INSTALLATION))
    }

    /// The installation that a comment names.
    pub(super) fn installation_in(comment: &str) -> Option<Uuid> {
        comment.strip_prefix(Self::OF_ANY_INSTALLATION)?.parse().ok()
    }

    /// As Postgres keeps it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether something of a name exists, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Ours,
    /// With the comment that it bears.
    SomebodyElses(Option<String>),
}

impl Found {
    /// Refuses what bears a name of an organization's and not its mark.
    pub(super) fn refuse_unless_its_own(
        self,
        kind: &'static str,
        name: &str,
        mark: &Mark,
    ) -> Result<(), Error> {
        match self {
            Self::Nothing | Self::Ours => Ok(()),
            Self::SomebodyElses(_) => {
                let is_anothers = self.is_another_organizations();
                Err(Error::NotItsOwn { kind, name: name.to_owned(), mark: mark.0.clone(), is_anothers })
            }
        }
    }

    /// Whether it bears the mark of another organization: one of another installation then, for names are given once.
    pub(super) fn is_another_organizations(&self) -> bool {
        matches!(self, Self::SomebodyElses(Some(comment)) if comment.starts_with(Mark::OF_ANY_ORGANIZATION))
    }

    fn new(row: Option<tokio_postgres::Row>, mark: &Mark) -> Self {
        match row.map(|row| row.get::<_, Option<String>>(0)) {
            None => Self::Nothing,
            Some(Some(comment)) if comment == mark.0 => Self::Ours,
            Some(comment) => Self::SomebodyElses(comment),
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

/// Whether a role of that name exists.
pub(super) async fn role_exists(change: &Change<'_>, role: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    Ok(change.query_one(sql, &[&role]).await?.get(0))
}

/// The schemas that bear a mark, whatever they are called.
pub(super) async fn schemas_of(
    client: &impl GenericClient,
    mark: &Mark,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql =
        "SELECT nspname::text FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') = $1 ORDER BY 1";
    Ok(client.query(sql, &[&mark.0]).await?.iter().map(|row| row.get(0)).collect())
}

/// Makes a role that nobody can log in as, unless it is there and ours.
pub(super) async fn ensure_role(change: &Change<'_>, role: &str, mark: &Mark) -> Result<(), Error> {
    match find_role(&**change, role, mark).await? {
        Found::Ours => Ok(()),
        Found::SomebodyElses(_) => Err(Error::NameTaken { kind: "role", name: role.to_owned() }),
        Found::Nothing => make_role(change, role, "NOLOGIN", mark).await,
    }
}

/// Makes a role with these attributes.
pub(super) async fn make_role(
    change: &Change<'_>,
    role: &str,
    attributes: &str,
    mark: &Mark,
) -> Result<(), Error> {
    change.batch_execute(&format!("CREATE ROLE {} {attributes}", quoted(role))).await?;
    mark_role(change, role, mark).await?;
    if change.by.must_share_roles() {
        share_role(change, role).await?;
    }
    Ok(())
}

/// Says on a role whose it is.
pub(super) async fn mark_role(change: &Change<'_>, role: &str, mark: &Mark) -> Result<(), Error> {
    let (role, comment) = (quoted(role), literal(&mark.0));
    Ok(change.batch_execute(&format!("COMMENT ON ROLE {role} IS {comment}")).await?)
}

/// Makes a schema that belongs to the owner of the database, unless it is there and ours.
pub(super) async fn ensure_schema(change: &Change<'_>, schema: &str, mark: &Mark) -> Result<(), Error> {
    match find_schema(&**change, schema, mark).await? {
        Found::Ours => Ok(()),
        Found::SomebodyElses(_) => Err(Error::NameTaken { kind: "schema", name: schema.to_owned() }),
        Found::Nothing => {
            let (name, owner) = (quoted(schema), quoted(&change.by.owner));
            change.batch_execute(&format!("CREATE SCHEMA {name} AUTHORIZATION {owner}")).await?;
            mark_schema(change, schema, mark).await
        }
    }
}

/// Says on a schema whose it is.
pub(super) async fn mark_schema(change: &Change<'_>, schema: &str, mark: &Mark) -> Result<(), Error> {
    let (schema, comment) = (quoted(schema), literal(&mark.0));
    Ok(change.batch_execute(&format!("COMMENT ON SCHEMA {schema} IS {comment}")).await?)
}

/// Lets the owner of the database grant and drop a role that somebody else makes (see
/// [`Administrator::must_share_roles`]).
///
/// [`Administrator::must_share_roles`]: super::admin::Administrator::must_share_roles
pub(super) async fn share_role(change: &Change<'_>, role: &str) -> Result<(), Error> {
    let (role, owner) = (quoted(role), quoted(&change.by.owner));
    let share = format!("GRANT {role} TO {owner} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
    Ok(change.batch_execute(&share).await?)
}

/// A name as it can stand in a statement.
pub(crate) fn quoted(name: &str) -> String {
    escape_identifier(name)
}

/// A text as it can stand in a statement.
pub(super) fn literal(text: &str) -> String {
    escape_literal(text).trim_start().to_owned()
}
