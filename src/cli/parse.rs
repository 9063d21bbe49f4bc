//! From words and variables to a command, or to all that is wrong with them.
//!
//! The command line library stops at the first value that it does not take. So it is asked again with that argument
//! taking anything, until it has no more to say; then once more without the refused values, so that what the command
//! itself finds wrong with its settings is told along with them.

mod reason;

use std::ffi::OsString;

use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, FromArgMatches, Id};

use super::failure::{is_written, without_secrets};
use super::settings::{self, Setting};
use super::{Arguments, Command, Failure, command};
use crate::config::{ConfigError, Faults, Idle, environment};

/// A command that can be run.
pub(super) struct Parsed {
    pub(super) command: Command,
    /// All settings of the command, as they are in effect.
    pub(super) settings: Vec<Setting>,
    /// What is wrong with them, for a command that looks on all the same.
    pub(super) wrong: Wrong,
    /// Flags that were written and change nothing.
    idle: Vec<Failure>,
}

/// What is wrong with the settings.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    /// Each thing in words.
    pub(super) lines: Vec<String>,
    /// Whether settings of two logs are among it, so that it is not clear which one is meant.
    pub(super) is_of_two_logs: bool,
}

/// Help and version come back as a failure that exits 0, before anything else is said.
pub(super) fn parse(
    words: &[OsString],
    variables: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Failure> {
    let known = environment::known_variables(&command());
    let command = command();
    let path = meant(&command, words);
    let mut faults = Faults::default();
    let command = at(command, &path, |meant| environment::with_secrets_from_files(meant, &mut faults));
    // Only now: without its variable an argument has no file either.
    let command = environment::without_empty_values(command);
    let unread: Vec<ConfigError> = faults.into_iter().collect();

    let refused = Refused::gather(command.clone(), &path, words)?;
    let mut failures = refused.failures;
    let refused_variables: Vec<String> =
        refused.arguments.iter().flatten().filter_map(environment::variable).collect();
    let variables: Vec<OsString> = variables.into_iter().collect();
    let set = environment::set_variables(&variables, &known);
    let unknown = environment::unknown_variables(variables, &known);
    let parsed = match refused.arguments.map(|refused| without(command, &path, words, &refused)) {
        Some(Ok(parsed)) => Some(parsed),
        Some(Err(error)) if failures.is_empty() => return Err(error.into()),
        // Without the refused values the words lack something, which is no news.
        Some(Err(_)) | None => None,
    };
    // What a refused value leaves wrong is no news, either.
    let is_news = |fault: &ConfigError| {
        !unread.iter().any(|unread| environment::explains(unread, fault))
            && !refused_variables.iter().any(|variable| settings::is_about(fault, variable))
    };
    let mut found = Vec::new();
    let mut is_of_two_logs = false;
    if let Some(parsed) = &parsed {
        let of_another_log = settings::of_another_log(&parsed.settings, &set);
        is_of_two_logs = of_another_log.is_some();
        let faults = parsed.command.faults().into_iter().filter(is_news).chain(of_another_log);
        found.extend(faults.map(|fault| settings::by_given_names(fault, &parsed.settings)));
    }
    failures.extend(unread.into_iter().chain(unknown).chain(found).map(Failure::Config));
    let parsed = parsed.map(|mut parsed| {
        // Something else that is wrong may be the reason.
        if failures.is_empty() {
            failures.append(&mut parsed.idle);
        }
        parsed
    });
    match parsed {
        Some(parsed) if failures.is_empty() => Ok(parsed),
        Some(parsed) if parsed.command.is_check() && failures.iter().all(|one| one.is_of_settings(words)) => {
            let lines = failures.iter().map(|failure| failure.line(words)).collect();
            Ok(Parsed { wrong: Wrong { lines, is_of_two_logs }, ..parsed })
        }
        _ => Err(Failure::all(failures).expect("what keeps words from being a command is a failure")),
    }
}

/// What the command line library refuses.
struct Refused {
    failures: Vec<Failure>,
    /// The arguments whose values it does not take. `None`: the words have no meaning even without these.
    arguments: Option<Vec<Arg>>,
}

impl Refused {
    /// # Errors
    /// The words ask for help, or are too few for anything but help.
    fn gather(mut command: clap::Command, path: &[String], words: &[OsString]) -> Result<Self, Failure> {
        let mut failures = Vec::new();
        let mut refused: Vec<Arg> = Vec::new();
        let unreadable =
            below(&command, path).get_arguments().filter(|argument| is_unreadable(argument, words));
        for argument in unreadable.cloned().collect::<Vec<_>>() {
            let variable = environment::variable(&argument).unwrap_or_default();
            let why = "is not Unicode text".to_owned();
            failures.push(Failure::Config(ConfigError::BadVariable { variable, why }));
            command = at(command, path, |meant| taking_anything(meant, &argument));
            refused.push(argument);
        }
        loop {
            let Err(error) = command.clone().try_get_matches_from(words) else {
                return Ok(Self { failures, arguments: Some(refused) });
            };
            let argument = refused_argument(below(&command, path), &error);
            let is_new = |argument: &Arg| refused.iter().all(|other| other.get_id() != argument.get_id());
            match argument.filter(is_new) {
                Some(argument) => {
                    failures.push(told(error, &argument, words));
                    command = at(command, path, |meant| taking_anything(meant, &argument));
                    refused.push(argument);
                }
                None if is_help(&error) && failures.is_empty() => return Err(error.into()),
                None if is_help(&error) => return Ok(Self { failures, arguments: None }),
                None => {
                    failures.push(with_usage_of_the_command_alone(error, command, path).into());
                    return Ok(Self { failures, arguments: None });
                }
            }
        }
    }
}

/// The command that these words are for, by the names that lead to it. Behind a word of its own a command has none below it:
/// `rollbook report acme rebuild` is about a content of that name.
fn meant(command: &clap::Command, words: &[OsString]) -> Vec<String> {
    let (mut command, mut path) = (command, Vec::new());
    let is_flag = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with('-'));
    for word in words.iter().skip(1) {
        if let Some(sub) = command.find_subcommand(word) {
            path.push(sub.get_name().to_owned());
            command = sub;
        } else if command.get_positionals().next().is_some() && !is_flag(word) {
            break;
        }
    }
    path
}

