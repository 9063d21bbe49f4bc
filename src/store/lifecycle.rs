//! Changing an organization that stands: suspend, resume, and its settings. All can be repeated.

use std::num::NonZeroU32;

use serde_json::json;

use super::organizations::{self, Described, Lock};
use super::{Admin, Error};
use crate::tenant::{Completion, OrganizationId, Slug, State};

/// Intake answers 403 from now on; what was accepted before is still stored.
///
/// # Errors
/// The organization does not exist, is not complete, or was removed.
pub async fn suspend(admin: &mut Admin, slug: &Slug) -> Result<Described, Error> {
    move_to(admin, slug, State::Suspended, "org.suspend").await
}

/// Takes events again.
///
/// # Errors
/// As [`suspend`].
pub async fn resume(admin: &mut Admin, slug: &Slug) -> Result<Described, Error> {
    move_to(admin, slug, State::Active, "org.resume").await
}

async fn move_to(admin: &mut Admin, slug: &Slug, to: State, action: &str) -> Result<Described, Error> {
    let change = admin.begin().await?;
    let found = organizations::find(&*change, slug, Lock::AgainstChanges).await?;
    organizations::refuse_unless_standing(&found.organization)?;
    if found.organization.state != to {
        let id = found.organization.id;
        let sql = "UPDATE rollbook.organization SET state = $2 WHERE id = $1";
        change.execute(sql, &[&id.0, &to.as_str()]).await?;
        let what = json!({ "state": to.as_str() });
        change.record(action, Some(id), &what).await?;
    }
    change.commit().await?;
    organizations::show(admin, slug).await
}

/// New values; `None` leaves the old one.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// For display.
    pub name: Option<String>,
    /// Events a second at intake.
    pub rate_limit: Option<RateLimit>,
    /// Browser origins that may write; empty: every origin.
    pub origins: Option<Vec<String>>,
    /// From which share of a duration on a viewer is done.
    pub completion: Option<Completion>,
}

/// An organization's rate limit, as a person sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// The service's default.
    Default,
    /// So many events a second.
    EventsPerSecond(NonZeroU32),
}

/// Changes settings. The trail holds what really changed, and nothing when nothing did.
///
/// # Errors
/// As [`suspend`].
pub async fn set(admin: &mut Admin, slug: &Slug, changes: &Changes) -> Result<Described, Error> {
    let change = admin.begin().await?;
    let found = organizations::find(&*change, slug, Lock::AgainstChanges).await?;
    organizations::refuse_unless_standing(&found.organization)?;

    let old = &found.organization;
    let name = changes.name.as_ref().unwrap_or(&found.name);
    let origins = changes.origins.as_ref().unwrap_or(&old.origins);
    let completion = changes.completion.unwrap_or(old.completion);
    let rate_limit = match changes.rate_limit {
        None => old.rate_limit,
        Some(RateLimit::Default) => None,
        Some(RateLimit::EventsPerSecond(limit)) => Some(limit),
    };
    let mut what = serde_json::Map::new();
    if *name != found.name {
        what.insert("name".to_owned(), json!(name));
    }
    if rate_limit != old.rate_limit {
        what.insert("rate_limit".to_owned(), json!(rate_limit));
    }
    if *origins != old.origins {
        what.insert("origins".to_owned(), json!(origins));
    }
    if completion != old.completion {
        what.insert("completion".to_owned(), json!(completion.as_f64()));
    }
    if !what.is_empty() {
        let sql = "UPDATE rollbook.organization SET name = $2, rate_limit = $3, allowed_origins = $4, \
                          completion = $5::text::numeric WHERE id = $1";
        // The command line takes no limit that the column cannot hold.
        let limit = rate_limit.map(|limit| i32::try_from(limit.get()).unwrap_or(i32::MAX));
        change.execute(sql, &[&old.id.0, name, &limit, origins, &completion.to_string()]).await?;
        change.record("org.set", Some(old.id), &what.into()).await?;
    }
    change.commit().await?;
    organizations::show(admin, slug).await
}

/// Writes into the trail that a person has the reports made anew.
///
/// # Errors
/// Postgres.
pub async fn record_rebuild(admin: &mut Admin, organization: OrganizationId) -> Result<(), Error> {
    let change = admin.begin().await?;
    change.record("report.rebuild", Some(organization), &json!({})).await?;
    change.commit().await
}
