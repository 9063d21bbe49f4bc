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

pub use database::{AdminDatabase, DatabaseUrl, RolePrefixSetting, ServiceDatabases, StandInDatabase};
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
    /// `ROLLBOOK_*` variables that no command has.
    #[error("{}", .0.join("; "))]
    UnknownVariables(Vec<String>),
}
