//! `rollbook org set`.

use std::num::NonZeroU32;

use super::origin::{Origin, origin};
use crate::cli::Failure;
use crate::cli::admin::AdminArguments;
use crate::config::Idle;
use crate::store::lifecycle::{self, Changes, RateLimit};
use crate::tenant::{Completion, Slug};

/// What `org set` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("changes").required(true).multiple(true))]
pub(in crate::cli) struct Arguments {
    /// The organization.
    slug: Slug,
    /// For display.
    #[arg(long, group = "changes", value_parser = display_name)]
    name: Option<String>,
    /// Events a second that each intake process takes, in bursts of at least 500; `default`: whatever the service is set to.
    #[arg(long, group = "changes", value_name = "EVENTS", value_parser = rate_limit)]
    rate_limit: Option<RateLimit>,
    /// A browser origin that may write, such as `https://play.example.org`; repeat it for several. They take the place
    /// of those that were set before. `any`: every origin.
    #[arg(long, group = "changes", value_name = "ORIGIN", value_parser = origin)]
    origin: Option<Vec<Origin>>,
    /// The share of a video's duration from which on reports count a viewer as having completed it: above 0, at most 1.
    #[arg(long, group = "changes", value_name = "SHARE")]
    completion: Option<Completion>,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

impl Arguments {
    /// What has no effect beside the rest.
    pub(super) fn idle(&self) -> Option<Idle> {
        let written = self.origin.as_deref().unwrap_or_default();
        let among_others = written.contains(&Origin::Any) && written.iter().any(|one| *one != Origin::Any);
        Idle::if_so(
            among_others,
            &["origin"],
            "is `any`, which is every origin, and others beside it: which is meant?",
        )
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let changes = Changes {
            name: self.name,
            rate_limit: self.rate_limit,
            origins: self.origin.map(origins),
            completion: self.completion,
        };
        let (mut admin, _) = self.admin.open().await?;
        super::print(self.admin.output, &lifecycle::set(&mut admin, &self.slug, &changes).await?);
        Ok(())
    }
}

/// `any` is the empty list, which keeps no origin out.
fn origins(written: Vec<Origin>) -> Vec<String> {
    let one_by_one = written.into_iter().map(|origin| match origin {
        Origin::Any => None,
        Origin::One(origin) => Some(origin),
    });
    one_by_one.collect::<Option<Vec<_>>>().unwrap_or_default()
}

pub(super) fn display_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=200 if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err("a name is 1 to 200 characters".to_owned()),
    }
}

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    if text == "default" {
        return Ok(RateLimit::Default);
    }
    let limit =
        text.parse::<i32>().ok().and_then(|limit| u32::try_from(limit).ok()).and_then(NonZeroU32::new);
    limit
        .map(RateLimit::EventsPerSecond)
        .ok_or_else(|| "a rate limit is a whole number from 1 to 2147483647, or `default`".to_owned())
}
