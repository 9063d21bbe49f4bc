//! `rollbook org add`.

use serde::Serialize;

use crate::cli::admin::AdminArguments;
use crate::cli::{Failure, output};
use crate::store::provision;
use crate::tenant::Slug;

/// What `org add` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Names the organization in requests, and its schema: 2 to 48 characters, a lower-case letter, then letters a-z,
    /// digits or `_`; not `rebuild`, which is a word of `rollbook report`. Never used again, even after the organization
    /// is removed.
    #[arg(value_parser = new_slug)]
    slug: Slug,
    /// For display. Default: the slug.
    #[arg(long, value_parser = super::set::display_name)]
    name: Option<String>,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

#[derive(Serialize)]
struct Answer {
    organization: String,
    id: String,
    schema: String,
    state: &'static str,
    key_id: String,
    key: String,
}

/// Only for new ones: whoever has that slug already keeps it.
fn new_slug(text: &str) -> Result<Slug, String> {
    match text.parse::<Slug>() {
        Ok(slug) if slug.as_str() == RESERVED => {
            Err(format!("`{RESERVED}` is a word of `rollbook report`, and would be taken for it"))
        }
        slug => slug.map_err(|bad| bad.to_string()),
    }
}

/// `rollbook report rebuild SLUG` stands beside `rollbook report SLUG`.
const RESERVED: &str = "rebuild";

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut admin, installation) = self.admin.open().await?;
        let made = provision::add(&mut admin, &installation, &self.slug, self.name.as_deref()).await?;
        let organization = made.organization.organization;
        let answer = Answer {
            organization: self.slug.to_string(),
            id: organization.id.to_string(),
            schema: organization.schema_name,
            state: organization.state.as_str(),
            key_id: made.key.id.to_string(),
            key: made.key.key.reveal().to_owned(),
        };
        output::one(self.admin.output, &answer, |answer| {
            format!(
                "{} is {}, its events go to the schema {}\nfirst write key, shown this once: {}",
                answer.organization, answer.state, answer.schema, answer.key
            )
        });
        Ok(())
    }
}