fn below<'a>(command: &'a clap::Command, path: &[String]) -> &'a clap::Command {
    path.iter().fold(command, |command, name| command.find_subcommand(name).unwrap_or(command))
}

/// Changes the command at the end of a path.
fn at(
    command: clap::Command,
    path: &[String],
    change: impl FnOnce(clap::Command) -> clap::Command,
) -> clap::Command {
    match path.split_first() {
        Some((name, rest)) => command.mut_subcommand(name, |sub| at(sub, rest, change)),
        None => change(command),
    }
}

fn taking_anything(command: clap::Command, argument: &Arg) -> clap::Command {
    // The library puts what is changed behind all others, and words without a flag are told apart by their order.
    let behind = command.get_positionals().skip_while(|other| other.get_id() != argument.get_id()).skip(1);
    let behind: Vec<Id> = behind.map(|other| other.get_id().clone()).collect();
    let changed =
        command.mut_arg(argument.get_id(), |argument| argument.value_parser(ValueParser::os_string()));
    behind.into_iter().fold(changed, |command, other| command.mut_arg(other, |other| other))
}

fn is_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// Whether an argument's value comes from a variable that the library would refuse without naming it.
fn is_unreadable(argument: &Arg, words: &[OsString]) -> bool {
    let value = argument.get_env().and_then(std::env::var_os);
    !stands_among(argument, words) && value.is_some_and(|value| value.to_str().is_none())
}

fn stands_among(argument: &Arg, words: &[OsString]) -> bool {
    argument.get_long().is_some_and(|long| is_written(&format!("--{long}"), words))
}

/// The argument whose value was refused.
fn refused_argument(command: &clap::Command, error: &clap::Error) -> Option<Arg> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = shown.split([' ', '=']).next().and_then(|word| word.strip_prefix("--"));
    let is_it = |argument: &&Arg| match argument.get_long() {
        Some(long) => flag == Some(long),
        None => argument.to_string() == *shown,
    };
    command.get_arguments().find(is_it).cloned()
}

