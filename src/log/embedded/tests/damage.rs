//! Damage that is met while the log is open, that a person gives up, or that somebody has prepared.

use std::collections::HashMap;

use super::super::{CursorError, Damage, Findings, OpenError, ReadError};
use super::forgetful::Forgetful;
use super::support::{
    PATIENCE, SMALL, SMALL_LOGS_PARTITIONS, SmallLog, append, open_in, read_all, read_from, wait_until,
};

/// Where a payload stands in a file.
fn place_of(bytes: &[u8], payload: &[u8]) -> usize {
    bytes.windows(payload.len()).position(|window| window == payload).expect("it stands there")
}

#[test]
fn damage_met_while_the_log_is_open_stops_its_partition_alone_until_it_is_given_up() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, SMALL).expect("it opens");
    for n in 0..6_u8 {
        append(&engine, i32::from(n % 2), &[b'a' + n; 40]).expect("room");
    }
    folder.change(|_, bytes| {
        let at = place_of(bytes, &[b'c'; 40]);
        bytes[at + 7] ^= 1;
    });
    let (records, damaged) = read_all(&engine);
    assert_eq!((records.len(), &damaged), (4, &HashMap::from([(0, 1)])));
    let stretch = Damage { from: 1, to: 2 };
    assert_eq!(engine.damage(), HashMap::from([(0, vec![stretch])]));
    let read = engine.read(0, 0, 3, |_, _| true);
    assert!(matches!(read, Err(ReadError::Damaged { offset: 1 })), "{read:?}");
    engine.read(0, 2, 3, |_, _| true).expect("what lies behind it can be read");

    engine.accept_damage().expect("written");
    assert_eq!(engine.damage(), HashMap::new());
    let (records, damaged) = read_all(&engine);
    assert_eq!((records.len(), damaged), (5, HashMap::new()));
    assert_eq!(append(&engine, 0, b"next").expect("room"), 3);
    engine.close();

    let (engine, findings) = open_in(&folder, 2, SMALL).expect("it opens");
    assert_eq!((findings, engine.damage()), (Findings::default(), HashMap::new()));
    assert_eq!(read_all(&engine).0.len(), 6);
    engine.close();

    // A note that is not as it was written gives up nothing.
    folder.change(|name, bytes| {
        if name == "given-up" {
            let at = bytes.len() - 20;
            bytes[at] ^= 1;
        }
    });
    let (engine, findings) = open_in(&folder, 2, SMALL).expect("it opens");
    assert!(findings.forgot_given_up);
    assert_eq!(findings.damage.iter().map(|found| found.damage).collect::<Vec<_>>(), [stretch]);
    assert_eq!(engine.damage(), HashMap::from([(0, vec![stretch])]));
    assert_eq!(read_all(&engine).1, HashMap::from([(0, 1)]));
}

#[test]
fn a_last_record_that_is_gone_while_the_log_is_open_is_missed() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, SMALL).expect("it opens");
    append(&engine, 0, &[b'a'; 40]).expect("room");
    append(&engine, 1, &[b'b'; 40]).expect("room");
    append(&engine, 0, &[b'c'; 40]).expect("room");
    let mut cursor = engine.cursor(&HashMap::from([(0, 0), (1, 0)]));
    folder.change(|_, bytes| {
        let head = place_of(bytes, &[b'c'; 40]) - 32;
        bytes[head] ^= 1;
    });
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(match cursor.next(PATIENCE) {
            Ok(Some(frame)) => (frame.partition, frame.offset, true),
            Err(CursorError::Damaged { partition, offset }) => (partition, offset, false),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, [(0, 0, true), (1, 0, true), (0, 1, false)]);
    append(&engine, 0, b"behind it").expect("room");
    append(&engine, 1, b"of the other").expect("room");
    let next = cursor.next(PATIENCE).expect("no damage").expect("a record");
    assert_eq!((next.partition, next.offset), (1, 1));
}

