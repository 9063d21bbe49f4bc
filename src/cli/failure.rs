//! How a command fails: an exit code for scripts, a code for machines, a text for people.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::output;
use crate::config::ConfigError;
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
            _ => output::complain(&self.message(arguments)),
        }
        ExitCode::from(exit as u8)
    }

    fn exit(&self, arguments: &[OsString]) -> Exit {
        match self {
            Self::Arguments(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
                // The words are readable, so it is a variable that is not.
                ErrorKind::InvalidUtf8 if arguments.iter().all(|word| word.to_str().is_some()) => {
                    Exit::BadEnvironment
                }
                _ => match refused_argument(error) {
                    Some(flag) if !is_written(&flag, arguments) => Exit::BadEnvironment,
                    _ => Exit::WrongArguments,
                },
            },
            Self::Config(ConfigError::Invalid { flag, .. }) if is_written(flag, arguments) => {
                Exit::WrongArguments
            }
            Self::Config(_) => Exit::BadEnvironment,
            Self::Store(store::Error::PrefixContradiction { .. }) => Exit::BadEnvironment,
            Self::Store(_) | Self::Other { .. } => Exit::Failed,
        }
    }

    /// Names the failure to machines.
    fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "bad_arguments",
            Self::Config(ConfigError::Missing { .. }) => "missing_setting",
            Self::Config(ConfigError::Invalid { .. }) => "bad_setting",
            Self::Config(ConfigError::Contradiction(_)) => "contradiction",
            Self::Config(ConfigError::UnfitDatabase { .. }) => "unfit_server",
            Self::Config(ConfigError::PrivilegedLogin { .. }) => "privileged_login",
            Self::Config(ConfigError::UnknownVariables(_)) => "unknown_setting",
            Self::Store(error) => error.code(),
            Self::Other { code, .. } => code,
        }
    }

    fn message(&self, arguments: &[OsString]) -> String {
        match self {
            Self::Arguments(error) => {
                let text = error.render().to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
                let origin = match refused_argument(error) {
                    Some(flag) if !is_written(&flag, arguments) => {
                        "\n\nThe value comes from the environment variable of that setting."
                    }
                    _ => "",
                };
                without_secrets(&format!("{text}{origin}"))
            }
            Self::Config(error) => error.to_string(),
            Self::Store(error) => chain(error),
            Self::Other { message, .. } => message.clone(),
        }
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

/// The long flag whose value was refused, without its dashes.
fn refused_argument(error: &clap::Error) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = argument.split_whitespace().next()?;
    flag.starts_with("--").then(|| flag.to_owned())
}

/// Whether `flag` stands among the arguments: otherwise its value can only come from the environment.
fn is_written(flag: &str, arguments: &[OsString]) -> bool {
    arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| {
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// An error with what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The command line library repeats words that it does not understand; a URL among them may hold a password, and a
/// write key may stand where its id was asked for.
fn without_secrets(text: &str) -> String {
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
    fn text_that_is_not_unicode_is_the_environments_unless_it_stands_among_the_words() {
        let failure = Failure::Arguments(clap::Error::new(ErrorKind::InvalidUtf8));
        let unreadable: OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
        assert_eq!(failure.exit(&["rollbook".into(), "migrate".into()]), Exit::BadEnvironment);
        assert_eq!(failure.exit(&["rollbook".into(), unreadable]), Exit::WrongArguments);
    }

    #[test]
    fn a_flag_is_recognized_in_both_spellings_and_not_by_its_beginning() {
        let arguments = ["rollbook", "--jobs=3", "--org", "acme", "--role-prefix-x"].map(OsString::from);
        assert!(is_written("--jobs", &arguments));
        assert!(is_written("--org", &arguments));
        assert!(!is_written("--role-prefix", &arguments));
    }
}
