//! A real file system that runs full.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{AppendError, Engine, Findings, Trouble};
use super::support::{append, read_all, settings, wait_until};

/// A small file system in memory; gone with this.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "rollbook-test"]).arg(folder);
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _best_effort = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_disk_that_is_full_and_freed_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = Mounted::at(folder.path(), "3m") else {
        eprintln!("NOT TESTED: a full disk. It takes root, who may mount a tmpfs.");
        return;
    };
    let others = disk.0.join("others-file");
    std::fs::write(&others, vec![1; 1 << 20]).expect("room");
    let settings = settings(&disk.0.join("log"), 2, 4 << 20);
    let (engine, _) = Engine::open(&settings).expect("it opens");
    let mut taken = 0;
    let refused = loop {
        match append(&engine, 0, &[5; 10_000]) {
            Ok(offset) => assert_eq!(offset, taken),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert!(matches!(refused, AppendError::Disk(_)), "{refused}");
    assert!(matches!(engine.trouble(), Some(Trouble::Disk(_))));
    assert!(taken > 100, "{taken}");
    std::fs::remove_file(&others).expect("it is ours");
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, b"again").expect("room"), taken);
    engine.close();
    let (engine, findings) = Engine::open(&settings).expect("it opens");
    assert_eq!(findings, Findings::default());
    assert_eq!(read_all(&engine).0.len(), usize::try_from(taken).expect("small") + 1);
    engine.close();
}
