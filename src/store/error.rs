//! What an administrator's command can meet in Postgres.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::roles;
use crate::tenant::{OrganizationId, RolePrefix, Slug, State};

/// Why the store did not do it. A variant is something that the caller, or a person, would do differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not reachable, or the login was refused.
    #[error("cannot log in to Postgres as `{login}`")]
    Connect {
        /// The login role.
        login: String,
        /// What the driver says.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server, or what stands before it, takes the connection or not, and says nothing.
    #[error(
        "cannot log in to Postgres as `{login}`: {place} has not answered within {} s (`connect_timeout` of the URL)",
        .patience.as_secs()
    )]
    LoginTimedOut {
        /// The login role.
        login: String,
        /// Which of the URL's addresses.
        place: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Certificates for TLS cannot be loaded.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
    /// A statement failed.
    #[error("Postgres refused a statement")]
    Postgres(#[source] tokio_postgres::Error),
    /// Others have what the change needs.
    #[error("it waited in vain for {}", .by.join("; "))]
    LockHeld {
        /// The sessions that were found to have it.
        by: Vec<String>,
        /// How Postgres says it.
        #[source]
        source: Box<Error>,
    },
    /// A read took longer than a healthy server ever needs.
    #[error("Postgres did not answer in time")]
    ReadTimedOut,
    /// A migration failed, or the schema's history is not this release's.
    #[error("cannot bring schema `{schema}` up to date")]
    Migration {
        /// The schema.
        schema: String,
        /// What the migration runner says.
        #[source]
        source: Box<refinery::Error>,
    },
    /// `setup` has not run here.
    #[error("this database is not set up: run `rollbook setup`")]
    NotSetUp,
    /// The control schema is another release's.
    #[error("the control schema is at version {found}, this release works with {known}: {hint}")]
    ControlVersion {
        /// What stands in the database.
        found: i32,
        /// What this release was built with.
        known: i32,
        /// What to do.
        hint: &'static str,
    },
    /// The administrator's connection is not its own.
    #[error(
        "a pooler lends this session to others between transactions, and nothing was changed: administrators' commands \
         take a connection of their own, to the server itself or to a pooler in session mode \
         (ROLLBOOK_ADMIN_DATABASE_URL)"
    )]
    SharedSession,
    /// The server or the database has something otherwise than we rely on.
    #[error("this Postgres will not do: {}", .0.join("; and "))]
    UnfitServer(Vec<String>),
    /// The administrator's login may not do what is needed.
    #[error("the administrator `{login}` lacks {}", .missing.join(", and "))]
    AdministratorLacks {
        /// The login role.
        login: String,
        /// What is missing, and how to give it.
        missing: Vec<String>,
    },
    /// A service login that must not be one.
    #[error("`{login}` is a superuser: give the service a login of its own")]
    LoginIsSuperuser {
        /// The login role.
        login: String,
    },
    /// The prefix of role names cannot change.
    #[error(
        "ROLLBOOK_ROLE_PREFIX is `{}`, but this installation was set up with `{}`, which its roles carry",
        .given.as_str(), .installed.as_str()
    )]
    PrefixContradiction {
        /// What the setting says.
        given: RolePrefix,
        /// What setup was told.
        installed: RolePrefix,
    },
    /// Setup was told of a log other than the installation's.
    #[error(
        "this installation's log is {installed}, the settings say {given}: `setup --new-generation` declares a new log"
    )]
    AnotherLog {
        /// What the control schema says.
        installed: String,
        /// What the settings say.
        given: String,
    },
    /// A role or schema of that name exists and is not ours.
    #[error("the {kind} `{name}` exists and was not made by this installation: {}", way_out(kind))]
    NameTaken {
        /// `role`, `login` or `schema`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something bears an organization's name and not its mark. Names are the whole cluster's, and a restored database brings only
    /// its own.
    #[error(
        "the {kind} `{name}` {}",
        if *.is_anothers {
            "bears the mark of another organization and is left alone: a copy of a database belongs into another cluster"
                .to_owned()
        } else {
            format!(
                "does not bear the organization's mark and is left alone: where it is the organization's, say so (COMMENT ON \
                 {} {} IS {}), else give it another name; then run the same command again",
                .kind.to_uppercase(), roles::quoted(.name), roles::literal(.mark)
            )
        }
    )]
    NotItsOwn {
        /// `role` or `schema`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it would bear.
        mark: String,
        /// Whether it bears another organization's.
        is_anothers: bool,
    },
    /// A login that bears another installation's mark.
    #[error(
        "the login `{0}` belongs to another installation, as its COMMENT says, whose password must not be changed: write \
         other logins into the URLs (ROLLBOOK_INTAKE_DATABASE_URL, ROLLBOOK_LOADER_DATABASE_URL), which setup makes"
    )]
    LoginOfAnother(String),
    /// A login that serves another database, too, and has another password than the URL says.
    #[error(
        "the login `{login}` also lets the service into the database `{other}` of this cluster, with another password than \
         the URL has: setting it here would lock that service out"
    )]
    LoginServesAnother {
        /// The login role.
        login: String,
        /// The other database.
        other: String,
    },
    /// Removing the schema would take along what is not the organization's.
    #[error(
        "nothing was removed, for outside of the schema `{schema}` this hangs on it and would go along: {}. Drop it or \
         change it first, or let it go along with --cascade",
        .dependents.join(", ")
    )]
    HasDependents {
        /// The organization's schema.
        schema: String,
        /// What hangs on it, in Postgres' words.
        dependents: Vec<String>,
    },
    /// No organization of that slug.
    #[error("there is no organization `{0}`")]
    NoSuchOrganization(Slug),
    /// `org add` of an organization that is complete.
    #[error("the organization `{slug}` exists already and is {}", .state.as_str())]
    OrganizationExists {
        /// Its name.
        slug: Slug,
        /// Its state.
        state: State,
    },
    /// The organization was removed.
    #[error("the organization `{0}` was removed; its slug is never used again")]
    OrganizationRemoved(Slug),
    /// The organization is removed, but something of it is still there.
    #[error(
        "the organization is removed, but its {kind} `{name}` could not be dropped: mend the cause and run the same \
         command again"
    )]
    NotSwept {
        /// `role` or `schema`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// The organization is not complete.
    #[error("the organization `{0}` is not complete: `rollbook org add {0}` finishes it")]
    OrganizationProvisioning(Slug),
    /// No key of that id.
    #[error("there is no write key with the id {0}")]
    NoSuchKey(uuid::Uuid),
    /// No dead letter of that id.
    #[error("there is no dead letter {0}")]
    NoSuchDeadLetter(i64),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness for a key")]
    Randomness(#[source] rand::rngs::SysError),
    /// A row that this release cannot read: written by a newer one, or by hand.
    #[error("the control schema's row of organization {id} cannot be read: {why}")]
    UnreadableRow {
        /// Whose row.
        id: OrganizationId,
        /// What is wrong with it.
        why: String,
    },
}

impl From<tokio_postgres::Error> for Error {
    /// A statement that was prepared in one session and is unknown in the next tells more than the statement itself.
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&SqlState::INVALID_SQL_STATEMENT_NAME | &SqlState::DUPLICATE_PSTATEMENT) => {
                Self::SharedSession
            }
            _ => Self::Postgres(error),
        }
    }
}

