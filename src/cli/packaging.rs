//! `rollbook completions` and `rollbook man`: for packagers.

use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;

use super::{Failure, output};

/// What `completions` takes.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// Whose completions.
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// Writes a page for each command into this folder. Default: the page of `rollbook` itself, on standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl CompletionsArguments {
    pub(super) fn run(&self) {
        let mut script = Vec::new();
        let mut command = super::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        output::say(&String::from_utf8_lossy(&script));
    }
}

impl ManArguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut page = Vec::new();
        let written = match &self.dir {
            Some(dir) => clap_mangen::generate_to(super::command(), dir),
            None => Man::new(super::command()).render(&mut page),
        };
        written.map_err(|error| Failure::new("page_not_written", format!("no page was written: {error}")))?;
        if self.dir.is_none() {
            output::say(&String::from_utf8_lossy(&page));
        }
        Ok(())
    }
}
