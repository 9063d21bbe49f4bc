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
    /// Its flag, without the dashes.
    flag: Option<String>,
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
        let flag = argument.get_long().map(str::to_owned);
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
        (!written.is_empty()).then_some(Self { name, flag, value: (!is_secret).then_some(written), source })
    }
}

/// Two settings that contradict each other, each by the name that it was given under. Whoever finds the contradiction
/// knows their variables.
pub(super) fn by_given_names(fault: ConfigError, settings: &[Setting]) -> ConfigError {
    let ConfigError::Contradiction(said) = fault else { return fault };
    let written = settings.iter().filter(|setting| setting.source == Source::CommandLine);
    let flag_of = |word: &str| {
        let setting = written.clone().find(|setting| setting.name == word)?;
        Some(format!("--{}", setting.flag.as_deref()?))
    };
    let named = words(&said).map(|word| flag_of(word).unwrap_or_else(|| word.to_owned()));
    ConfigError::Contradiction(named.collect())
}

/// Whether a fault is about a setting.
pub(super) fn is_about(fault: &ConfigError, variable: &str) -> bool {
    words(&fault.to_string()).any(|word| word == variable)
}

/// A text in parts: names of variables, and what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest.find(|c| is_of_name(c) != is_of_name(first)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        Some(word)
    })
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
        let Self { name, flag: _, value, source: _ } = self;
        match value.as_deref() {
            None => write!(f, "{name}=…"),
            Some(plain) if plain.chars().all(|c| c.is_ascii_graphic() && c != '\'') => {
                write!(f, "{name}={plain}")
            }
            Some(other) => write!(f, "{name}={other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, flag: &str, source: Source) -> Setting {
        Setting { name: name.to_owned(), flag: Some(flag.to_owned()), value: None, source }
    }

    #[test]
    fn a_contradiction_names_a_flag_where_one_was_written_and_a_variable_where_one_was_set() {
        let settings = [
            setting("ROLLBOOK_LOG", "log", Source::CommandLine),
            setting("ROLLBOOK_LOG_PARTITIONS", "log-partitions", Source::Variable),
            setting("ROLLBOOK_ROLE", "role", Source::Default),
        ];
        let said = "ROLLBOOK_LOG is `x`, ROLLBOOK_LOG_PARTITIONS (1) and ROLLBOOK_ROLE\u{2026}";
        let named = by_given_names(ConfigError::Contradiction(said.to_owned()), &settings);
        let expected = said.replacen("ROLLBOOK_LOG", "--log", 1);
        assert_eq!(named, ConfigError::Contradiction(expected));
        assert_eq!(by_given_names(ConfigError::NoLog, &settings), ConfigError::NoLog);
    }

    #[test]
    fn a_fault_is_about_the_settings_that_it_names_and_not_about_what_begins_like_them() {
        let fault = ConfigError::Missing { missing: "ROLLBOOK_KAFKA_BROKERS".to_owned() };
        assert!(is_about(&fault, "ROLLBOOK_KAFKA_BROKERS") && !is_about(&fault, "ROLLBOOK_KAFKA"));
        assert!(is_about(&ConfigError::NoLog, "ROLLBOOK_LOG"));
    }
}
