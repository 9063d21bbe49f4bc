//! What the environment says beyond the settings themselves: names nobody knows, empty values, secrets that stand in
//! files, and who is asking.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

use clap::builder::Resettable;

use super::{ConfigError, Faults};

/// Every setting's variable starts with this.
const PREFIX: &str = "ROLLBOOK_";
/// A secret's variable with this behind it names a file that holds the secret.
const FILE: &str = "_FILE";
/// No secret is larger.
const MOST_SECRET_BYTES: u64 = 64 * 1024;

/// Who runs an administrator's command, for the trail that it leaves.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// The name that the operating system gives, if any.
    pub os_user: Option<String>,
}

impl Operator {
    /// Reads the environment. Someone who became root stays who they were.
    pub fn from_environment() -> Self {
        let os_user = ["SUDO_USER", "USER", "LOGNAME"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self { os_user }
    }
}

/// The environment variable of every setting of every command.
pub fn known_variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().flat_map(|argument| [variable(argument), file_variable(argument)]);
    own.flatten().chain(command.get_subcommands().flat_map(known_variables)).collect()
}

/// The environment variable of a setting.
pub fn variable(argument: &clap::Arg) -> Option<String> {
    argument.get_env()?.to_str().map(str::to_owned)
}

/// The environment variable that names the file of a setting, if that is a secret.
fn file_variable(argument: &clap::Arg) -> Option<String> {
    argument.is_hide_env_values_set().then(|| Some(variable(argument)? + FILE)).flatten()
}

/// Says of every secret, in `command` and everything below it, that a file may hold it.
pub fn with_files_in_help(command: clap::Command) -> clap::Command {
    everywhere(command, &|argument| match (file_variable(&argument), argument.get_help()) {
        (Some(file), Some(help)) => {
            let help = format!("{help}. Or {file} names a file that holds it");
            argument.help(help)
        }
        _ => argument,
    })
}

/// Makes an empty value count as unset, in `command` and everything below it.
pub fn without_empty_values(command: clap::Command) -> clap::Command {
    everywhere(command, &|argument| {
        let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { argument.env(Resettable::Reset) } else { argument }
    })
}

/// Gives the secrets of one command the values that stand in files. A flag still goes before them.
pub fn with_secrets_from_files(command: clap::Command, faults: &mut Faults) -> clap::Command {
    command.mut_args(|argument| {
        let (Some(variable), Some(named_by)) = (variable(&argument), file_variable(&argument)) else {
            return argument;
        };
        let Some(path) = std::env::var_os(&named_by).filter(|path| !path.is_empty()) else { return argument };
        if std::env::var_os(&variable).is_some_and(|value| !value.is_empty()) {
            let both = format!("{variable} and {named_by} are both set: which of them is meant?");
            faults.note(Err::<(), _>(ConfigError::Contradiction(both)));
            return argument;
        }
        let read = read_secret(&path).map_err(|why| {
            let why = format!("names {}, which cannot be used: {why}", path.display());
            ConfigError::BadVariable { variable: named_by, why }
        });
        match faults.note(read) {
            Some(secret) => argument.required(false).default_value(secret).hide_default_value(true),
            None => argument.required(false),
        }
    })
}

/// Without the end of its last line, which editors add.
fn read_secret(path: &OsString) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST_SECRET_BYTES + 1).read_to_string(&mut text)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret.len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        1..=MOST_SECRET_BYTES => Ok(secret.to_owned()),
        _ => Err(io::Error::other("it is too large for a secret")),
    }
}

/// Whether a setting is missing only because its file could not be read.
pub fn explains(unread: &ConfigError, fault: &ConfigError) -> bool {
    match (unread, fault) {
        (ConfigError::BadVariable { variable, .. }, ConfigError::Missing { missing }) => {
            variable.strip_suffix(FILE).is_some_and(|variable| missing.contains(variable))
        }
        _ => false,
    }
}

/// Under which name the environment gives a setting: its own variable, or the one that names its file.
pub fn name_of_variable(variable: &str) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let file = format!("{variable}{FILE}");
    if !is_set(variable) && is_set(&file) { file } else { variable.to_owned() }
}

