//! A file of events, one a line with its `organization`, as it can be sent now.
//!
//! The file is read twice, streamed both times: [`Survey`] first looks at every line, so that a line that cannot be
//! sent stops the command before anything was sent, and finds the last time, which `--shift-to-now` needs. Then
//! [`Replay`] gives the events in the file's order. What is inside an event is left as it is, right or wrong: judging
//! it is intake's task.

mod line;
mod lines;
mod survey;

use std::path::{Path, PathBuf};

use crate::event::UnixMillis;
use crate::tenant::Slug;
use line::Line;
use lines::Lines;

pub(super) use survey::Survey;

/// What is changed in events on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    /// Added to each `occurred_at` that is a time.
    pub(super) shift_ms: i64,
    pub(super) ids: Ids,
}

/// Which ids are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// The file's.
    Kept,
    /// New ones of version 7, also where there was none.
    Fresh,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    /// Not there, not readable, or damaged.
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// A line that is no event.
    #[error("{}, line {line}: {why}", path.display())]
    BadLine { path: PathBuf, line: u64, why: String },
}

/// The events of a file.
pub(super) struct Replay {
    lines: Lines,
    organizations: Vec<Slug>,
    changes: Changes,
    json: String,
}

impl Replay {
    /// Opens the file at its beginning. Events are counted to the organization of their name among `organizations`.
    pub(super) fn open(path: &Path, organizations: &[Slug], changes: Changes) -> Result<Self, ReplayError> {
        let lines = Lines::open(path)?;
        Ok(Self { lines, organizations: organizations.to_vec(), changes, json: String::new() })
    }

    /// The next event, as the index of its organization and its JSON; `None` at the end of the file.
    pub(super) fn next_event(&mut self) -> Result<Option<(usize, &str)>, ReplayError> {
        let Self { lines, organizations, changes, json } = self;
        let changes = *changes;
        let read = lines.next_line(|text| {
            let line = Line::parse(text)?;
            let organization = line.organization_among(organizations)?;
            json.clear();
            line.write(json, changes);
            Ok(organization)
        })?;
        Ok(read.map(|organization| (organization, self.json.as_str())))
    }
}

/// How far a file's times are moved so that the last of them becomes `now`.
pub(super) fn shift_to(now: UnixMillis, last: UnixMillis) -> i64 {
    now.0.saturating_sub(last.0)
}

#[cfg(test)]
mod tests;
