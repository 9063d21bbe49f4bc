//! How a command fails: an exit code for scripts, a code for machines, a text for people.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::output;
use crate::config::{ConfigError, Faults, environment};
use crate::ops::chain;
use crate::store;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are wrong, or are a request for help.
    Arguments(clap::Error),
    /// The settings are.
    Config(ConfigError),
    /// Postgres, or what stands in it, does not allow it.
    Store(store::Error),
    /// More than one of these.
    Several(Vec<Failure>),
    /// Anything else that a command finds out, by its code and its text.
    Other {
        /// For machines.
        code: &'static str,
        /// For people.
        message: String,
    },
}

/// What the exit codes of contract 4 mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    WrongArguments = 2,
    BadEnvironment = 64,
}

impl Failure {
    /// A failure by its code and its text.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Other { code, message: message.into() }
    }

    /// All of these as one; `None` where there are none.
    pub(super) fn all(mut failures: Vec<Self>) -> Option<Self> {
        match failures.len() {
            0 | 1 => failures.pop(),
            _ => Some(Self::Several(failures)),
        }
    }

    /// Says what went wrong on standard error, as JSON if the arguments ask for it, and gives the exit code.
    pub fn report(&self, arguments: &[OsString]) -> ExitCode {
        let exit = self.exit(arguments);
        match self {
            Self::Arguments(help) if exit == Exit::Done => output::say(&help.render().to_string()),
            // `rollbook org`: what can follow is all that needs saying.
            Self::Arguments(help) if help.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                output::explain(&help.render().to_string());
            }
            _ if arguments.iter().any(|argument| argument == "--json") => {
                output::complain_in_json(self.code(), &self.message(arguments));
            }
            Self::Several(failures) => {
                let lines = failures.iter().map(|failure| format!("\n  {}", failure.line(arguments)));
                output::complain(&format!(
                    "{} things are wrong:{}",
                    failures.len(),
                    lines.collect::<String>()
                ));
            }
            _ => output::complain(&self.message(arguments)),
        }
        ExitCode::from(exit as u8)
    }

    fn exit(&self, arguments: &[OsString]) -> Exit {
        match self {
            Self::Arguments(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
                _ => Exit::WrongArguments,
            },
            Self::Config(ConfigError::Invalid { flag, .. }) if is_written(flag, arguments) => {
                Exit::WrongArguments
            }
            Self::Config(_) => Exit::BadEnvironment,
            Self::Store(store::Error::PrefixContradiction { .. }) => Exit::BadEnvironment,
            Self::Several(failures) => {
                let exits: Vec<Exit> = failures.iter().map(|failure| failure.exit(arguments)).collect();
                // Wrong words first: who wrote them is there to read it.
                let worst = [Exit::WrongArguments, Exit::BadEnvironment]
                    .into_iter()
                    .find(|exit| exits.contains(exit));
                worst.unwrap_or(Exit::Failed)
            }
            Self::Store(_) | Self::Other { .. } => Exit::Failed,
        }
    }

    /// Names the failure to machines.
    fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "bad_arguments",
            Self::Config(ConfigError::Missing { .. } | ConfigError::NoLog) => "missing_setting",
            Self::Config(ConfigError::Invalid { .. } | ConfigError::BadVariable { .. }) => "bad_setting",
            Self::Config(ConfigError::Contradiction(_)) => "contradiction",
            Self::Config(ConfigError::UnfitDatabase { .. }) => "unfit_server",
            Self::Config(ConfigError::PrivilegedLogin { .. }) => "privileged_login",
            Self::Config(ConfigError::UnknownVariable { .. }) => "unknown_setting",
            Self::Config(ConfigError::Check { .. }) => "check_failed",
            Self::Several(failures) => failures.first().map_or("bad_setting", Self::code),
            Self::Store(error) => error.code(),
            Self::Other { code, .. } => code,
        }
    }

    /// Whether it is about settings alone, and not about the words of the command line.
    pub(super) fn is_of_settings(&self, arguments: &[OsString]) -> bool {
        matches!(self, Self::Config(_)) && self.exit(arguments) == Exit::BadEnvironment
    }

    /// The message as one of several: without the usage that goes with one alone.
    pub(super) fn line(&self, arguments: &[OsString]) -> String {
        let message = self.message(arguments);
        let first = message.split("\n\n").next().unwrap_or_default();
        first.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    fn message(&self, arguments: &[OsString]) -> String {
        match self {
            Self::Arguments(error) => {
                let text = error.render().to_string();
                without_secrets(text.strip_prefix("error: ").unwrap_or(&text).trim_end())
            }
            Self::Config(ConfigError::Invalid { variable, flag, why }) if is_written(flag, arguments) => {
                format!("{flag} {why}")
            }
            Self::Config(ConfigError::Invalid { variable, why, .. }) => {
                format!("{} {why}", environment::name_of_variable(variable))
            }
            Self::Config(error) => error.to_string(),
            Self::Several(failures) => {
                failures.iter().map(|failure| failure.line(arguments)).collect::<Vec<_>>().join("; ")
            }
            Self::Store(error) => chain(error),
            Self::Other { message, .. } => message.clone(),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::all(faults.into_iter().map(Self::Config).collect())
            .unwrap_or_else(|| Self::new("bad_setting", "the settings cannot be used"))
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Whether `flag` stands among the arguments: otherwise its value can only come from the environment.
pub(super) fn is_written(flag: &str, arguments: &[OsString]) -> bool {
    arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| {
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// The command line library repeats words that it does not understand; a URL among them may hold a password, and a
/// write key may stand where its id was asked for.
pub(super) fn without_secrets(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(|word| without_key(&without_password(word))).collect()
}

fn without_password(word: &str) -> String {
    match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}…{}", &word[..scheme + 3], &word[at..]),
        _ => word.to_owned(),
    }
}

/// Also of a key that was cut short or has a typing error in it.
fn without_key(word: &str) -> String {
    /// No more than this of a slug looks like a key.
    const SHORTEST: usize = 32;
    let Some((before, key)) = word.split_once("rb_") else { return word.to_owned() };
    let after = key.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    if key.len() - after.len() < SHORTEST { word.to_owned() } else { format!("{before}rb_…{after}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked_wherever_they_stand() {
        assert_eq!(
            without_secrets("unexpected argument 'postgres://ann:p@ss@db/x' found\n"),
            "unexpected argument 'postgres://…@db/x' found\n"
        );
        assert_eq!(without_secrets("see https://example.org"), "see https://example.org");
    }

    #[test]
    fn write_keys_are_masked_and_slugs_are_not() {
        let key = "rb_ntdgRnwQoSu1zlxxPVvbGwBnkA9iXzzOGBNKRYhaTZK3R3pbG";
        for (written, said) in [
            (format!("invalid value '{key}' for '<ID>'"), "invalid value 'rb_…' for '<ID>'"),
            (format!("--key=acme={} is short", &key[..40]), "--key=acme=rb_… is short"),
            ("rb_school_of_rhythm_and_blues_and_rock".to_owned(), "rb_school_of_rhythm_and_blues_and_rock"),
        ] {
            assert_eq!(without_secrets(&written), said);
        }
    }

    #[test]
    fn a_flag_is_recognized_in_both_spellings_and_not_by_its_beginning() {
        let arguments = ["rollbook", "--jobs=3", "--org", "acme", "--role-prefix-x"].map(OsString::from);
        assert!(is_written("--jobs", &arguments));
        assert!(is_written("--org", &arguments));
        assert!(!is_written("--role-prefix", &arguments));
    }
}
