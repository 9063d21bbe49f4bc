//! Retention, full logs and full disks.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::super::{
    AppendError, CursorError, Ends, Engine, Findings, LONGEST_WRITE, ReadError, Trouble, open,
};
use super::forgetful::Forgetful;
use super::support::{PATIENCE, SMALL, append, open_in, read_all, read_from, send, settings, wait_until};

/// Appends to a partition until the log refuses; gives back how many it took.
fn fill(engine: &Engine, partition: i32, bytes: usize) -> (i64, AppendError) {
    let mut taken = 0;
    loop {
        assert!(taken < 10_000, "it takes whatever comes");
        match append(engine, partition, &vec![7; bytes]) {
            Ok(_) => taken += 1,
            Err(error) => return (taken, error),
        }
    }
}

#[test]
fn a_full_log_keeps_all_that_is_not_loaded_and_goes_on_once_it_is() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, SMALL).expect("it opens");
    append(&engine, 1, b"the other partition's").expect("room");
    let (taken, refused) = fill(&engine, 0, 5_000);
    assert!(matches!(refused, AppendError::Full), "{refused}");
    assert!(matches!(engine.trouble(), Some(Trouble::Full)));
    assert!(engine.bytes() <= SMALL && engine.bytes() > SMALL - 20_000, "{}", engine.bytes());
    assert_eq!(read_all(&engine).0.len(), usize::try_from(taken).expect("small") + 1);

    // Of the other partition nothing is said, and its record is in the oldest segment.
    engine.loaded(&[(0, taken)]);
    assert!(matches!(append(&engine, 0, &[7; 5_000]), Err(AppendError::Full)));
    assert_eq!(engine.ends(0), Some(Ends { start: 0, end: taken }));
    engine.loaded(&[(1, 0)]);
    assert!(matches!(append(&engine, 0, &[7; 5_000]), Err(AppendError::Full)));

    engine.loaded(&[(1, 1)]);
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, &[7; 5_000]).expect("room"), taken);
    let Ends { start, end } = engine.ends(0).expect("a partition");
    assert!(start > 0 && start < 20 && end == taken + 1, "only as much goes as must: {start}");
    assert_eq!(engine.ends(1), Some(Ends { start: 1, end: 1 }));
    let mut cursor = engine.cursor(&HashMap::from([(0, 0)]));
    let gone = cursor.next(PATIENCE);
    assert!(matches!(gone, Err(CursorError::Gone { partition: 0, offset: 0, start: at }) if at == start));
    assert!(matches!(engine.read(0, 0, 9, |_, _| true), Err(ReadError::Gone { start: at }) if at == start));

    // The same after a restart, in which nothing counts as loaded before it is said.
    engine.close();
    let (engine, findings) = open_in(&folder, 2, SMALL).expect("it opens");
    assert_eq!(findings, Findings::default());
    assert_eq!(engine.ends(0), Some(Ends { start, end: taken + 1 }));
    let (more, refused) = fill(&engine, 0, 5_000);
    assert!(matches!(refused, AppendError::Full) && more < 20, "{more}");
    // All is loaded: it goes on for ever.
    for n in 0..300 {
        engine.loaded(&[(0, taken + 1 + more + n)]);
        append(&engine, 0, &[7; 5_000]).expect("room");
        assert!(engine.bytes() <= SMALL);
    }
    assert_eq!(folder.files().len() as u64, SMALL / (64 << 10));
}

#[test]
fn a_log_that_is_opened_full_says_so_before_it_refuses_a_record() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    let (taken, _) = fill(&engine, 0, 5_000);
    engine.close();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    assert!(matches!(engine.trouble(), Some(Trouble::Full)));
    engine.loaded(&[(0, taken)]);
    assert!(engine.trouble().is_none());
}

#[test]
fn a_mark_beyond_the_end_is_of_another_log_and_nothing_goes_for_it() {
    let (engine, _) = open_in(&Forgetful::default(), 1, SMALL).expect("it opens");
    engine.loaded(&[(0, 1_000_000)]);
    let (taken, refused) = fill(&engine, 0, 5_000);
    assert!(matches!(refused, AppendError::Full), "{refused}");
    assert_eq!(engine.ends(0), Some(Ends { start: 0, end: taken }));
    assert_eq!(engine.unloaded_bytes(), engine.bytes());
}