/// Roles are the whole cluster's, and may be another installation's.
fn way_out(kind: &str) -> &'static str {
    match kind {
        "role" => {
            "give it another name, or, where another installation of this cluster has it, set ROLLBOOK_ROLE_PREFIX \
             before the first `rollbook setup`"
        }
        "login" => {
            "write other logins into the URLs (ROLLBOOK_INTAKE_DATABASE_URL, ROLLBOOK_LOADER_DATABASE_URL), which setup \
             makes; or, where it is nobody else's, say so with `rollbook setup --adopt-logins`"
        }
        _ => "give it another name first",
    }
}

impl Error {
    /// Names the failure to machines. No `_` arm, so that a new variant must be decided.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::LoginTimedOut { .. } | Self::Tls(_) | Self::ReadTimedOut => {
                "database_unavailable"
            }
            Self::Postgres(_) => "database_error",
            Self::LockHeld { source, .. } => source.code(),
            Self::Migration { .. } => "migration_failed",
            Self::NotSetUp => "not_set_up",
            Self::ControlVersion { .. } => "control_schema_version",
            Self::SharedSession => "shared_session",
            Self::UnfitServer(_) => "unfit_server",
            Self::AdministratorLacks { .. } => "insufficient_rights",
            Self::LoginIsSuperuser { .. } => "login_is_superuser",
            Self::PrefixContradiction { .. } => "contradiction",
            Self::AnotherLog { .. } => "another_log",
            Self::NameTaken { .. } | Self::LoginOfAnother(_) | Self::NotItsOwn { .. } => "name_taken",
            Self::LoginServesAnother { .. } => "login_serves_another",
            Self::HasDependents { .. } => "has_dependents",
            Self::NoSuchOrganization(_) => "organization_not_found",
            Self::OrganizationExists { .. } => "organization_exists",
            Self::OrganizationRemoved(_) => "organization_removed",
            Self::NotSwept { .. } => "not_swept",
            Self::OrganizationProvisioning(_) => "organization_provisioning",
            Self::NoSuchKey(_) => "key_not_found",
            Self::NoSuchDeadLetter(_) => "dead_letter_not_found",
            Self::Randomness(_) => "no_randomness",
            Self::UnreadableRow { .. } => "unreadable_row",
        }
    }
}
