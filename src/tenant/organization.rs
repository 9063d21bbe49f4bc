//! An organization as the control schema describes it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use uuid::Uuid;

use super::{Completion, Slug};

/// Names an organization for good: a slug that is removed and made again gets another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationId(pub Uuid);

impl fmt::Display for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an organization is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Role, schema and tables are being made; `org add` finishes it.
    Provisioning,
    /// Takes events.
    Active,
    /// Intake answers 403; what was accepted before is still stored.
    Suspended,
    /// Schema, roles and keys are gone; the row stays so that the slug is never used again.
    Removed,
}

impl State {
    /// As the control schema spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        [Self::Provisioning, Self::Active, Self::Suspended, Self::Removed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// The control schema was written by a release that knows more states.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no state of an organization that this release knows")]
pub struct UnknownState(String);

/// One row of `rollbook.organization`.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Names it for good.
    pub id: OrganizationId,
    /// Names it to people, and in requests.
    pub slug: Slug,
    /// The schema that holds its events.
    pub schema_name: String,
    /// Where it is in its life.
    pub state: State,
    /// The version of its schema, as `migrate` left it.
    pub schema_version: i32,
    /// Events a second at intake; `None`: the service's default.
    pub rate_limit: Option<NonZeroU32>,
    /// Browser origins that may write; empty: every origin.
    pub origins: Vec<String>,
    /// From which share of a duration on its reports call a viewer done.
    pub completion: Completion,
}
