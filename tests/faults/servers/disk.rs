//! A disk that can be filled, for a cluster's data.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk in memory, unmounted when dropped.
#[derive(Debug)]
pub(in super::super) struct SmallDisk {
    at: PathBuf,
}

const FULL_SIZE: &str = "size=4g";

impl SmallDisk {
    pub(super) fn mount(at: &Path) -> Self {
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("{FULL_SIZE},mode=755"), "rollbook-test", &at.to_string_lossy()],
        );
        Self { at: at.to_owned() }
    }

    /// Shrinks it to what is on it, rounded up to a megabyte.
    pub(in super::super) fn fill(&self) {
        let used =
            Command::new("df").args(["--output=used", "-B1M"]).arg(&self.at).output().expect("df runs");
        let used = String::from_utf8_lossy(&used.stdout).lines().nth(1).map(str::trim).map(str::to_owned);
        let used: u64 = used.and_then(|used| used.parse().ok()).expect("df says how much is used");
        self.remount(&format!("size={}m", used + 1));
    }

    /// Gives it its size back.
    pub(in super::super) fn grow(&self) {
        self.remount(FULL_SIZE);
    }

    fn remount(&self, size: &str) {
        run("mount", &["-o", &format!("remount,{size}"), &self.at.to_string_lossy()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy", &self.at.to_string_lossy()]);
    }
}

fn run(program: &str, words: &[&str]) {
    let done = Command::new(program).args(words).output().expect("it is there");
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}
