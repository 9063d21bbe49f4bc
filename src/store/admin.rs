//! The administrator's own connection, and what is asked of that login.

use tokio_postgres::{Client, IsolationLevel};

use super::change::Change;
use super::session::Mark;
use super::{Error, connect, roles};
use crate::config::{DatabaseUrl, Operator};

/// PostgreSQL 16, where membership in a role says separately whether its rights are inherited.
const VERSION_16: u32 = 16_00_00;

/// A connection whose login may set up, provision and migrate, in a session of its own.
///
/// Whatever it makes belongs to the owner of the database, whoever is logged in, so that a superuser can begin and a
/// lesser role go on.
#[derive(Debug)]
pub struct Admin {
    pub(super) client: Client,
    session: Mark,
    who: Administrator,
}

/// Who is logged in, and where.
#[derive(Clone, Debug)]
pub(super) struct Administrator {
    pub(super) operator: Operator,
    pub(super) login: String,
    /// Whether the login may do everything.
    pub(super) is_superuser: bool,
    /// The database, by name.
    pub(super) database: String,
    /// The role that owns the database, and everything that is made in it.
    pub(super) owner: String,
    version: u32,
}

impl Admin {
    /// Logs in and looks whether the login may do an administrator's work, and whether the session is its own.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::SharedSession`], or [`Error::AdministratorLacks`] with everything that is missing.
    pub async fn connect(url: &DatabaseUrl, operator: Operator) -> Result<Self, Error> {
        let client = connect(url).await?;
        let session = Mark::put(&client, url).await?;
        let row = client
            .query_one(
                "SELECT session_user::text, r.rolsuper, r.rolcreaterole, d.datname::text, \
                        pg_get_userbyid(d.datdba)::text, pg_has_role(session_user, d.datdba, 'USAGE'), \
                        current_setting('server_version_num'), \
                        (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace \
                         WHERE nspname = 'rollbook' AND NOT pg_has_role(session_user, nspowner, 'USAGE')) \
                 FROM pg_roles r, pg_database d \
                 WHERE r.rolname = session_user AND d.datname = current_database()",
                &[],
            )
            .await?;
        let version: String = row.get(6);
        let who = Administrator {
            operator,
            login: row.get(0),
            is_superuser: row.get(1),
            database: row.get(3),
            owner: row.get(4),
            version: version.parse().unwrap_or_default(),
        };
        who.refuse_if_lacking(row.get(2), row.get(5), row.get(7))?;
        Ok(Self { client, session, who })
    }

    /// The connection itself, for those who only look, or who take a role of their own in each transaction.
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The role that owns the database, and every schema in it.
    pub(crate) fn owner(&self) -> &str {
        &self.who.owner
    }

    /// Begins a change, whatever the database makes of transactions by default.
    pub(super) async fn begin(&mut self) -> Result<Change<'_>, Error> {
        let begin = self.client.build_transaction();
        let begin = begin.isolation_level(IsolationLevel::ReadCommitted).read_only(false);
        Change::new(begin.start().await?, &self.who, &self.session).await
    }

    /// Who is logged in, and where.
    pub(super) fn who(&self) -> &Administrator {
        &self.who
    }
}

impl Administrator {
    fn refuse_if_lacking(
        &self,
        may_create_roles: bool,
        owns_database: bool,
        control_schema_owner: Option<&str>,
    ) -> Result<(), Error> {
        let Self { login, database, .. } = self;
        let mut missing = Vec::new();
        if !self.is_superuser && !may_create_roles {
            missing.push(format!("CREATEROLE (ALTER ROLE {} CREATEROLE)", roles::quoted(login)));
        }
        if !self.is_superuser && !owns_database {
            let (database, login) = (roles::quoted(database), roles::quoted(login));
            missing.push(format!("ownership of the database (ALTER DATABASE {database} OWNER TO {login})"));
        }
        if let (false, true, Some(owner)) = (self.is_superuser, owns_database, control_schema_owner) {
            missing.push(format!(
                "what was set up while the database was another's: the schema rollbook belongs to `{owner}` \
                 (`rollbook setup`, once more as a superuser, hands it over)"
            ));
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Error::AdministratorLacks { login: login.clone(), missing })
        }
    }

    /// Whether a grant of membership says by itself whether rights are inherited.
    pub(super) fn grants_say_inherit(&self) -> bool {
        self.version >= VERSION_16
    }

    /// Whether roles that this login makes would be out of the owner's hands: from PostgreSQL 16 on, only a role's
    /// maker and superusers may grant it.
    pub(super) fn must_share_roles(&self) -> bool {
        self.version >= VERSION_16 && self.login != self.owner
    }
}
