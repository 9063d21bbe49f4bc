//! `rollbook org`: the life of an organization.

mod add;
mod origin;
mod remove;
mod set;

use serde::Serialize;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::config::{Idle, Output};
use crate::store::lifecycle;
use crate::store::organizations::{self, Described};
use crate::tenant::Slug;

/// What can be done with organizations.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Makes an organization: role, schema, tables and a first write key, which is shown once. Finishes one that was
    /// begun and interrupted.
    Add(add::Arguments),
    /// Lists every organization.
    List(AdminArguments),
    /// Shows one organization.
    Show(OneOrganization),
    /// Makes intake refuse an organization's events; what was accepted before is still stored.
    Suspend(OneOrganization),
    /// Makes intake take a suspended organization's events again.
    Resume(OneOrganization),
    /// Changes an organization's settings.
    Set(set::Arguments),
    /// Drops an organization's schema and roles and revokes its keys, for good. The slug is never used again.
    Remove(remove::Arguments),
}

/// A command about one organization.
#[derive(Debug, clap::Args)]
pub(super) struct OneOrganization {
    /// The organization.
    slug: Slug,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Command {
    pub(super) fn admin(&self) -> &AdminArguments {
        match self {
            Self::Add(arguments) => &arguments.admin,
            Self::List(admin) => admin,
            Self::Show(one) | Self::Suspend(one) | Self::Resume(one) => &one.admin,
            Self::Set(arguments) => &arguments.admin,
            Self::Remove(arguments) => &arguments.admin,
        }
    }

    /// The settings that have no effect beside the others.
    pub(super) fn idle(&self) -> Option<Idle> {
        match self {
            Self::Set(arguments) => arguments.idle(),
            Self::Add(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Suspend(_)
            | Self::Resume(_)
            | Self::Remove(_) => None,
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(arguments) => arguments.run().await,
            Self::List(admin) => list(&admin).await,
            Self::Show(one) => {
                let (admin, _) = one.admin.open().await?;
                print(one.admin.output, &organizations::show(&admin, &one.slug).await?);
                Ok(())
            }
            Self::Suspend(one) => {
                let (mut admin, _) = one.admin.open().await?;
                print(one.admin.output, &lifecycle::suspend(&mut admin, &one.slug).await?);
                Ok(())
            }
            Self::Resume(one) => {
                let (mut admin, _) = one.admin.open().await?;
                print(one.admin.output, &lifecycle::resume(&mut admin, &one.slug).await?);
                Ok(())
            }
            Self::Set(arguments) => arguments.run().await,
            Self::Remove(arguments) => arguments.run().await,
        }
    }
}

/// An organization as every command but `add` answers it.
#[derive(Serialize)]
struct Answer<'a> {
    organization: &'a str,
    id: String,
    name: &'a str,
    schema: &'a str,
    state: &'static str,
    created_at: String,
    rate_limit: Option<u32>,
    origins: &'a [String],
    completion: f64,
}

impl<'a> Answer<'a> {
    fn new(described: &'a Described) -> Self {
        let organization = &described.organization;
        Self {
            organization: organization.slug.as_str(),
            id: organization.id.to_string(),
            name: &described.name,
            schema: &organization.schema_name,
            state: organization.state.as_str(),
            created_at: output::time(described.created_at),
            rate_limit: organization.rate_limit.map(std::num::NonZero::get),
            origins: &organization.origins,
            completion: organization.completion.as_f64(),
        }
    }

    /// For people.
    fn text(&self) -> String {
        let origins = if self.origins.is_empty() { "every".to_owned() } else { self.origins.join(" ") };
        let rate_limit =
            self.rate_limit.map_or("the service's default".to_owned(), |n| format!("{n} events/s"));
        format!(
            "{}: {}\n  name        {}\n  id          {}\n  schema      {}\n  created     {}\n  \
             rate limit  {rate_limit}\n  origins     {origins}\n  completion  {}",
            self.organization, self.state, self.name, self.id, self.schema, self.created_at, self.completion
        )
    }
}

async fn list(arguments: &AdminArguments) -> Result<(), Failure> {
    let (admin, _) = arguments.open().await?;
    let all = organizations::list(&admin).await?;
    let answers: Vec<Answer<'_>> = all.iter().map(Answer::new).collect();
    let header = ["organization", "name", "schema", "state", "created", "rate limit", "origins"];
    output::list(arguments.output, &answers, &header, |one| {
        vec![
            one.organization.to_owned(),
            one.name.to_owned(),
            one.schema.to_owned(),
            one.state.to_owned(),
            one.created_at.clone(),
            output::or_dash(one.rate_limit),
            output::or_dash((!one.origins.is_empty()).then(|| one.origins.join(" "))),
        ]
    });
    Ok(())
}

fn print(output: Output, described: &Described) {
    output::one(output, &Answer::new(described), Answer::text);
}