#[test]
fn a_disk_that_does_not_answer_is_told_and_not_waited_for_without_end() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    folder.set(|faults| faults.held = true);
    let told = send(&engine, 0, b"a record");
    wait_until(|| folder.is_waiting());
    assert!(engine.trouble().is_none(), "a slow disk is none that hangs");
    let long_ago = Instant::now().checked_sub(2 * LONGEST_WRITE).expect("the machine has run for so long");
    engine.inside.shared.lock().writing_since = Some(long_ago);
    assert!(matches!(engine.trouble(), Some(Trouble::Hangs)));
    folder.set(|faults| faults.held = false);
    told.recv_timeout(PATIENCE).expect("told").expect("room");
    wait_until(|| engine.trouble().is_none());

    folder.set(|faults| faults.held = true);
    let told = send(&engine, 0, b"another");
    wait_until(|| folder.is_waiting());
    assert!(!engine.close_within(Duration::from_millis(20)), "the disk does not answer");
    folder.set(|faults| faults.held = false);
    told.recv_timeout(PATIENCE).expect("told").expect("it is written all the same");
}

#[test]
fn a_log_smaller_than_a_record_takes_one_after_the_other() {
    let (engine, _) = open_in(&Forgetful::default(), 1, 1_000).expect("it opens");
    for n in 0..5 {
        assert_eq!(append(&engine, 0, &[1; 50_000]).expect("an empty log takes any record"), n);
        assert!(matches!(append(&engine, 0, &[1; 50_000]), Err(AppendError::Full)));
        engine.loaded(&[(0, n + 1)]);
    }
    assert_eq!(engine.ends(0).map(|ends| ends.end), Some(5));
}

#[test]
fn a_full_disk_is_told_and_noticed_when_it_is_not_full_any_more() {
    let folder = Forgetful::default();
    folder.set(|faults| faults.size = Some(200 << 10));
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    let (taken, refused) = fill(&engine, 0, 3_000);
    assert!(matches!(refused, AppendError::Disk(_)), "{refused}");
    assert!(matches!(engine.trouble(), Some(Trouble::Disk(_))));
    assert_eq!(read_all(&engine).0.len(), usize::try_from(taken).expect("small"));
    // Nothing is appended: it is noticed all the same.
    folder.set(|faults| faults.size = Some(300 << 10));
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, b"again").expect("room"), taken);

    // Full once more, and what is loaded makes room though the log may be larger.
    let (more, _) = fill(&engine, 0, 3_000);
    engine.loaded(&[(0, taken + 1 + more)]);
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, b"again").expect("room"), taken + 1 + more);
    engine.close();
    assert_eq!(open_in(&folder, 1, SMALL).expect("it opens").1, Findings::default());
}

#[test]
fn a_disk_without_room_for_a_second_segment_is_no_dead_end() {
    let retention_bytes = 32 << 20;
    let folder = Forgetful::default();
    folder.set(|faults| faults.size = Some(6 << 20));
    let (engine, _) = open_in(&folder, 1, retention_bytes).expect("it opens");
    let (taken, refused) = fill(&engine, 0, 50_000);
    assert!(matches!(refused, AppendError::Disk(_)), "{refused}");
    // A first segment of the usual size, and small ones behind it.
    assert!(taken > 110, "{taken} records are not all that the disk takes");
    assert_eq!(read_all(&engine).0.len(), usize::try_from(taken).expect("small"));
    // Nobody makes room on the disk: what is loaded does, again and again.
    for n in 0..300 {
        engine.loaded(&[(0, taken + n)]);
        wait_until(|| engine.trouble().is_none());
        assert_eq!(append(&engine, 0, &[7; 50_000]).expect("room"), taken + n);
    }
    engine.close();
    assert_eq!(open_in(&folder, 1, retention_bytes).expect("it opens").1, Findings::default());
}

