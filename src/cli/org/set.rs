//! `rollbook org set`.

use std::num::NonZeroU32;

use crate::cli::Failure;
use crate::cli::admin::AdminArguments;
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

/// One word of `--origin`.
#[derive(Clone, Debug)]
enum Origin {
    Any,
    One(String),
}

impl Arguments {
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

/// `any` among others opens the door to every origin, so it is the whole list.
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

/// Takes an origin as browsers write it: they compare it byte for byte with what a page sends, and so does intake.
fn origin(text: &str) -> Result<Origin, String> {
    if text == "any" {
        return Ok(Origin::Any);
    }
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
    match authority {
        Some(authority) if !authority.is_empty() && authority.chars().all(is_plain) => {
            Ok(Origin::One(text.to_owned()))
        }
        _ => Err(
            "an origin is http:// or https://, a host in lower case, and a port if it is not the usual one; \
                  or `any`"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_and_nothing_else() {
        for good in ["https://play.example.org", "http://localhost:5173", "http://[::1]:80", "any"] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in
            ["play.example.org", "https://", "https://Example.org", "https://a.org/", "https://a.org/x", "*"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_among_others_is_every_origin() {
        let one = || Origin::One("https://a.org".to_owned());
        assert_eq!(origins(vec![one(), one()]).len(), 2);
        assert!(origins(vec![one(), Origin::Any]).is_empty());
    }
}
