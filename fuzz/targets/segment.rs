//! The bytes of a segment of the embedded log, as its only one: whatever they are, what can be read stays as it is, what
//! cannot is told, and the log goes on behind it.
#![no_main]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rollbook::log::embedded::{CursorError, Engine, EngineSettings};

const PARTITIONS: u32 = 3;
/// Segments of 64 KiB.
const RETENTION_BYTES: u64 = 512 << 10;

/// In memory where that can be had: every input is synced several times.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("rollbook-fuzz-segment-{}", std::process::id()))
});

fn open() -> Option<Engine> {
    let settings =
        EngineSettings { folder: FOLDER.clone(), partitions: PARTITIONS, retention_bytes: RETENTION_BYTES };
    Engine::open(&settings).ok().map(|(engine, _)| engine)
}

/// By partition and offset.
type Records = HashMap<(i32, i64), Vec<u8>>;

/// All records, and where a partition is damaged.
fn read(engine: &Engine) -> (Records, HashMap<i32, i64>) {
    let starts: HashMap<i32, i64> =
        (0..3).map(|partition| (partition, engine.ends(partition).expect("a partition").start)).collect();
    let (mut cursor, mut next) = (engine.cursor(&starts), starts);
    let (mut records, mut damaged) = (HashMap::new(), HashMap::new());
    loop {
        match cursor.next(Duration::ZERO) {
            Ok(Some(frame)) => {
                let expected = next.insert(frame.partition, frame.offset + 1).expect("a partition");
                assert_eq!(frame.offset, expected, "no record is passed over in silence");
                records.insert((frame.partition, frame.offset), frame.bytes);
            }
            Ok(None) => break,
            Err(CursorError::Damaged { partition, offset }) => {
                assert_eq!(next[&partition], offset);
                assert_eq!(damaged.insert(partition, offset), None);
            }
            Err(error) => panic!("{error}"),
        }
    }
    for (partition, next) in next {
        let end = engine.ends(partition).expect("a partition").end;
        assert!(next == end || damaged.contains_key(&partition));
    }
    (records, damaged)
}

fuzz_target!(|input: &[u8]| {
    let _from_before = std::fs::remove_dir_all(&*FOLDER);
    std::fs::create_dir(&*FOLDER).expect("a folder of our own");
    let number =
        input.get(16..24).and_then(<[u8]>::first_chunk).map_or(1, |eight| u64::from_le_bytes(*eight));
    std::fs::write(FOLDER.join(format!("{number:020}.log")), input).expect("room");
    if let Some(engine) = open() {
        let (before, damaged) = read(&engine);
        for partition in 0..3 {
            let (tell, told) = channel();
            let end = engine.ends(partition).expect("a partition").end;
            engine.append(partition, vec![7; 40], Box::new(move |outcome| drop(tell.send(outcome))));
            let offset = told.recv().expect("every append is told");
            if let Ok(offset) = offset {
                assert_eq!(offset, end);
            }
        }
        engine.close();
        let engine = open().expect("what has been opened is opened again");
        let (after, damaged_still) = read(&engine);
        assert_eq!(damaged, damaged_still);
        assert!(before.iter().all(|(place, bytes)| after.get(place) == Some(bytes)));
        engine.accept_damage().expect("room");
        assert!(engine.damage().is_empty());
        let (all, damaged) = read_on(&engine);
        assert!(damaged.is_empty() && all >= before.len());
        engine.close();
    }
    let _best_effort = std::fs::remove_dir_all(&*FOLDER);
});

/// How many records there are with what is given up left out, and what is damaged all the same.
fn read_on(engine: &Engine) -> (usize, Vec<i32>) {
    let starts =
        (0..3).map(|partition| (partition, engine.ends(partition).expect("a partition").start)).collect();
    let mut cursor = engine.cursor(&starts);
    let (mut records, mut damaged) = (0, Vec::new());
    loop {
        match cursor.next(Duration::ZERO) {
            Ok(Some(_)) => records += 1,
            Ok(None) => return (records, damaged),
            Err(CursorError::Damaged { partition, .. }) => damaged.push(partition),
            Err(error) => panic!("{error}"),
        }
    }
}
