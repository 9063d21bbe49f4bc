//! The command line: one file per command family.
//!
//! A family declares its arguments and does three things with them: resolves settings, calls the room that does the
//! work, prints the answer. What can go wrong ends as a [`Failure`], which knows its exit code.

mod admin;
mod audit;
mod dead_letters;
mod failure;
mod held;
mod key;
pub mod load;
mod migrate;
mod org;
mod output;
mod serve;
mod setup;
mod status;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::environment;

pub use failure::Failure;

/// Takes what viewers of educational videos watch and answer, and files it in each organization's own Postgres
/// schema, exactly once.
#[derive(Debug, Parser)]
#[command(name = "rollbook", version, disable_help_subcommand = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 64 a bad environment or settings that \
                        contradict each other."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Every command family, in the order in which someone meets them.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service: intake, loader, or both.
    Serve(Box<serve::Arguments>),
    /// Makes the control schema, the login roles and the log's topic. Safe to repeat.
    Setup(setup::Arguments),
    /// Adds, shows, changes, suspends and removes organizations.
    #[command(subcommand)]
    Org(org::Command),
    /// Adds, lists and revokes write keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Brings every organization's schema to this release's version.
    Migrate(migrate::Arguments),
    /// Shows what stands in each organization's schema.
    Status(status::Arguments),
    /// Compares the log with every schema: whatever was accepted is where it belongs, and nowhere else.
    Audit(audit::Arguments),
    /// Looks at events that Postgres refused, stores them after all, or gives them up.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Looks at records that wait for an organization's schema, and stores them now.
    #[command(subcommand)]
    Held(held::Command),
    /// Sends events as viewers' players would, simulated or from a file, and measures.
    Load(load::Arguments),
}

/// Runs the command that `arguments` name. `variables` are the names of all environment variables.
///
/// # Errors
/// Everything that keeps the command from doing what it was asked.
pub async fn run(
    arguments: &[OsString],
    variables: impl IntoIterator<Item = OsString>,
) -> Result<(), Failure> {
    match parse(arguments, variables)? {
        Command::Serve(arguments) => arguments.run().await,
        Command::Setup(arguments) => arguments.run().await,
        Command::Org(command) => command.run().await,
        Command::Key(command) => command.run().await,
        Command::Migrate(arguments) => arguments.run().await,
        Command::Status(arguments) => arguments.run().await,
        Command::Audit(arguments) => arguments.run().await,
        Command::DeadLetters(command) => command.run().await,
        Command::Held(command) => command.run().await,
        Command::Load(arguments) => arguments.run().await,
    }?;
    output::written()
}

/// Help and version come back as a failure that exits 0, before anything about the environment is said.
fn parse(arguments: &[OsString], variables: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    let known = environment::known_variables(&Arguments::command());
    let command = environment::without_empty_values(Arguments::command());
    let matches = command
        .clone()
        .try_get_matches_from(arguments)
        .map_err(|error| with_usage_of_the_command_alone(error, command, arguments))?;
    environment::refuse_unknown(variables, &known)?;
    Ok(Arguments::from_arg_matches(&matches)?.command)
}

/// In the usage that it shows beside an error, the command line library counts every setting of the environment among
/// the words that have to be written.
fn with_usage_of_the_command_alone(
    mut error: clap::Error,
    mut command: clap::Command,
    arguments: &[OsString],
) -> clap::Error {
    if error.get(ContextKind::Usage).is_some() {
        command.build();
        let mut meant = &mut command;
        for word in arguments.iter().skip(1) {
            if meant.find_subcommand(word).is_some() {
                meant = meant.find_subcommand_mut(word).expect("it was just found");
            }
        }
        error.insert(ContextKind::Usage, ContextValue::StyledStr(meant.render_usage()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_flag_and_every_variable_our_prefix() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
                let variable = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(variable.starts_with("ROLLBOOK_") || variable == "RUST_LOG", "{variable}");
                assert!(argument.get_long().is_some(), "{variable}");
                assert!(argument.get_help().is_some(), "{variable}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
