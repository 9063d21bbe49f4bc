//! What `setup` was told, for the commands that run later with nothing but the administrator's URL.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::roles::Mark;
use super::{Admin, CONTROL_SCHEMA_VERSION, Error, migrations};
use crate::tenant::RolePrefix;

/// The one row of `rollbook.installation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Goes before `org_…` and `reader_…` in role names.
    pub prefix: RolePrefix,
    /// Intake's login role.
    pub intake_login: String,
    /// The loader's login role, member of every `org_…` role.
    pub loader_login: String,
}

impl Installation {
    /// Reads it, and checks that this release knows the control schema.
    ///
    /// # Errors
    /// [`Error::NotSetUp`], [`Error::ControlVersion`], or [`Error::PrefixContradiction`] when `given` is not the
    /// installation's own.
    pub async fn load(admin: &Admin, given: Option<&RolePrefix>) -> Result<Self, Error> {
        match migrations::version(&admin.client, migrations::CONTROL_SCHEMA).await? {
            0 => return Err(Error::NotSetUp),
            CONTROL_SCHEMA_VERSION => {}
            found => {
                let hint = if found < CONTROL_SCHEMA_VERSION {
                    "run `rollbook setup`"
                } else {
                    "use a newer release"
                };
                return Err(Error::ControlVersion { found, known: CONTROL_SCHEMA_VERSION, hint });
            }
        }
        let installation = find(&admin.client).await?.ok_or(Error::NotSetUp)?;
        installation.refuse_other_prefix(given)?;
        Ok(installation)
    }

    /// A prefix that was written somewhere must be the one that the roles carry.
    pub(super) fn refuse_other_prefix(&self, given: Option<&RolePrefix>) -> Result<(), Error> {
        match given {
            Some(given) if *given != self.prefix => {
                Err(Error::PrefixContradiction { given: given.clone(), installed: self.prefix.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The role that every reader is a member of: it may connect to the database, and nothing else. One entry in the
    /// database's list of rights instead of one for each organization.
    pub(super) fn readers_role(&self) -> String {
        format!("{}{READERS}", self.prefix.as_str())
    }
}

const READERS: &str = "rollbook_readers";

/// The prefix of the installation in this database as any login can see it, which the table is not for: from the readers'
/// role, which bears the same mark as the control schema. `None`: `setup` did not run here.
///
/// # Errors
/// Postgres.
pub async fn installed_prefix(
    client: &impl GenericClient,
) -> Result<Option<RolePrefix>, tokio_postgres::Error> {
    let sql = "SELECT rolname::text FROM pg_roles JOIN pg_namespace n ON nspname = 'rollbook' \
               WHERE starts_with(shobj_description(pg_roles.oid, 'pg_authid'), $1) \
                 AND shobj_description(pg_roles.oid, 'pg_authid') = obj_description(n.oid, 'pg_namespace')";
    let marked = client.query_typed(sql, &[(&Mark::OF_ANY_INSTALLATION, Type::TEXT)]).await?;
    Ok(marked.iter().find_map(|row| row.get::<_, &str>(0).strip_suffix(READERS)?.parse().ok()))
}

/// Reads the row, if setup has come that far.
pub(super) async fn find(client: &impl GenericClient) -> Result<Option<Installation>, Error> {
    let sql = "SELECT role_prefix, intake_login, loader_login FROM rollbook.installation";
    let Some(row) = client.query_opt(sql, &[]).await? else { return Ok(None) };
    let prefix: String = row.get(0);
    Ok(Some(Installation {
        prefix: prefix.parse().expect("a CHECK holds what the type holds"),
        intake_login: row.get(1),
        loader_login: row.get(2),
    }))
}

/// What names the installation for good, if setup has come that far.
pub(super) async fn id(client: &impl GenericClient) -> Result<Option<Uuid>, tokio_postgres::Error> {
    Ok(client.query_opt("SELECT id FROM rollbook.installation", &[]).await?.map(|row| row.get(0)))
}

/// Writes the row. The prefix and the id stay what they were when there is one.
pub(super) async fn save(
    client: &impl GenericClient,
    installation: &Installation,
    id: Uuid,
) -> Result<(), Error> {
    let sql = "INSERT INTO rollbook.installation (role_prefix, intake_login, loader_login, id) \
               VALUES ($1, $2, $3, $4) ON CONFLICT (only_row) DO UPDATE SET intake_login = $2, loader_login = $3";
    let Installation { prefix, intake_login, loader_login } = installation;
    client.execute(sql, &[&prefix.as_str(), intake_login, loader_login, &id]).await?;
    Ok(())
}
