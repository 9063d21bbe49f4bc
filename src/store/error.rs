//! What an administrator's command can meet in Postgres.

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
    /// Certificates for TLS cannot be loaded.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
    /// A statement failed.
    #[error("Postgres refused a statement")]
    Postgres(#[from] tokio_postgres::Error),
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
        /// `role` or `schema`.
        kind: &'static str,
        /// Its name.
        name: String,
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

/// Roles are the whole cluster's, and may be another installation's.
fn way_out(kind: &str) -> &'static str {
    match kind {
        "role" => {
            "rename or drop it, or, where another installation of this cluster has it, set ROLLBOOK_ROLE_PREFIX \
             before the first `rollbook setup`"
        }
        _ => "rename or drop it first",
    }
}

impl Error {
    /// Names the failure to machines. No `_` arm, so that a new variant must be decided.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Tls(_) | Self::ReadTimedOut => "database_unavailable",
            Self::Postgres(_) => "database_error",
            Self::Migration { .. } => "migration_failed",
            Self::NotSetUp => "not_set_up",
            Self::ControlVersion { .. } => "control_schema_version",
            Self::AdministratorLacks { .. } => "insufficient_rights",
            Self::LoginIsSuperuser { .. } => "login_is_superuser",
            Self::PrefixContradiction { .. } => "contradiction",
            Self::AnotherLog { .. } => "another_log",
            Self::NameTaken { .. } => "name_taken",
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
