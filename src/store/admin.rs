//! The administrator's own connection, and what is asked of that login.

use tokio_postgres::Client;

use super::{Error, connect, migrations, retry, roles};
use crate::config::{DatabaseUrl, Operator};

/// PostgreSQL 15, the oldest that we run on.
const OLDEST_VERSION: u32 = 15_00_00;
/// PostgreSQL 16, where membership in a role says separately whether its rights are inherited.
const VERSION_16: u32 = 16_00_00;

/// A connection whose login may set up, provision and migrate.
///
/// Whatever it makes belongs to the owner of the database, whoever is logged in, so that a superuser can begin and a
/// lesser role go on.
#[derive(Debug)]
pub struct Admin {
    pub(super) client: Client,
    pub(super) operator: Operator,
    login: String,
    is_superuser: bool,
    database: String,
    owner: String,
    version: u32,
}

impl Admin {
    /// Logs in and looks whether the login may do an administrator's work.
    ///
    /// # Errors
    /// [`Error::Connect`], or [`Error::AdministratorLacks`] with everything that is missing.
    pub async fn connect(url: &DatabaseUrl, operator: Operator) -> Result<Self, Error> {
        let client = connect(url).await?;
        // A function that somebody put into `public` must never be taken for one of Postgres': this login can do much.
        client.batch_execute("SET search_path = ''").await?;
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
        let admin = Self {
            client,
            operator,
            login: row.get(0),
            is_superuser: row.get(1),
            database: row.get(3),
            owner: row.get(4),
            version: version.parse().unwrap_or(OLDEST_VERSION),
        };
        admin.refuse_if_lacking(row.get(2), row.get(5), row.get(7))?;
        Ok(admin)
    }

    fn refuse_if_lacking(
        &self,
        may_create_roles: bool,
        owns_database: bool,
        control_schema_owner: Option<&str>,
    ) -> Result<(), Error> {
        let Self { login, database, .. } = self;
        let mut missing = Vec::new();
        if self.version < OLDEST_VERSION {
            missing.push(format!("PostgreSQL 15 or newer (this is {})", self.version / 10_000));
        }
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

    /// Whether the login may do everything.
    pub(super) fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// The login role.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The database, by name.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// The role that owns the database, and everything that is made in it.
    pub(super) fn owner(&self) -> &str {
        &self.owner
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

    /// Brings one schema to `runner`'s newest version, as the owner.
    pub(super) async fn run_migrations(
        &mut self,
        runner: &refinery::Runner,
        schema: &str,
    ) -> Result<(), Error> {
        migrations::run(&mut self.client, runner, schema, &self.owner).await
    }

    /// Waits for the lock that serializes work on `what` and does `work` under it.
    pub(super) async fn locked<T>(
        &mut self,
        what: &str,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = retry::lock_key(what);
        self.client.execute("SELECT pg_advisory_lock($1)", &[&key]).await?;
        let result = work(self).await;
        let unlocked = self.client.execute("SELECT pg_advisory_unlock($1)", &[&key]).await;
        // Why the work failed says more than that the connection is gone, and the lock with it.
        let value = result?;
        unlocked?;
        Ok(value)
    }
}