#[test]
fn a_log_opens_on_a_full_disk() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    append(&engine, 0, b"kept").expect("room");
    engine.close();
    folder.set(|faults| faults.size = Some(10_000));
    let (engine, findings) = open_in(&folder, 1, SMALL).expect("it opens");
    assert_eq!(findings, Findings::default());
    assert!(matches!(engine.trouble(), Some(Trouble::Disk(_))));
    assert_eq!(read_all(&engine).0.len(), 1);
    folder.set(|faults| faults.size = None);
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, b"next").expect("room"), 1);
}

#[test]
fn a_write_that_fails_refuses_its_group_alone() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    append(&engine, 0, &[1; 500]).expect("room");
    folder.set(|faults| faults.writes_fail = true);
    assert!(matches!(append(&engine, 0, &[2; 500]), Err(AppendError::Disk(_))));
    assert!(matches!(append(&engine, 0, &[3; 500]), Err(AppendError::Disk(_))));
    folder.set(|faults| faults.writes_fail = false);
    wait_until(|| engine.trouble().is_none());
    assert_eq!(append(&engine, 0, &[4; 500]).expect("room"), 1);
    let expected = HashMap::from([((0, 0), vec![1; 500]), ((0, 1), vec![4; 500])]);
    assert_eq!(read_all(&engine), (expected.clone(), HashMap::new()));
    // As a crash leaves it, and as a close does.
    let crashed = open_in(&Forgetful::with(&folder.files()), 1, SMALL).expect("it opens");
    assert_eq!((read_all(&crashed.0).0, crashed.1), (expected.clone(), Findings::default()));
    engine.close();
    let (engine, findings) = open_in(&folder, 1, SMALL).expect("it opens");
    assert_eq!((read_all(&engine).0, findings), (expected, Findings::default()));
}

#[test]
fn after_a_sync_that_fails_nothing_is_acknowledged_or_shown() {
    let folder = Forgetful::default();
    let (hear, heard) = channel();
    let on_sync_failed = Box::new(move |error: &io::Error| hear.send(error.to_string()).expect("heard"));
    let settings = settings(Path::new("in memory"), 1, SMALL);
    let (engine, _) =
        open::open_in(Arc::new(folder.clone()), None, &settings, on_sync_failed).expect("it opens");
    append(&engine, 0, b"synced").expect("room");
    folder.set(|faults| faults.syncs_fail = true);
    assert!(matches!(append(&engine, 0, b"not synced"), Err(AppendError::Disk(_))));
    assert_eq!(heard.try_recv().as_deref(), Ok("a sync failed"));
    folder.set(|faults| faults.syncs_fail = false);
    for _ in 0..3 {
        assert!(matches!(append(&engine, 0, b"never retried"), Err(AppendError::Disk(_))));
    }
    assert!(heard.try_recv().is_err(), "said once, for nothing is synced again");
    assert!(matches!(engine.trouble(), Some(Trouble::Disk(_))));
    assert_eq!(engine.ends(0), Some(Ends { start: 0, end: 1 }));
    assert_eq!(read_all(&engine).0.len(), 1);
}

#[test]
fn too_much_that_waits_is_refused_at_once() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, 1 << 30).expect("it opens");
    folder.set(|faults| faults.held = true);
    let megabyte = vec![1; 1 << 20];
    let waiting: Vec<_> = (0..128).map(|_| send(&engine, 0, &megabyte)).collect();
    let refused = send(&engine, 0, b"one more").recv_timeout(PATIENCE).expect("told at once");
    assert!(matches!(refused, Err(AppendError::QueueFull)));
    folder.set(|faults| faults.held = false);
    for (told, offset) in waiting.into_iter().zip(0..) {
        assert_eq!(told.recv_timeout(PATIENCE).expect("told").expect("room"), offset);
    }
    append(&engine, 0, b"one more").expect("room");
    let (records, _) = read_from(&engine, &HashMap::from([(0, 128)]));
    assert_eq!(records, HashMap::from([((0, 128), b"one more".to_vec())]));
}
