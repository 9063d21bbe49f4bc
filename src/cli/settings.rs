//! The settings in effect, and where each comes from.

#[cfg(test)]
mod page;

use std::collections::BTreeSet;
use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use crate::config::{ConfigError, environment};

/// One setting of a command.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Its variable.
    pub(super) name: String,
    /// As it was written; `None` for a secret.
    pub(super) value: Option<String>,
    pub(super) source: Source,
}

/// Where a setting's value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    CommandLine,
    Variable,
    /// In a file that a variable names.
    File,
    Default,
}

impl Setting {
    /// All settings of a command that have a value.
    pub(super) fn all(command: &clap::Command, matches: &ArgMatches) -> Vec<Self> {
        command.get_arguments().filter_map(|argument| Self::of(argument, matches)).collect()
    }

    fn of(argument: &Arg, matches: &ArgMatches) -> Option<Self> {
        let name = environment::variable(argument)?;
        let is_secret = argument.is_hide_env_values_set();
        let id = argument.get_id().as_str();
        let written = matches.get_raw(id)?.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
        let source = match matches.value_source(id)? {
            ValueSource::CommandLine => Source::CommandLine,
            ValueSource::EnvVariable => Source::Variable,
            // A secret has no default: where it is in a file, it was put in the place of one.
            _ if is_secret && !written.is_empty() => Source::File,
            _ => Source::Default,
        };
        (!written.is_empty()).then_some(Self { name, value: (!is_secret).then_some(written), source })
    }
}

/// What is set for Kafka although the log is another one: settings of the command, and variables that other commands read.
pub(super) fn of_another_log(settings: &[Setting], variables: &BTreeSet<String>) -> Option<ConfigError> {
    let value = |name| settings.iter().find(|setting| setting.name == name)?.value.as_deref();
    if value("ROLLBOOK_LOG") != Some("embedded") {
        return None;
    }
    let set =
        settings.iter().filter(|setting| setting.source != Source::Default).map(|setting| &setting.name);
    let names: BTreeSet<&str> =
        set.chain(variables).map(String::as_str).filter(|name| name.starts_with("ROLLBOOK_KAFKA_")).collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    let listed = names.iter().copied().collect::<Vec<_>>().join(", ");
    let said = format!("ROLLBOOK_LOG is `embedded`, and {listed} {are} set, which only Kafka has");
    (!names.is_empty()).then_some(ConfigError::Contradiction(said))
}

/// As a shell would read it.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, source: _ } = self;
        match value.as_deref() {
            None => write!(f, "{name}=…"),
            Some(plain) if plain.chars().all(|c| c.is_ascii_graphic() && c != '\'') => {
                write!(f, "{name}={plain}")
            }
            Some(other) => write!(f, "{name}={other:?}"),
        }
    }
}
