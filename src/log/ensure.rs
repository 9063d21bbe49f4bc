//! Looks at the log before anything is written to it, and makes what has to be there.

use std::path::PathBuf;

#[cfg(feature = "kafka")]
use super::kafka;
use super::{Log, LogError};
use crate::config::log::{LogSettings, TopicArgs};

/// The log as it is now.
#[derive(Debug, PartialEq, Eq)]
pub struct Ensured {
    /// Its partitions. Those of one that was there stay as they are: more of them would move organizations.
    pub partitions: usize,
    /// How one that was there differs from what would have been made.
    pub differences: Vec<Difference>,
    /// Why not all of it could be compared; `None`: it was.
    pub unread: Option<String>,
}

/// A setting of the log that is not as it would have been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The log's own name for what differs.
    pub setting: &'static str,
    /// As it is.
    pub found: String,
    /// As it would have been made.
    pub wanted: String,
    /// What comes of it.
    pub consequence: &'static str,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { setting, found, wanted, consequence } = self;
        write!(f, "{setting} is {found}, and not {wanted}: {consequence}")
    }
}

/// A log that is not in this build.
#[cfg(not(feature = "kafka"))]
#[derive(Debug, thiserror::Error)]
#[error("this build of rollbook has no Kafka: build it with the feature `kafka`, or use `--log embedded`")]
pub(super) struct WithoutKafka;

/// A service may have the log open elsewhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no log in {}, seen from here: set ROLLBOOK_DATA_DIR to the whole path of its folder, whether or not that is \
     still there", .folder.display()
)]
struct NotHere {
    folder: PathBuf,
}

/// Makes what is not there. Safe to repeat. The embedded log is made by the process that serves it.
///
/// # Errors
/// The log does not answer, refuses, or would lose what it is given.
#[cfg_attr(not(feature = "kafka"), allow(unused_variables, reason = "it is a topic's"))]
pub async fn ensure(settings: &LogSettings, args: &TopicArgs) -> Result<Ensured, LogError> {
    match settings {
        #[cfg(feature = "kafka")]
        LogSettings::Kafka(settings) => kafka::topic::ensure(settings, args).await.map_err(LogError::new),
        #[cfg(not(feature = "kafka"))]
        LogSettings::Kafka(_) => Err(LogError::new(WithoutKafka)),
        LogSettings::Embedded(settings) => {
            let partitions = settings.partitions as usize;
            Ok(Ensured { partitions, differences: Vec::new(), unread: None })
        }
    }
}

/// Removes a log with all that it holds. The embedded log's folder is its owner's to remove.
///
/// # Errors
/// The log does not answer, or refuses.
pub async fn remove(settings: &LogSettings) -> Result<(), LogError> {
    match settings {
        #[cfg(feature = "kafka")]
        LogSettings::Kafka(settings) => kafka::topic::remove(settings).await.map_err(LogError::new),
        #[cfg(not(feature = "kafka"))]
        LogSettings::Kafka(_) => Err(LogError::new(WithoutKafka)),
        LogSettings::Embedded(_) => Ok(()),
    }
}

/// Takes hold of an embedded log that is here, so that nobody serves it meanwhile; `None`: the log is another one, or is not
/// here any more. [`Log::close`] lets go of it.
///
/// # Errors
/// A process has the folder open, or it cannot be read; or the folder is not below the one that we work in, and the settings do
/// not say where it is instead.
pub async fn hold_still(settings: &LogSettings) -> Result<Option<Log>, LogError> {
    let LogSettings::Embedded(embedded) = settings else { return Ok(None) };
    if !embedded.folder.exists() {
        return match embedded.folder.is_absolute() {
            true => Ok(None),
            false => Err(LogError::new(NotHere { folder: embedded.folder.clone() })),
        };
    }
    let settings = settings.clone();
    let opening = tokio::task::spawn_blocking(move || Log::open(&settings, ""));
    opening.await.unwrap_or_else(|error| Err(LogError::new(error))).map(Some)
}
