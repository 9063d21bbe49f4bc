//! The embedded log as the other rooms see it: the same partitions, keys and offsets, in this process; or in another one,
//! or in none, for who only looks at it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::PartitionEnds;
use super::embedded::{Engine, EngineSettings, Findings, OpenError, Outlook};
use crate::config::log::EmbeddedSettings;

mod consumer;
mod elsewhere;
mod pages;
mod publisher;
mod running;
mod scanner;

pub(in crate::log) use consumer::Consumer;
pub(in crate::log) use elsewhere::{Elsewhere, ElsewhereScanner};
pub use pages::Pages;
pub(in crate::log) use publisher::Publisher;
pub(in crate::log) use running::RunningScanner;
pub(in crate::log) use scanner::Scanner;

/// How long a disk may take for what waits when the log is closed.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

/// This process's own log; cheap to clone.
#[derive(Clone)]
pub(in crate::log) struct LocalLog {
    engine: Engine,
    folder: Arc<Path>,
    retention_bytes: u64,
}

impl LocalLog {
    /// Opens the folder, which no other process has open, and says what was not as it should be.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) fn open(settings: &EmbeddedSettings) -> Result<Self, OpenError> {
        let (engine, findings) = Engine::open(&engine_settings(settings))?;
        let EmbeddedSettings { folder, retention_bytes, .. } = settings;
        say(folder, &findings);
        Ok(Self { engine, folder: folder.as_path().into(), retention_bytes: *retention_bytes })
    }

    /// What [`LocalLog::open`] would come to, without doing it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) fn outlook(settings: &EmbeddedSettings) -> Result<Outlook, OpenError> {
        Engine::outlook(&engine_settings(settings))
    }

    /// Looks at a folder that no process has open. What is not as it should be is said by the process that opens it next.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn look(folder: &Path) -> Result<Self, OpenError> {
        Ok(Self { engine: Engine::look(folder)?, folder: folder.into(), retention_bytes: u64::MAX })
    }

    /// Takes nothing more, writes what waits, and lets go of the folder. Blocks, and waits for a disk that does not answer some
    /// seconds only: nobody was told that it has what it has not.
    pub(super) fn close(&self) {
        if !self.engine.close_within(CLOSING_PATIENCE) {
            let folder = &self.folder;
            tracing::error!(?folder, "the log's disk does not answer, and is not waited for any longer");
        }
    }

    /// Gives up what is damaged, for good. How many stretches that were.
    ///
    /// # Errors
    /// It could not be written down.
    pub(super) fn give_up_damage(&self) -> std::io::Result<usize> {
        let damaged = self.engine.damage().values().map(Vec::len).sum();
        if damaged > 0 {
            self.engine.accept_damage()?;
        }
        Ok(damaged)
    }

    /// How many partitions it has.
    pub(super) fn partitions(&self) -> i32 {
        self.engine.partitions()
    }

    fn ends_of(&self, partition: i32) -> Option<PartitionEnds> {
        let ends = self.engine.ends(partition)?;
        Some(PartitionEnds { start: ends.start, end: ends.end })
    }

    fn is_damaged(&self, partition: i32, offset: i64) -> bool {
        let damage = self.engine.damage();
        damage.get(&partition).is_some_and(|all| all.iter().any(|one| (one.from..one.to).contains(&offset)))
    }
}

impl fmt::Debug for LocalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLog").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn engine_settings(settings: &EmbeddedSettings) -> EngineSettings {
    let EmbeddedSettings { folder, partitions, retention_bytes } = settings;
    EngineSettings { folder: folder.clone(), partitions: *partitions, retention_bytes: *retention_bytes }
}

fn say(folder: &PathBuf, findings: &Findings) {
    let Findings { torn, damage, forgot_given_up } = findings;
    if let Some(torn) = torn {
        let (file, position, bytes, records) = (&torn.file, torn.position, torn.bytes, torn.records);
        tracing::warn!(
            ?folder,
            file,
            position,
            bytes,
            records,
            "the log's end was cut off by a crash and is dropped: nobody was told that it was there"
        );
    }
    for one in damage {
        let (partition, from, to) = (one.partition, one.damage.from, one.damage.to);
        let (file, position) = (&one.file, one.position);
        tracing::error!(?folder, file, position, partition, from, to, "the log is damaged");
    }
    if *forgot_given_up {
        tracing::error!(?folder, "the note of what was given up cannot be read: that is damage again");
    }
}
