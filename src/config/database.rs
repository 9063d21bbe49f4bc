//! Where Postgres is, and as whom to log in.

mod url;

use super::{ConfigError, Secret};
use crate::tenant::RolePrefix;

pub(super) use url::unescaped;
pub use url::{BadDatabaseUrl, DatabaseUrl, OwnCertificate, Roots, TlsPolicy, Verify};

const ADMIN: Setting = Setting { variable: "ROLLBOOK_ADMIN_DATABASE_URL", flag: "--admin-database-url" };
const INTAKE: Setting = Setting { variable: "ROLLBOOK_INTAKE_DATABASE_URL", flag: "--intake-database-url" };
const LOADER: Setting = Setting { variable: "ROLLBOOK_LOADER_DATABASE_URL", flag: "--loader-database-url" };
const ANY: Setting = Setting { variable: "ROLLBOOK_DATABASE_URL", flag: "--database-url" };

/// The administrator's login: what every command but `serve` and `load` works with.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Postgres")]
pub struct AdminDatabase {
    /// Login of the administrator, postgres://user:password@host:port/database: a superuser, or a role that has
    /// CREATEROLE and owns the database. No default.
    #[arg(long, value_name = "URL", env = ADMIN.variable, hide_env_values = true)]
    admin_database_url: Option<Secret>,
    #[command(flatten)]
    stand_in: StandInDatabase,
}

/// One login for everything.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Postgres")]
pub struct StandInDatabase {
    /// Stands in for any database URL that is not set: for development. No default. `serve` refuses a login with
    /// more rights than its role needs unless it is told otherwise.
    #[arg(long, value_name = "URL", env = ANY.variable, hide_env_values = true)]
    database_url: Option<Secret>,
}

impl AdminDatabase {
    /// The administrator's URL.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn resolve(&self) -> Result<DatabaseUrl, ConfigError> {
        ADMIN.resolve(self.admin_database_url.as_ref(), &self.stand_in)
    }

    /// What stands in for a URL that is not set, for a command that takes [`ServiceDatabases`] as well.
    pub fn stand_in(&self) -> &StandInDatabase {
        &self.stand_in
    }
}

/// The two logins of the running service.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Postgres")]
pub struct ServiceDatabases {
    /// Login of intake, which may read organizations and keys, and nothing else. `setup` makes it with the name and
    /// password written here. No default.
    #[arg(long, value_name = "URL", env = INTAKE.variable, hide_env_values = true)]
    intake_database_url: Option<Secret>,
    /// Login of the loader, which has no rights of its own on any organization's tables. `setup` makes it with the
    /// name and password written here. No default.
    #[arg(long, value_name = "URL", env = LOADER.variable, hide_env_values = true)]
    loader_database_url: Option<Secret>,
}

impl ServiceDatabases {
    /// Intake's URL.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn intake(&self, stand_in: &StandInDatabase) -> Result<DatabaseUrl, ConfigError> {
        INTAKE.resolve(self.intake_database_url.as_ref(), stand_in)
    }

    /// The loader's URL.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn loader(&self, stand_in: &StandInDatabase) -> Result<DatabaseUrl, ConfigError> {
        LOADER.resolve(self.loader_database_url.as_ref(), stand_in)
    }
}

/// The loader's login, for a command that does the loader's work once.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Postgres")]
pub struct LoaderDatabase {
    /// Login of the loader. Default: the one that stands in for any, else the administrator's, which may become an
    /// organization's role only where it is a superuser or was granted it.
    #[arg(long, value_name = "URL", env = LOADER.variable, hide_env_values = true)]
    loader_database_url: Option<Secret>,
}

impl LoaderDatabase {
    /// The loader's URL, or what stands in for it, or the administrator's.
    ///
    /// # Errors
    /// It is no URL, or both are missing.
    pub fn resolve(&self, admin: &AdminDatabase) -> Result<DatabaseUrl, ConfigError> {
        let (own, stand_in) = (self.loader_database_url.as_ref(), admin.stand_in());
        if own.is_some() || stand_in.database_url.is_some() {
            return LOADER.resolve(own, stand_in);
        }
        admin.resolve()
    }
}

/// What tells this installation's roles from another one's in the same Postgres cluster.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Postgres")]
pub struct RolePrefixSetting {
    /// Goes before `org_…` and `reader_…` in role names, so that two installations can share a Postgres cluster: at
    /// most 8 characters. Default: none. Fixed by the first `setup`; a different one later is refused.
    #[arg(long, value_name = "PREFIX", env = "ROLLBOOK_ROLE_PREFIX")]
    pub role_prefix: Option<RolePrefix>,
}

/// A database setting by its two names.
struct Setting {
    variable: &'static str,
    flag: &'static str,
}

impl Setting {
    fn resolve(&self, own: Option<&Secret>, stand_in: &StandInDatabase) -> Result<DatabaseUrl, ConfigError> {
        let (setting, written) = match (own, &stand_in.database_url) {
            (Some(own), _) => (self, own),
            (None, Some(stand_in)) => (&ANY, stand_in),
            (None, None) => {
                let missing = format!("{} (or {} for any of them)", self.variable, ANY.variable);
                return Err(ConfigError::Missing { missing });
            }
        };
        DatabaseUrl::parse(written).map_err(|bad| ConfigError::Invalid {
            variable: setting.variable,
            flag: setting.flag,
            why: bad.to_string(),
        })
    }
}
