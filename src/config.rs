//! The environment, read once at the start and checked; no other room reads it.
//!
//! One drawer per concern, each a group of command line arguments with its environment names, units and defaults. A
//! drawer holds what was written; its `resolve` turns that into types that cannot be wrong, and refuses
//! contradictions by naming both keys. A variable that nobody knows, or that is empty, is [`environment`]'s concern.

pub mod database;
pub mod environment;
pub mod intake;
pub mod loader;
pub mod log;
pub mod ops;
pub mod output;
mod secret;

pub use database::{
    AdminDatabase, DatabaseUrl, LoaderDatabase, RolePrefixSetting, ServiceDatabases, StandInDatabase,
};
pub use environment::Operator;
pub use output::Output;
pub use secret::Secret;

/// Settings that cannot be used. Which exit code that is depends on where the value came from (see [`crate::cli`]).
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A setting that the command cannot do without.
    #[error("{missing} is not set")]
    Missing {
        /// The setting and what can stand in for it.
        missing: String,
    },
    /// A value that cannot be what it should be. The text never repeats a secret.
    #[error("{variable} (or {flag}) {why}")]
    Invalid {
        /// Its environment variable.
        variable: &'static str,
        /// Its flag.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Two settings that cannot both be meant; names both.
    #[error("{0}")]
    Contradiction(String),
    /// A database whose server or settings are not what the service relies on.
    #[error("the database of {variable} will not do: {}", .misfits.join("; and "))]
    UnfitDatabase {
        /// The setting that names it.
        variable: &'static str,
        /// What does not fit.
        misfits: Vec<String>,
    },
    /// A service login that may do more than its role needs.
    #[error(
        "the login `{login}` of {role} may do more than it needs: it {}. Give {role} a login of its own (`rollbook \
         setup` makes it from {variable}), or set ROLLBOOK_ALLOW_PRIVILEGED_LOGIN=true for development",
        .excess.join("; it ")
    )]
    PrivilegedLogin {
        /// The login role.
        login: String,
        /// `intake` or `loader`.
        role: &'static str,
        /// The setting that named it.
        variable: &'static str,
        /// What is too much, each as the end of a sentence about it.
        excess: Vec<String>,
    },
    /// `ROLLBOOK_*` variables that no command has.
    #[error("{}", .0.join("; "))]
    UnknownVariables(Vec<String>),
}
