//! The command line: one file per command family.
//!
//! A family declares its arguments and does three things with them: resolves settings, calls the room that does the
//! work, prints the answer. What can go wrong ends as a [`Failure`], which knows its exit code.

mod admin;
mod audit;
mod dead_letters;
mod demo;
mod export;
mod failure;
mod health;
mod held;
mod key;
pub mod load;
mod migrate;
mod onlooker;
mod org;
mod output;
mod packaging;
mod parse;
mod report;
mod serve;
mod settings;
mod setup;
mod status;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Faults, Idle, environment};

pub use failure::Failure;
use parse::Parsed;

/// Takes what viewers of educational videos watch and answer, and files it in each organization's own Postgres
/// schema, exactly once.
#[derive(Debug, Parser)]
#[command(name = "rollbook", version, max_term_width = 110)]
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
    /// Runs the service: intake, loader, reporter, or some of them.
    Serve(Box<serve::Arguments>),
    /// Asks the service that runs on this machine how it is, for health checks.
    Health(health::Arguments),
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
    /// Shows what an organization's viewers watched and answered, and makes the reports anew.
    Report(Box<report::Arguments>),
    /// Writes an organization's events as CSV or Parquet, by the time that they were received.
    Export(Box<export::Arguments>),
    /// Sends events as viewers' players would, simulated or from a file, and measures.
    Load(load::Arguments),
    /// Shows the whole thing on this machine, with nothing configured and nothing left behind: a throwaway PostgreSQL, three
    /// schools, simulated classrooms, and what lands where.
    Demo(Box<demo::Arguments>),
    /// Prints the completions of a shell, for packagers.
    Completions(packaging::CompletionsArguments),
    /// Prints the manual page, for packagers.
    Man(packaging::ManArguments),
}

impl Command {
    /// Whether it only looks at the settings, and so goes on where some are wrong.
    fn is_check(&self) -> bool {
        matches!(self, Self::Serve(arguments) if arguments.check)
    }

    /// All that is wrong with the settings that it cannot do without.
    fn faults(&self) -> Faults {
        match self {
            Self::Serve(arguments) => arguments.faults(),
            Self::Setup(arguments) => arguments.faults(),
            Self::Org(command) => command.admin().faults(),
            Self::Key(command) => command.admin().faults(),
            Self::Migrate(arguments) => arguments.admin.faults(),
            Self::Status(arguments) => arguments.faults(),
            Self::Audit(arguments) => arguments.faults(),
            Self::DeadLetters(command) => command.admin().faults(),
            Self::Held(command) => command.faults(),
            Self::Report(arguments) => arguments.admin().faults(),
            Self::Export(arguments) => arguments.admin.faults(),
            Self::Load(arguments) => arguments.faults(),
            Self::Demo(arguments) => arguments.faults(),
            Self::Health(_) | Self::Completions(_) | Self::Man(_) => Faults::default(),
        }
    }

    /// The settings that have no effect beside the others.
    fn idle(&self) -> Vec<Idle> {
        match self {
            Self::Serve(arguments) => arguments.idle(),
            Self::Setup(arguments) => arguments.idle(),
            Self::Org(command) => command.idle().into_iter().collect(),
            Self::Status(arguments) => arguments.idle(),
            Self::Audit(arguments) => arguments.idle(),
            Self::Demo(arguments) => arguments.idle().into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// Runs the command that `arguments` name. `variables` are the names of all environment variables.
///
/// # Errors
/// Everything that keeps the command from doing what it was asked.
pub async fn run(
    arguments: &[OsString],
    variables: impl IntoIterator<Item = OsString>,
) -> Result<(), Failure> {
    let Parsed { command, settings, wrong, .. } = parse::parse(arguments, variables)?;
    match command {
        Command::Serve(arguments) => arguments.run(&settings, &wrong).await,
        Command::Health(arguments) => arguments.run().await,
        Command::Setup(arguments) => arguments.run().await,
        Command::Org(command) => command.run().await,
        Command::Key(command) => command.run().await,
        Command::Migrate(arguments) => arguments.run().await,
        Command::Status(arguments) => arguments.run().await,
        Command::Audit(arguments) => arguments.run().await,
        Command::DeadLetters(command) => command.run().await,
        Command::Held(command) => command.run().await,
        Command::Report(arguments) => arguments.run().await,
        Command::Export(arguments) => arguments.run().await,
        Command::Load(arguments) => arguments.run().await,
        Command::Demo(arguments) => Box::pin(arguments.run()).await,
        Command::Completions(arguments) => {
            arguments.run();
            Ok(())
        }
        Command::Man(arguments) => arguments.run(),
    }?;
    output::written()
}

/// The command line as it is declared, with what holds for every command.
fn command() -> clap::Command {
    environment::with_files_in_help(Arguments::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn no_help_shows_how_its_text_is_linked_in_the_codes_own_documentation() {
        fn check(command: &mut clap::Command, path: &str) {
            for help in [command.render_long_help().to_string(), command.render_help().to_string()] {
                for mark in ["[`", "`]", "](", "crate::", "Self::"] {
                    assert!(!help.contains(mark), "`{path} --help` shows {mark}: {help}");
                }
            }
            for below in command.get_subcommands_mut() {
                let path = format!("{path} {}", below.get_name());
                check(below, &path);
            }
        }
        let mut command = command();
        command.build();
        check(&mut command, "rollbook");
    }

    #[test]
    fn no_setting_has_the_shape_of_a_service_link() {
        for variable in environment::known_variables(&command()) {
            assert!(!environment::is_service_link(&variable), "{variable}");
        }
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
        check(&command());
    }
}
