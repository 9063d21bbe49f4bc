//! Where an embedded log is.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{SmallDisk, folder, is_root};

/// The folder of one embedded log, removed when dropped.
#[derive(Debug)]
pub(in super::super) struct DataFolder {
    // Unmounted before the folder goes.
    disk: Option<SmallDisk>,
    folder: TempDir,
}

impl DataFolder {
    /// On the disk that everything is on.
    pub(in super::super) fn new() -> Self {
        Self { disk: None, folder: Self::with_home() }
    }

    /// On a disk of its own that can be filled; as anybody but root, on the one that everything is on.
    pub(in super::super) fn on_small_disk() -> Self {
        let folder = Self::with_home();
        let disk = is_root().then(|| SmallDisk::mount(&folder.path().join("home")));
        Self { disk, folder }
    }

    fn with_home() -> TempDir {
        let folder = folder("log", |_| true);
        std::fs::create_dir(folder.path().join("home")).expect("a folder of ours");
        folder
    }

    /// What ROLLBOOK_DATA_DIR says.
    pub(in super::super) fn path(&self) -> PathBuf {
        self.folder.path().join("home").join("log")
    }

    /// The disk that can be filled, if it is on one.
    pub(in super::super) fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }
}
