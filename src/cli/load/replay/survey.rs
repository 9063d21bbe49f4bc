//! A look at a whole file before anything of it is sent.

use std::path::Path;

use super::ReplayError;
use super::line::Line;
use super::lines::Lines;
use crate::event::UnixMillis;
use crate::tenant::Slug;

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::load) struct Survey {
    /// How many events, at most as many as were asked for.
    pub(in crate::cli::load) events: u64,
    /// The latest `occurred_at` of these; `None` when there is no time at all.
    pub(in crate::cli::load) last: Option<UnixMillis>,
}

impl Survey {
    /// Reads the first `limit` events. Each must be an object of one of `organizations`.
    pub(in crate::cli::load) fn of(
        path: &Path,
        organizations: &[Slug],
        limit: u64,
    ) -> Result<Self, ReplayError> {
        let mut lines = Lines::open(path)?;
        let mut survey = Self::default();
        while survey.events < limit {
            let look = |text: &str| {
                let line = Line::parse(text)?;
                line.organization_among(organizations)?;
                Ok(line.occurred_at())
            };
            let Some(occurred_at) = lines.next_line(look)? else { break };
            survey.events += 1;
            survey.last = survey.last.max(occurred_at);
        }
        Ok(survey)
    }
}
