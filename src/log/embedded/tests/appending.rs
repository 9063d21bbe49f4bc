//! What is appended is told and read back.

use std::collections::HashMap;

use super::super::{AppendError, Ends, Findings, OpenError};
use super::support::{PATIENCE, append, open_folder, read_all, read_from, send, settings};
use crate::log::embedded::Engine;

#[test]
fn what_is_appended_is_read_back_now_and_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, findings) = open_folder(folder.path(), 3);
    assert_eq!(findings, Findings::default());
    for n in 0..10_u8 {
        let offset = append(&engine, i32::from(n % 2), &[n; 100]).expect("room");
        assert_eq!(offset, i64::from(n / 2));
    }
    let (records, damaged) = read_all(&engine);
    assert_eq!((records.len(), damaged.len()), (10, 0));
    assert_eq!(records[&(1, 4)], vec![9; 100]);
    assert_eq!(engine.ends(0), Some(Ends { start: 0, end: 5 }));
    engine.close();
    assert!(matches!(append(&engine, 0, b"late"), Err(AppendError::Closed)));

    let (engine, findings) = open_folder(folder.path(), 3);
    assert_eq!(findings, Findings::default());
    assert_eq!(read_all(&engine).0, records);
    assert_eq!(append(&engine, 1, b"next").expect("room"), 5);
    let (later, _) = read_from(&engine, &HashMap::from([(1, 4)]));
    assert_eq!(later.len(), 2);
    assert!(matches!(append(&engine, 3, b"nowhere"), Err(AppendError::Unfit { partition: 3, .. })));
}

#[test]
fn a_folder_has_one_process_and_one_number_of_partitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, _) = open_folder(folder.path(), 3);
    let again = Engine::open(&settings(folder.path(), 3, 1 << 30));
    assert!(matches!(again.map(drop), Err(OpenError::Locked { folder: named }) if named == folder.path()));
    engine.close();
    for asked in [2, 4, 12, 60_000] {
        let other = Engine::open(&settings(folder.path(), asked, 1 << 30)).map(drop);
        let refused =
            matches!(other, Err(OpenError::Partitions { found: 3, asked: named }) if named == asked as usize);
        assert!(refused, "{other:?}");
    }
    open_folder(folder.path(), 3);
}

#[test]
fn many_threads_are_each_told_once_and_keep_their_order() {
    const THREADS: usize = 16;
    const EACH: usize = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let (engine, _) = open_folder(folder.path(), 4);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let waiting: Vec<_> = (0..EACH)
                    .map(|n| {
                        let partition = i32::try_from(n % 4).expect("small");
                        (partition, n, send(&engine, partition, format!("{thread} {n}").as_bytes()))
                    })
                    .collect();
                let told = waiting.into_iter().map(|(partition, n, told)| {
                    let offset = told.recv_timeout(PATIENCE).expect("told").expect("room");
                    assert!(told.recv().is_err(), "told once");
                    (partition, offset, format!("{thread} {n}"))
                });
                told.collect::<Vec<_>>()
            })
        })
        .collect();
    let mut told = HashMap::new();
    for thread in threads {
        let mut last = HashMap::new();
        for (partition, offset, text) in thread.join().expect("no panic") {
            assert!(last.insert(partition, offset).is_none_or(|before| before < offset), "order is kept");
            assert_eq!(told.insert((partition, offset), text.into_bytes()), None);
        }
    }
    let quarter = i64::try_from(THREADS * EACH / 4).expect("small");
    for partition in 0..4 {
        assert_eq!(engine.ends(partition), Some(Ends { start: 0, end: quarter }));
    }
    assert_eq!(read_all(&engine).0, told);
}
