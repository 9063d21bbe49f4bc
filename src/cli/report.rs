//! `rollbook report`: an organization's reports, for people.

mod chart;
mod csv;
mod rebuild;
mod sheet;
mod svg;

use std::path::{Path, PathBuf};

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::report::{Content, contents, sheet as read_sheet};
use crate::store::organizations;
use crate::tenant::Slug;

/// What `report` takes.
#[derive(Debug, clap::Args)]
// An organization may be called `help`.
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    rebuild: Option<Command>,
    #[command(flatten)]
    show: Show,
}

/// What else can be done with reports.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes an organization's reports again from all of its events, as after a deletion. Whoever reads them sees the
    /// old ones until it is done; nobody waits.
    Rebuild(rebuild::Arguments),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The organization.
    #[arg(required = true)]
    slug: Option<Slug>,
    /// One of its contents: the retention curve and the items. Default: a table of all contents.
    content: Option<String>,
    /// Prints CSV: the rows of `report_content`; of one content those of `report_retention`.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Writes the retention curve to this file, as a picture that stands alone.
    #[arg(long, value_name = "FILE", requires = "content")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Arguments {
    pub(super) fn admin(&self) -> &AdminArguments {
        match &self.rebuild {
            Some(Command::Rebuild(arguments)) => &arguments.admin,
            None => &self.show.admin,
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.rebuild {
            Some(Command::Rebuild(arguments)) => arguments.run().await,
            None => self.show.run().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let slug = self.slug.as_ref().ok_or_else(|| Failure::new("bad_arguments", "which organization?"))?;
        let (mut admin, _) = self.admin.open().await?;
        let organization = organizations::standing(&admin, slug).await?.organization;
        let schema = &organization.schema_name;
        let Some(id) = &self.content else {
            let contents = contents(admin.client(), schema).await.map_err(|error| unreadable(&error))?;
            self.show_contents(slug, &contents);
            return Ok(());
        };
        let found = read_sheet(admin.client(), schema, id).await.map_err(|error| unreadable(&error))?;
        let sheet = found.ok_or_else(|| {
            let id = output::printable(id);
            Failure::new(
                "content_not_found",
                format!("no event in the reports of `{slug}` names the content `{id}`"),
            )
        })?;
        if let Some(file) = &self.svg {
            write(file, &svg::picture(&sheet))?;
        }
        if self.csv {
            output::say(&csv::retention(&sheet.content.content_id, &sheet.retention));
        } else if self.svg.is_none() || self.admin.output.json {
            output::one(self.admin.output, &sheet, |sheet| sheet::text(sheet, output::width()));
        }
        Ok(())
    }

    fn show_contents(&self, slug: &Slug, contents: &[Content]) {
        if self.csv {
            return output::say(&csv::contents(contents));
        }
        if contents.is_empty() && !self.admin.output.json {
            return output::say(&format!("the reports of `{slug}` are of no event yet\n"));
        }
        let header = ["content", "viewers", "minutes", "completion", "completed", "answers", "last seen"];
        output::list(self.admin.output, contents, &header, |one| {
            vec![
                output::printable(&one.content_id),
                one.viewers.to_string(),
                (one.watched_ms / 60_000).to_string(),
                output::or_dash(one.average_completion.map(sheet::percent)),
                one.completed_viewers.to_string(),
                one.answers.to_string(),
                minute(&one.last_at),
            ]
        });
    }
}

/// A time for people: to the minute, as all but the machine read it.
fn minute(time: &str) -> String {
    time.get(..16).map_or_else(|| time.to_owned(), |minute| minute.replace('T', " "))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)
        .map_err(|error| Failure::new("file_not_written", format!("{}: {error}", file.display())))
}

/// A schema that has no reports yet, most of the time.
fn unreadable(error: &tokio_postgres::Error) -> Failure {
    let said = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    Failure::new(
        "reports_unreadable",
        format!("the reports cannot be read (`rollbook migrate` makes them): {said}"),
    )
}