#[test]
fn a_place_that_the_disk_cannot_read_is_damage_but_at_the_end() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 2, SMALL).expect("it opens");
    for n in 0..20_u8 {
        append(&engine, i32::from(n % 2), &[n + 1; 2_000]).expect("room");
    }
    // A block that holds some of three records.
    folder.set(|faults| faults.bad_place = Some((12_288, 16_384)));
    let refused = open_in(&folder, 2, SMALL).map(drop);
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
    let starts = HashMap::from([(0, 0), (1, 0)]);
    let (records, damaged) = read_from(&engine, &starts);
    assert_eq!((records.len(), &damaged), (2, &HashMap::from([(0, 1), (1, 1)])));
    engine.close();
    // Sealed by then.
    let (engine, findings) = open_in(&folder, 2, SMALL).expect("it opens");
    assert_eq!(findings.damage.len(), 3, "{findings:?}");
    assert_eq!(read_from(&engine, &starts).1, damaged);
    engine.accept_damage().expect("written");
    let (records, damaged) = read_from(&engine, &starts);
    assert_eq!((records.len(), damaged), (17, HashMap::new()));

    // Of every header one copy can be read; the note of what was given up stands once, and is forgotten.
    engine.close();
    folder.set(|faults| faults.bad_place = Some((0, 4096)));
    let (engine, findings) = open_in(&folder, 2, SMALL).expect("it opens");
    assert!(findings.forgot_given_up && findings.damage.is_empty(), "{findings:?}");
    assert_eq!(read_from(&engine, &starts).0.len(), 20);
}

#[test]
fn a_place_that_the_disk_reads_after_all_is_no_damage() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    for n in 0..10_u8 {
        append(&engine, 0, &[n + 1; 2_000]).expect("room");
    }
    folder.set(|faults| (faults.bad_place, faults.patience) = (Some((12_288, 16_384)), PATIENCE));
    let failing = folder.clone();
    let mended = std::thread::spawn(move || {
        wait_until(|| failing.failed_reads() > 3);
        failing.set(|faults| faults.bad_place = None);
    });
    let (records, damaged) = read_all(&engine);
    mended.join().expect("no panic");
    assert_eq!((records.len(), damaged), (10, HashMap::new()));
    assert_eq!(engine.damage(), HashMap::new());
}

#[test]
fn what_stands_behind_the_end_that_the_next_segment_names_is_void() {
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    append(&engine, 0, b"kept").expect("room");
    let files = folder.files();
    append(&engine, 0, b"a group whose write failed once all of it was there").expect("room");
    let (name, longer) = folder.files().pop_first().expect("the segment");

    let folder = Forgetful::with(&files);
    let (engine, _) = open_in(&folder, 1, SMALL).expect("it opens");
    assert_eq!(append(&engine, 0, b"in its place").expect("room"), 1);
    engine.close();
    folder.change(|changed, bytes| {
        // As if the cut had not reached the disk.
        if changed == name {
            bytes.clone_from(&longer);
        }
    });
    let (engine, findings) = open_in(&folder, 1, SMALL).expect("it opens");
    assert_eq!(findings, Findings::default());
    let expected = HashMap::from([((0, 0), b"kept".to_vec()), ((0, 1), b"in its place".to_vec())]);
    assert_eq!(read_all(&engine), (expected, HashMap::new()));
}

