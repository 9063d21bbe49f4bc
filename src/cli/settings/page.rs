//! `docs/settings.md`, made from what the commands' help says, and held to it.

use std::fmt::Write as _;

use clap::Arg;

use crate::config::environment;

/// Where the page stands.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");

/// One setting, and the commands that have it.
struct Entry {
    variable: String,
    argument: Arg,
    commands: Vec<String>,
}

#[test]
fn the_page_of_settings_says_what_help_says() {
    let made = page(&entries());
    let stands = std::fs::read_to_string(PAGE).unwrap_or_default();
    if made != stands {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/target/settings.md");
        std::fs::write(beside, &made).expect("target/ is there to be written to");
        panic!("docs/settings.md is not what --help says: cp target/settings.md docs/settings.md");
    }
}

/// In the order in which the commands have them.
fn entries() -> Vec<Entry> {
    fn gather(command: &clap::Command, name: &str, entries: &mut Vec<Entry>) {
        for argument in command.get_arguments() {
            let Some(variable) = environment::variable(argument) else { continue };
            match entries.iter_mut().find(|entry| entry.variable == variable) {
                Some(entry) => entry.commands.push(name.to_owned()),
                None => entries.push(Entry {
                    variable,
                    argument: argument.clone(),
                    commands: vec![name.to_owned()],
                }),
            }
        }
        for below in command.get_subcommands() {
            gather(below, format!("{name} {}", below.get_name()).trim_start(), entries);
        }
    }
    let mut entries = Vec::new();
    gather(&crate::cli::command(), "", &mut entries);
    entries
}

fn page(entries: &[Entry]) -> String {
    let mut page = "# Settings\n\n\
        Every setting is an environment variable and a flag; a flag goes before the variable. Made from `--help`, which says \
        the same.\nA variable that is empty counts as unset, and an unknown `ROLLBOOK_*` variable stops every command and \
        names the nearest.\nWhat holds a secret can stand in a file instead: with systemd, \
        `LoadCredential=loader-url:/etc/rollbook/loader-url` and\n\
        `Environment=ROLLBOOK_LOADER_DATABASE_URL_FILE=%d/loader-url`.\n"
        .to_owned();
    let mut headings: Vec<&str> = Vec::new();
    for entry in entries {
        if !headings.contains(&entry.heading()) {
            headings.push(entry.heading());
        }
    }
    for heading in headings {
        let _ = write!(
            page,
            "\n## {heading}\n\n| variable | default | what | flag of |\n| --- | --- | --- | --- |\n"
        );
        for entry in entries.iter().filter(|entry| entry.heading() == heading) {
            let _ = writeln!(page, "{}", entry.row());
        }
    }
    page
}

impl Entry {
    fn heading(&self) -> &str {
        self.argument.get_help_heading().unwrap_or("Commands' own")
    }

    fn row(&self) -> String {
        let argument = &self.argument;
        let defaults = argument.get_default_values().iter().filter(|_| !argument.is_hide_default_value_set());
        let defaults: Vec<String> = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect();
        let help =
            argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}`: {help}", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        let values =
            if values.is_empty() { String::new() } else { format!(". One of {}", values.join(", ")) };
        let what = format!("{help}{values}").replace('\n', " ").replace('|', "\\|");
        let long = argument.get_long().unwrap_or_default();
        format!(
            "| `{}` | {} | {what} | `--{long}`: {} |",
            self.variable,
            defaults.join(", "),
            commands(&self.commands)
        )
    }
}

/// The commands; of a family only the family's name.
fn commands(names: &[String]) -> String {
    let mut families: Vec<String> = names.iter().map(|name| format!("`{}`", family(name))).collect();
    families.dedup();
    families.join(", ")
}

fn family(command: &str) -> &str {
    command.split(' ').next().unwrap_or_default()
}
