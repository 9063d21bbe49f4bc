//! Cursors, and stretches of one partition.

use std::collections::HashMap;
use std::time::Duration;

use super::super::{Ends, Frame};
use super::forgetful::Forgetful;
use super::support::{PATIENCE, SMALL, append, open_in, read_from, send, wait_until};

#[test]
fn a_cursor_gives_the_logs_order_and_waits_for_what_is_written_next() {
    let (engine, _) = open_in(&Forgetful::default(), 3, SMALL).expect("it opens");
    let partitions = [2, 0, 0, 1, 2, 0];
    for (n, partition) in (0_u8..).zip(partitions) {
        append(&engine, partition, &[n]).expect("room");
    }
    let mut cursor = engine.cursor(&HashMap::from([(0, 1), (2, 0)]));
    let mut read = Vec::new();
    while let Some(Frame { partition, offset, bytes }) = cursor.next(Duration::ZERO).expect("no damage") {
        read.push((partition, offset, bytes[0]));
    }
    assert_eq!(read, [(2, 0, 0), (0, 1, 2), (2, 1, 4), (0, 2, 5)]);

    let waits = std::thread::spawn(move || (cursor.next(PATIENCE), cursor));
    append(&engine, 1, b"not of a partition that is read").expect("room");
    append(&engine, 0, b"new").expect("room");
    let (next, mut cursor) = waits.join().expect("no panic");
    let new = Frame { partition: 0, offset: 3, bytes: b"new".to_vec() };
    assert_eq!(next.expect("no damage"), Some(new));

    cursor.stop(0);
    append(&engine, 0, b"not read any more").expect("room");
    append(&engine, 2, b"read").expect("room");
    let next = cursor.next(PATIENCE).expect("no damage").expect("a record");
    assert_eq!((next.partition, next.offset), (2, 2));
    assert_eq!(cursor.next(Duration::ZERO).expect("no damage"), None);
}

#[test]
fn only_what_is_synced_is_read() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    folder.set(|faults| faults.held = true);
    let told = send(&engine, 0, b"written, and not synced yet");
    wait_until(|| folder.is_waiting());
    assert_eq!(engine.ends(0), Some(Ends { start: 0, end: 0 }));
    assert_eq!(read_from(&engine, &HashMap::from([(0, 0)])).0.len(), 0);
    assert!(told.try_recv().is_err());
    folder.set(|faults| faults.held = false);
    assert_eq!(told.recv_timeout(PATIENCE).expect("told").expect("room"), 0);
    assert_eq!(read_from(&engine, &HashMap::from([(0, 0)])).0.len(), 1);
}

#[test]
fn a_cursor_follows_while_segments_are_written_loaded_and_removed() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, SMALL).expect("it opens");
    let mut cursor = engine.cursor(&HashMap::from([(0, 0), (1, 0)]));
    let writer = {
        let engine = engine.clone();
        std::thread::spawn(move || {
            for n in 0..1_000_u32 {
                // What is not loaded yet leaves no room.
                while append(&engine, i32::try_from(n % 2).expect("small"), &n.to_le_bytes().repeat(1_000))
                    .is_err()
                {
                    std::thread::yield_now();
                }
            }
        })
    };
    for n in 0..1_000_u32 {
        let frame = cursor.next(PATIENCE).expect("no damage").expect("a record");
        assert_eq!(frame.bytes, n.to_le_bytes().repeat(1_000));
        engine.loaded(&[(frame.partition, frame.offset + 1)]);
    }
    writer.join().expect("no panic");
    assert!(engine.bytes() <= SMALL);
    assert!(engine.ends(0).expect("a partition").start > 300);
}

#[test]
fn a_stretch_of_one_partition_is_read_without_the_whole_log() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, 64 << 20).expect("it opens");
    let waiting: Vec<_> = (0..400_u32)
        .map(|n| send(&engine, i32::try_from(n % 2).expect("small"), &n.to_le_bytes().repeat(12_500)))
        .collect();
    for told in waiting {
        told.recv_timeout(PATIENCE).expect("told").expect("room");
    }
    let reopened = open_in(&Forgetful::with(&folder.files()), 2, 64 << 20).expect("it opens");
    for (engine, folder) in [(&engine, Some(&folder)), (&reopened.0, None)] {
        for (from, to, enough) in
            [(0, 1, 9), (77, 78, 9), (150, 153, 9), (150, 200, 2), (199, 1_000, 9), (200, 300, 9)]
        {
            let before = folder.map_or(0, Forgetful::bytes_read);
            let mut seen = Vec::new();
            let see = |offset: i64, bytes: &[u8]| {
                assert_eq!(bytes.len(), 50_000);
                assert_eq!(bytes[..4], u32::try_from(2 * offset).expect("small").to_le_bytes());
                seen.push(offset);
                seen.len() < enough
            };
            engine.read(0, from, to, see).expect("no damage");
            let last = to.min(200).min(from + i64::try_from(enough).expect("small"));
            assert_eq!(seen, (from..last).collect::<Vec<_>>());
            let read = folder.map_or(0, Forgetful::bytes_read) - before;
            assert!(read <= 3 << 20, "{read} bytes were read for {from}..{to} of 20 MiB");
        }
    }
}

#[test]
fn what_is_written_can_be_read_after_a_close_and_a_drop_closes() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    append(&engine, 0, b"kept").expect("room");
    let waiting = send(&engine, 0, b"written before the close");
    engine.close();
    engine.close();
    assert_eq!(waiting.try_recv().expect("told before it is closed").expect("room"), 1);
    assert!(matches!(engine.trouble(), Some(super::super::Trouble::Closed)));
    assert_eq!(read_from(&engine, &HashMap::from([(0, 0)])).0.len(), 2);

    let disk = tempfile::tempdir().expect("a folder");
    let (engine, _) = super::support::open_folder(disk.path(), 1);
    let waiting = send(&engine, 0, b"written before the drop");
    let mut cursor = engine.cursor(&HashMap::from([(0, 0)]));
    drop(engine);
    assert_eq!(waiting.recv_timeout(PATIENCE).expect("told").expect("room"), 0);
    assert_eq!(cursor.next(PATIENCE).expect("no damage").map(|frame| frame.offset), Some(0));
}
