//! A real file system that runs full, and one from which a person removes what is in use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::folder::DiskFolder;
use super::super::open::open_in;
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

/// Whoever empties the folder under a running service loses what was in it. What is taken afterwards would be lost, too.
#[test]
fn what_is_written_to_a_file_that_was_removed_is_not_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = DiskFolder::open(folder.path()).expect("a folder");
    let is_ended = Arc::new(AtomicBool::new(false));
    let ends = {
        let is_ended = Arc::clone(&is_ended);
        Box::new(move |_: &std::io::Error| is_ended.store(true, Ordering::SeqCst))
    };
    let settings = settings(folder.path(), 2, 4 << 20);
    let (engine, _) = open_in(Arc::new(disk), None, &settings, ends).expect("it opens");
    assert_eq!(append(&engine, 0, b"kept").expect("room"), 0);
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        std::fs::remove_file(file.expect("a file").path()).expect("it is ours");
    }
    let refused = append(&engine, 0, b"lost").expect_err("its file is gone");
    assert!(refused.to_string().contains("cannot be written"), "{refused}");
    assert!(is_ended.load(Ordering::SeqCst), "the process ends");
    append(&engine, 1, b"lost, too").expect_err("nothing more is taken");
}
