//! Logs for tests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::super::{AppendError, CursorError, Engine, EngineSettings, Findings};

/// Long enough for a busy machine; only a failing test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn settings(folder: &Path, partitions: u32, retention_bytes: u64) -> EngineSettings {
    EngineSettings { folder: folder.to_owned(), partitions, retention_bytes }
}

/// A log with room for all that a test writes, and what was found.
pub(super) fn open(folder: &Path, partitions: u32) -> (Engine, Findings) {
    Engine::open(&settings(folder, partitions, 1 << 30)).expect("the folder opens")
}

/// Appends; the outcome comes from here.
pub(super) fn send(engine: &Engine, partition: i32, bytes: &[u8]) -> Receiver<Result<i64, AppendError>> {
    let (tell, told) = channel();
    let told_once = Box::new(move |outcome| tell.send(outcome).unwrap_or_default());
    engine.append(partition, bytes.to_vec(), told_once);
    told
}

/// Appends and waits.
pub(super) fn append(engine: &Engine, partition: i32, bytes: &[u8]) -> Result<i64, AppendError> {
    send(engine, partition, bytes).recv_timeout(PATIENCE).expect("every append is told")
}

/// Records by partition and offset.
pub(super) type Records = HashMap<(i32, i64), Vec<u8>>;

/// All that a cursor reads from these offsets to the end, and where it says that a partition is damaged.
pub(super) fn read_from(engine: &Engine, starts: &HashMap<i32, i64>) -> (Records, HashMap<i32, i64>) {
    let mut cursor = engine.cursor(starts);
    let (mut records, mut damaged) = (HashMap::new(), HashMap::new());
    loop {
        match cursor.next(Duration::ZERO) {
            Ok(Some(frame)) => {
                let before = records.insert((frame.partition, frame.offset), frame.bytes);
                assert_eq!(before, None, "a record is read once");
            }
            Ok(None) => return (records, damaged),
            Err(CursorError::Damaged { partition, offset }) => {
                assert_eq!(damaged.insert(partition, offset), None, "damage is told once");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same from where each partition begins.
pub(super) fn read_all(engine: &Engine) -> (Records, HashMap<i32, i64>) {
    let starts = (0..engine.partitions())
        .map(|partition| (partition, engine.ends(partition).expect("a partition").start));
    read_from(engine, &starts.collect())
}