/// Changes each argument of `command` and of everything below it.
fn everywhere(command: clap::Command, change: &impl Fn(clap::Arg) -> clap::Arg) -> clap::Command {
    let below: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(change);
    below
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| everywhere(sub, change)))
}

/// The settings of any command that the environment gives a value.
pub fn set_variables(names: &[OsString], known: &BTreeSet<String>) -> BTreeSet<String> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names = names.iter().filter_map(|name| name.to_str()).filter(|name| known.contains(*name));
    names.filter(is_set).map(str::to_owned).collect()
}

/// The variables that look like settings and are none, each with the nearest setting. Values are not printed.
pub fn unknown_variables(
    names: impl IntoIterator<Item = OsString>,
    known: &BTreeSet<String>,
) -> Vec<ConfigError> {
    let mut unknown: Vec<String> = names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name) && !is_service_link(name))
        .collect();
    unknown.sort_unstable();
    let complaint = |name: String| ConfigError::UnknownVariable { nearest: nearest(&name, known), name };
    unknown.into_iter().map(complaint).collect()
}

/// Whether a variable has the shape of those that Kubernetes injects into every pod beside a service whose name begins
/// with `rollbook`, such as `rollbook-kafka`: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_<name>`, `…_PORT`,
/// `…_PORT_<n>_TCP` and `…_PORT_<n>_TCP_ADDR`, `_PORT` or `_PROTO`.
pub fn is_service_link(name: &str) -> bool {
    let one_port = name.match_indices("_PORT_").any(|(at, word)| is_one_port(&name[at + word.len()..]));
    name.ends_with("_SERVICE_HOST") || name.ends_with("_PORT") || name.contains("_SERVICE_PORT_") || one_port
}

/// `<n>_TCP` and what may follow it.
fn is_one_port(rest: &str) -> bool {
    let mut words = rest.split('_');
    let is_number = words.next().is_some_and(|number| number.parse::<u16>().is_ok());
    let is_protocol = words.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol));
    let is_part = words.next().is_none_or(|part| ["ADDR", "PORT", "PROTO"].contains(&part));
    is_number && is_protocol && is_part && words.next().is_none()
}

fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    known.iter().min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str]) -> Vec<String> {
        let known = ["ROLLBOOK_HTTP_ADDR", "ROLLBOOK_ROLE_PREFIX"].map(str::to_owned).into();
        let unknown = unknown_variables(names.iter().map(OsString::from), &known);
        unknown.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_the_nearest_is_named() {
        assert_eq!(
            check(&["ROLLBOOK_ROLE_PREFX"]),
            ["no setting is called ROLLBOOK_ROLE_PREFX; the nearest is ROLLBOOK_ROLE_PREFIX"]
        );
    }

    #[test]
    fn known_and_foreign_variables_pass() {
        assert!(check(&["ROLLBOOK_HTTP_ADDR", "PATH"]).is_empty());
    }

    #[test]
    fn what_has_the_shape_of_a_service_link_passes_whatever_is_before_it() {
        for service in ["ROLLBOOK", "ROLLBOOK_KAFKA", "ROLLBOOK_POSTGRESQL", "ROLLBOOK_ADMIN_2"] {
            for link in [
                "SERVICE_HOST",
                "SERVICE_PORT",
                "SERVICE_PORT_TCP_CLIENTS",
                "PORT",
                "PORT_9092_TCP",
                "PORT_9092_TCP_ADDR",
                "PORT_9092_TCP_PORT",
                "PORT_9092_TCP_PROTO",
                "PORT_53_UDP",
                "PORT_1_SCTP_ADDR",
            ] {
                assert!(check(&[&format!("{service}_{link}")]).is_empty(), "{service}_{link}");
            }
        }
        for other in [
            "SERVICE_HOSTS",
            "PORTS",
            "PORT_TCP",
            "PORT_9092_TLS",
            "PORT_9092_TCP_NAME",
            "PORT_9092_TCP_ADDR_X",
        ] {
            assert_eq!(check(&[&format!("ROLLBOOK_KAFKA_{other}")]).len(), 1, "{other}");
        }
    }
}
