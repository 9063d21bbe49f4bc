//! A log that is only looked at: it reads as it would when it is opened, and nothing of it is changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Engine, OpenError, Outlook, lock, open};
use super::forgetful::Forgetful;
use super::support::{
    PATIENCE, SMALL, SMALL_LOGS_PARTITIONS, SmallLog, append, open_folder, open_in, read_all, settings,
};
use crate::log::embedded::AppendError;

fn look_in(folder: &Forgetful) -> Result<Engine, OpenError> {
    open::look_in(Arc::new(folder.clone()), None, Path::new("in memory"))
}

#[test]
fn wherever_a_crash_cut_it_off_it_reads_as_it_will_when_it_is_opened() {
    let log = SmallLog::new();
    let (_, end) = log.last_group_at;
    for cut in 0..=end {
        let mut files = log.files.clone();
        files.get_mut(&log.last_file).expect("the last segment").truncate(cut);
        let folder = Forgetful::with(&files);
        let looked = look_in(&folder).expect("earlier segments have headers");
        let read = read_all(&looked);
        assert_eq!(looked.partitions().cast_unsigned(), SMALL_LOGS_PARTITIONS);
        assert!(matches!(append(&looked, 0, b"no"), Err(AppendError::Closed)));
        drop(looked);
        assert!(folder.files() == files, "a look changed something, cut at {cut}");
        let (opened, _) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
        assert!(read == read_all(&opened), "it reads differently, cut at {cut}");
    }
}

#[test]
fn what_nobody_has_written_to_is_no_log_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere");
    let none = |path: &Path| matches!(Engine::look(path).map(drop), Err(OpenError::NoLog { folder }) if folder == path);
    assert!(none(&nowhere) && !nowhere.exists());
    assert!(none(folder.path()));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn any_number_look_while_none_writes_and_who_writes_waits_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, _) = open_folder(folder.path(), 3);
    let locked = |path: &Path| matches!(Engine::look(path).map(drop), Err(OpenError::Locked { .. }));
    assert!(locked(folder.path()));
    append(&engine, 1, b"record").expect("room");
    engine.close();
    drop(engine);

    let (one, other) = (Engine::look(folder.path()), Engine::look(folder.path()));
    let (one, other) = (one.expect("it is free"), other.expect("it is free"));
    assert!(one.accept_damage().is_err(), "nothing is written");
    let refused = lock::to_write(folder.path(), Duration::ZERO).map(drop);
    assert!(matches!(refused, Err(OpenError::LookedAt { .. })), "{refused:?}");
    let opening = std::thread::spawn({
        let settings = settings(folder.path(), 3, 1 << 30);
        move || Engine::open(&settings).map(drop)
    });
    drop(one);
    assert_eq!(read_all(&other).0.len(), 1);
    drop(other);
    opening.join().expect("no panic").expect("it was waited for");
    assert!(PATIENCE >= lock::PATIENCE, "a test would give up first");
}

/// What opening a log of three partitions would come to.
fn outlook(path: &Path) -> Result<Outlook, OpenError> {
    Engine::outlook(&settings(path, 3, SMALL))
}

#[test]
fn what_opening_would_come_to_is_told_without_making_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("above/nowhere");
    assert_eq!(outlook(&nowhere).expect("it can be made"), Outlook::NoLogYet);
    assert_eq!(outlook(folder.path()).expect("it can be made"), Outlook::NoLogYet);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);

    std::fs::write(folder.path().join("file"), "").expect("it can be written");
    std::os::unix::fs::symlink("gone", folder.path().join("link")).expect("it can be written");
    for no_folder in ["file", "file/below", "link", "link/below"] {
        let refused = outlook(&folder.path().join(no_folder));
        let is_refused = matches!(refused, Err(OpenError::Io { .. } | OpenError::CannotMake { .. }));
        assert!(is_refused, "{no_folder}: {refused:?}");
    }
}

#[test]
fn what_keeps_a_log_from_being_opened_is_told_beforehand() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (engine, _) = open_folder(path, 3);
    append(&engine, 1, b"record").expect("room");
    engine.close();
    let lock = path.join("lock");
    let entries = std::fs::read_dir(path).expect("a folder").flatten();
    let segments: Vec<_> = entries.map(|entry| entry.path()).filter(|file| *file != lock).collect();
    assert_eq!(outlook(path).expect("it opens"), Outlook::Log);

    let other = settings(path, 4, SMALL);
    let told = |found: Result<(), OpenError>| found.expect_err("it does not open").to_string();
    let beforehand = told(Engine::outlook(&other).map(drop));
    assert_eq!(beforehand, told(Engine::open(&other).map(drop)));
    // Whoever opens it makes the lock anew.
    std::fs::remove_file(&lock).expect("it is there");
    assert_eq!(beforehand, told(Engine::outlook(&other).map(drop)));
    assert!(!lock.exists());
    for segment in segments {
        let whole = std::fs::read(&segment).expect("it can be read");
        std::fs::write(&segment, vec![7; whole.len()]).expect("it can be written");
    }
    assert_eq!(told(outlook(path).map(drop)), told(Engine::open(&settings(path, 3, SMALL)).map(drop)));
}