#[test]
fn what_could_not_be_written_down_is_not_given_up() {
    let log = SmallLog::new();
    let mut files = log.files.clone();
    let first = files.values_mut().next().expect("a file");
    let at = place_of(first, &log.records[&(1, 0)]);
    first[at] ^= 1;
    let folder = Forgetful::with(&files);
    let (engine, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert_eq!(findings.damage.len(), 1);
    folder.set(|faults| faults.syncs_fail = true);
    assert!(engine.accept_damage().is_err());
    assert_eq!(engine.damage().len(), 1);
    drop(engine);
    folder.set(|faults| faults.syncs_fail = false);
    let (engine, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert_eq!((findings.damage.len(), engine.damage().len()), (1, 1));
}

#[test]
fn a_missing_segment_or_header_is_known_by_those_around_it() {
    let log = SmallLog::new();
    let starts = HashMap::from([(0, 0), (1, 0), (2, 0)]);
    let names: Vec<_> = log.files.keys().cloned().collect();
    let whole = |at: usize| {
        let records = log.order[5 * at..].iter().take(if at == 2 { 99 } else { 5 });
        records.copied().collect::<Vec<_>>()
    };
    for (at, is_missing) in [(1, true), (0, false), (1, false), (2, false)] {
        let mut files = log.files.clone();
        match is_missing {
            true => drop(files.remove(&names[at])),
            // Both copies.
            false => files.get_mut(&names[at]).expect("a file")[..8192].fill(0xff),
        }
        let folder = Forgetful::with(&files);
        let (engine, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
        assert_eq!(findings.torn, None);
        let (records, damaged) = read_from(&engine, &starts);
        for place in whole(at) {
            assert!(damaged.get(&place.0).is_some_and(|from| *from <= place.1), "segment {at}: {place:?}");
            assert!(!records.contains_key(&place));
        }
        engine.accept_damage().expect("written");
        let (records, damaged) = read_from(&engine, &starts);
        assert_eq!(damaged, HashMap::new());
        assert_eq!(records.len(), log.order.len() - whole(at).len(), "segment {at}");
        // What was lost with the last segment may have had any of the offsets that it had room for.
        for partition in 0..3 {
            let offset = append(&engine, partition, b"next").expect("room");
            assert!(!log.records.contains_key(&(partition, offset)));
        }
    }
    // The oldest segment alone may be missing: that is what retention does.
    let mut files = log.files.clone();
    files.remove(&names[0]);
    let (engine, findings) =
        open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert_eq!(findings, Findings::default());
    assert!(engine.ends(1).expect("a partition").start > 0);
    // Where nothing tells what there was, nothing is begun.
    files.retain(|name, _| *name == names[2]);
    files.get_mut(&names[2]).expect("a file")[..8192].fill(0);
    let refused = open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).map(drop);
    assert!(matches!(refused, Err(OpenError::Unreadable { .. })), "{refused:?}");
}

#[test]
fn another_logs_segment_and_another_versions_are_refused() {
    let (log, other) = (SmallLog::new(), SmallLog::new());
    let mut files = log.files.clone();
    let name = files.keys().next_back().expect("a file").clone();
    files.insert(name.clone(), other.files.values().next().expect("a file").clone());
    // Its number is not its name's: that is damage, and not a segment.
    let (engine, _) = open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert!(!engine.damage().is_empty());
    let mut files = log.files.clone();
    for copy in files.get_mut(&name).expect("a file")[..8192].chunks_exact_mut(4096) {
        super::super::format::rewrite_version(copy, 2);
    }
    let refused = open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).map(drop);
    assert!(matches!(refused, Err(OpenError::Version { file }) if file == name));
}

#[test]
fn a_payload_that_holds_whole_frames_is_a_payload() {
    let other = SmallLog::new();
    let folder = Forgetful::default();
    let (engine, _) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    for partition in 0..3 {
        append(&engine, partition, b"before").expect("room");
    }
    let mut payloads: Vec<Vec<u8>> = other.files.values().map(|bytes| bytes[8192..].to_vec()).collect();
    // A whole segment, headers included.
    payloads.extend(other.files.values().next().cloned());
    for payload in &payloads {
        append(&engine, 1, payload).expect("room");
    }
    append(&engine, 2, b"behind").expect("room");
    let expected = read_all(&engine).0;
    assert_eq!(expected.len(), 3 + payloads.len() + 1);

    let files = folder.files();
    let (name, bytes) = files.iter().next().expect("the segment");
    for payload in &payloads {
        // The head of its frame is gone: what is looked for behind it is not found in it.
        let mut files = files.clone();
        let at = place_of(bytes, payload) - 32;
        files.get_mut(name).expect("a file")[at + 3] ^= 0x10;
        let (engine, findings) =
            open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
        assert_eq!(findings.torn, None);
        let (records, damaged) = read_all(&engine);
        assert!(damaged.contains_key(&1));
        assert!(records.iter().all(|(place, bytes)| expected[place] == *bytes));
        assert!(records.contains_key(&(2, 1)), "what lies behind it is read");
    }
    // Torn in the middle of such a payload, a group is torn: the frames in it name no later group.
    let mut files = folder.files();
    let begin = files[name].iter().rposition(|byte| *byte != 0).expect("frames") / 8 * 8 + 8;
    append(&engine, 0, &payloads[1]).expect("room");
    files.insert(name.clone(), folder.files().remove(name).expect("the segment"));
    files.get_mut(name).expect("a file")[begin + 20..begin + 50].fill(0);
    let (engine, findings) =
        open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert!(findings.torn.is_some() && findings.damage.is_empty(), "{findings:?}");
    assert_eq!(read_all(&engine), (expected, HashMap::new()));
}