/// Says of a refused value where it comes from.
fn told(error: clap::Error, argument: &Arg, words: &[OsString]) -> Failure {
    let reason = std::error::Error::source(&error).and_then(reason::in_our_words);
    match environment::variable(argument) {
        Some(variable) if !stands_among(argument, words) => {
            let why = why(&error, argument, reason);
            Failure::Config(ConfigError::BadVariable { variable, why })
        }
        _ => match reason {
            Some(reason) => {
                let (value, flag) =
                    (part(&error, ContextKind::InvalidValue), part(&error, ContextKind::InvalidArg));
                let said = format!("invalid value '{value}' for '{flag}': {reason}");
                let said = format!("{said}\n\nFor more information, try '--help'.\n");
                clap::Error::raw(error.kind(), said).into()
            }
            None => error.into(),
        },
    }
}

/// Why a variable's value was refused, to stand behind its name.
fn why(error: &clap::Error, argument: &Arg, reason: Option<String>) -> String {
    let refused = part(error, ContextKind::InvalidValue);
    let reason = match (reason, error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
        (Some(reason), _, _) => reason,
        (None, Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("it can be {}", values.join(", "))
        }
        (None, _, Some(reason)) => without_secrets(&reason.to_string()),
        (None, _, None) => "it cannot be that".to_owned(),
    };
    // Of a list only one part is refused.
    let is_list = argument.get_value_delimiter().is_some() && !argument.is_hide_env_values_set();
    match argument.get_env().and_then(std::env::var_os).filter(|_| is_list) {
        Some(whole) if *whole != *refused => {
            format!("is '{}', with '{refused}' in it: {reason}", without_secrets(&whole.to_string_lossy()))
        }
        _ => format!("is '{refused}': {reason}"),
    }
}

/// What the library says of a refused value, by its kind.
fn part(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(said)) => without_secrets(said),
        _ => String::new(),
    }
}

/// The command as it would be without the refused values.
fn without(
    command: clap::Command,
    path: &[String],
    words: &[OsString],
    refused: &[Arg],
) -> Result<Parsed, clap::Error> {
    let command = at(command, path, |meant| {
        refused.iter().filter(|argument| argument.get_env().is_some()).fold(meant, |meant, argument| {
            meant.mut_arg(argument.get_id(), |argument| argument.env(Resettable::Reset))
        })
    });
    let flags: Vec<String> =
        refused.iter().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect();
    let matches = command.clone().try_get_matches_from(without_flags(words, &flags))?;
    let (meant, given) = (below(&command, path), of_the_command(&matches));
    // By the names that the environment did not take away.
    let settings = Setting::all(below(&super::command(), path), given);
    let parsed = Arguments::from_arg_matches(&matches)?.command;
    let idle = parsed.idle().iter().flat_map(|idle| written_in_vain(meant, given, idle)).collect();
    Ok(Parsed { command: parsed, settings, wrong: Wrong::default(), idle })
}

/// Those of the idle settings that were written as flags.
fn written_in_vain(command: &clap::Command, given: &ArgMatches, idle: &Idle) -> Vec<Failure> {
    let is_idle = |argument: &&Arg| idle.arguments.contains(&argument.get_id().as_str());
    let is_written =
        |argument: &&Arg| given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    let flags = command.get_arguments().filter(is_idle).filter(is_written).filter_map(Arg::get_long);
    let refused = |flag| clap::Error::raw(ErrorKind::ArgumentConflict, format!("--{flag} {}\n", idle.why));
    flags.map(|flag| refused(flag).into()).collect()
}

fn of_the_command(matches: &ArgMatches) -> &ArgMatches {
    let mut matches = matches;
    while let Some((_, below)) = matches.subcommand() {
        matches = below;
    }
    matches
}

/// The words without these flags and their values.
fn without_flags(words: &[OsString], flags: &[String]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let name = text.split('=').next().unwrap_or_default();
        if !flags.iter().any(|flag| flag == name) {
            kept.push(word.clone());
        } else if name == text {
            words.next();
        }
    }
    kept
}

/// In the usage that it shows beside an error, the command line library counts every setting of the environment among
/// the words that have to be written.
fn with_usage_of_the_command_alone(
    mut error: clap::Error,
    mut command: clap::Command,
    path: &[String],
) -> clap::Error {
    if error.get(ContextKind::Usage).is_some() {
        command.build();
        let mut meant = &mut command;
        for name in path {
            meant = meant.find_subcommand_mut(name).expect("the path was found in this command");
        }
        error.insert(ContextKind::Usage, ContextValue::StyledStr(meant.render_usage()));
    }
    error
}
