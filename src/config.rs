//! The environment, read once at the start and checked; no other room reads it.
//!
//! One drawer per concern, each a group of command line arguments with its environment names, units and defaults. A
//! drawer holds what was written; its `resolve` turns that into types that cannot be wrong, and refuses
//! contradictions by naming both keys. A variable that nobody knows, or that is empty, is [`environment`]'s concern.

pub mod database;
pub mod environment;
mod idle;
pub mod intake;
pub mod loader;
pub mod log;
pub mod ops;
pub mod otlp;
pub mod output;
pub mod report;
mod secret;

pub use database::{
    AdminDatabase, DatabaseUrl, LoaderDatabase, RolePrefixSetting, ServiceDatabases, StandInDatabase,
};
pub use environment::Operator;
pub use idle::Idle;
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
    /// Nothing says which log keeps what is accepted.
    #[error(
        "no log is chosen: set ROLLBOOK_KAFKA_BROKERS for Kafka, or ROLLBOOK_LOG=embedded for a log in files of this \
         process alone"
    )]
    NoLog,
    /// A value that cannot be what it should be. The text never repeats a secret. Who knows the words of the command
    /// line names the one under which it was given.
    #[error("{variable} {why}")]
    Invalid {
        /// Its environment variable.
        variable: &'static str,
        /// Its flag.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A variable whose text is none of the values that its setting takes.
    #[error("{variable} {why}")]
    BadVariable {
        /// The variable, as it was given.
        variable: String,
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
    /// A look at the settings and at what they name found this wrong.
    #[error("not fit to serve: {wrong}")]
    Check {
        /// The looks, separated by commas.
        wrong: String,
    },
    /// A `ROLLBOOK_*` variable that no command has.
    #[error("no setting is called {name}{}", .nearest.as_ref().map(|name| format!("; the nearest is {name}")).unwrap_or_default())]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The setting that is spelt most like it.
        nearest: Option<String>,
    },
}

impl ConfigError {
    /// All contradictions of a drawer as one error.
    ///
    /// # Errors
    /// There are some.
    pub(crate) fn refuse(contradictions: &[String]) -> Result<(), Self> {
        if contradictions.is_empty() { Ok(()) } else { Err(Self::Contradiction(contradictions.join("; "))) }
    }
}

/// All that is wrong with the settings, and not only what is met first.
#[derive(Debug, Default)]
pub struct Faults(Vec<ConfigError>);

impl Faults {
    /// Notes what is wrong, once, and gives what is right.
    pub fn note<T>(&mut self, setting: Result<T, ConfigError>) -> Option<T> {
        match setting {
            Ok(value) => Some(value),
            Err(fault) if self.0.contains(&fault) => None,
            Err(fault) => {
                self.0.push(fault);
                None
            }
        }
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// Something is; or there is no value, which somebody noted the reason of.
    pub fn none_or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl IntoIterator for Faults {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
