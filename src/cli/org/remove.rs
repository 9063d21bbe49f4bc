//! `rollbook org remove`.

use std::io::{IsTerminal, stdin};

use crate::cli::admin::AdminArguments;
use crate::cli::{Failure, output};
use crate::store::{organizations, removal};
use crate::tenant::Slug;

/// What `org remove` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The organization.
    slug: Slug,
    /// Does not ask. Without it, and on a terminal, the slug has to be typed once more.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut admin, installation) = self.admin.open().await?;
        if !self.yes {
            // Nobody is asked about an organization that is not there.
            organizations::show(&admin, &self.slug).await?;
            confirm(&self.slug)?;
        }
        super::print(self.admin.output, &removal::remove(&mut admin, &installation, &self.slug).await?);
        Ok(())
    }
}

fn confirm(slug: &Slug) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::new(
            "not_confirmed",
            "nothing was removed: add --yes where nobody can be asked",
        ));
    }
    output::ask(&format!("Every event of {slug} will be deleted. Type {slug} to go on: "));
    let mut typed = String::new();
    match stdin().read_line(&mut typed) {
        Ok(_) if typed.trim() == slug.as_str() => Ok(()),
        _ => Err(Failure::new("not_confirmed", "nothing was removed")),
    }
}
