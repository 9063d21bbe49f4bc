//! `rollbook org remove`.

use std::io::{IsTerminal, stdin};

use serde::Serialize;

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
    /// Lets go along what hangs on the organization's schema from outside, such as a view over two organizations.
    /// Without it such things are named, and nothing is removed.
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

/// An organization as other commands show it, and what went along.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    organization: super::Answer<'a>,
    cascaded: Vec<String>,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut admin, installation) = self.admin.open().await?;
        if !self.yes {
            // Nobody is asked about an organization that is not there.
            organizations::show(&admin, &self.slug).await?;
            let along = removal::dependents(&admin, &installation, &self.slug).await?;
            confirm(&self.slug, if self.cascade { &along } else { &[] })?;
        }
        let removed = match self.cascade {
            true => removal::remove_cascading(&mut admin, &installation, &self.slug).await?,
            false => removal::remove(&mut admin, &installation, &self.slug).await?,
        };
        let organization = super::Answer::new(&removed.organization);
        let answer = Answer { organization, cascaded: removed.cascaded };
        output::one(self.admin.output, &answer, |answer| {
            let along: String = answer.cascaded.iter().map(|one| format!("\n  went along  {one}")).collect();
            format!("{}{along}", answer.organization.text())
        });
        Ok(())
    }
}

fn confirm(slug: &Slug, along: &[String]) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::new(
            "not_confirmed",
            "nothing was removed: add --yes where nobody can be asked",
        ));
    }
    let along: String =
        along.iter().map(|one| format!("Outside of its schema this goes along: {one}\n")).collect();
    output::ask(&format!("{along}Every event of {slug} will be deleted. Type {slug} to go on: "));
    let mut typed = String::new();
    match stdin().read_line(&mut typed) {
        Ok(_) if typed.trim() == slug.as_str() => Ok(()),
        _ => Err(Failure::new("not_confirmed", "nothing was removed")),
    }
}
