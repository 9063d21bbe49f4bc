//! What the environment says beyond the settings themselves: names nobody knows, empty values, and who is asking.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::Resettable;

use super::ConfigError;

/// Every setting's variable starts with this.
const PREFIX: &str = "ROLLBOOK_";
/// Kubernetes injects variables of these shapes for a service called `rollbook`.
const INJECTED: [&str; 2] = ["ROLLBOOK_PORT", "ROLLBOOK_SERVICE_"];

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
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(known_variables)).collect()
}

/// Makes an empty value count as unset, in `command` and everything below it.
pub fn without_empty_values(command: clap::Command) -> clap::Command {
    let below: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(|argument| {
        let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { argument.env(Resettable::Reset) } else { argument }
    });
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, without_empty_values))
}

/// Refuses variables that look like settings and are none, naming the nearest setting. Values are not printed.
///
/// # Errors
/// [`ConfigError::UnknownVariables`], one text for each.
pub fn refuse_unknown(
    names: impl IntoIterator<Item = OsString>,
    known: &BTreeSet<String>,
) -> Result<(), ConfigError> {
    let complaints: Vec<String> = names
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .filter(|name| !INJECTED.iter().any(|injected| name.starts_with(injected)))
        .map(|name| match nearest(&name, known) {
            Some(nearest) => format!("no setting is called {name}; the nearest is {nearest}"),
            None => format!("no setting is called {name}"),
        })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(ConfigError::UnknownVariables(complaints)) }
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    known.iter().min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str]) -> Result<(), ConfigError> {
        let known = ["ROLLBOOK_HTTP_ADDR", "ROLLBOOK_ROLE_PREFIX"].map(str::to_owned).into();
        refuse_unknown(names.iter().map(OsString::from), &known)
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_the_nearest_is_named() {
        let error = check(&["ROLLBOOK_ROLE_PREFX"]).expect_err("misspelt");
        assert_eq!(
            error.to_string(),
            "no setting is called ROLLBOOK_ROLE_PREFX; the nearest is ROLLBOOK_ROLE_PREFIX"
        );
    }

    #[test]
    fn known_foreign_and_injected_variables_pass() {
        let names = ["ROLLBOOK_HTTP_ADDR", "PATH", "ROLLBOOK_PORT_8080_TCP", "ROLLBOOK_SERVICE_HOST"];
        assert_eq!(check(&names), Ok(()));
    }
}
