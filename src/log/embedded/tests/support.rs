//! Logs for tests.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::super::{AppendError, CursorError, Engine, EngineSettings, Findings, OpenError, open};
use super::forgetful::Forgetful;

/// Long enough for a busy machine; only a failing test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn settings(folder: &Path, partitions: u32, retention_bytes: u64) -> EngineSettings {
    EngineSettings { folder: folder.to_owned(), partitions, retention_bytes }
}

/// A log with room for all that a test writes, and what was found.
pub(super) fn open_folder(folder: &Path, partitions: u32) -> (Engine, Findings) {
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

/// Waits for a state.
pub(super) fn wait_until(holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain");
        std::thread::yield_now();
    }
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

/// Retention that makes segments as small as they get.
pub(super) const SMALL: u64 = 512 << 10;

/// Opens a log in memory; a sync that fails is only counted.
pub(super) fn open_in(
    folder: &Forgetful,
    partitions: u32,
    retention_bytes: u64,
) -> Result<(Engine, Findings), OpenError> {
    let settings = settings(Path::new("in memory"), partitions, retention_bytes);
    open::open_in(Arc::new(folder.clone()), None, &settings, Box::new(|_| ()))
}

/// A small log as a crash leaves it, and what was acknowledged in it, in order: two segments with a few groups each, and
/// a last one with groups of one record and, at its end, one of several.
pub(super) struct SmallLog {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) records: Records,
    pub(super) order: Vec<(i32, i64)>,
    /// How many of them are of the last group.
    pub(super) last_group: usize,
    pub(super) last_file: String,
    /// Where its last group begins and ends.
    pub(super) last_group_at: (usize, usize),
}

pub(super) const SMALL_LOGS_PARTITIONS: u32 = 3;

impl SmallLog {
    pub(super) fn new() -> Self {
        let folder = Forgetful::default();
        let mut log = Self {
            files: BTreeMap::new(),
            records: HashMap::new(),
            order: Vec::new(),
            last_group: 0,
            last_file: String::new(),
            last_group_at: (0, 0),
        };
        for segment in 0..3 {
            let (engine, _) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
            for n in 0..5_u8 {
                log.append_group(&folder, &engine, &[segment * 16 + n]);
            }
            if segment < 2 {
                engine.close();
                continue;
            }
            let before = log.append_group(&folder, &engine, &[100, 101, 102, 103]);
            log.last_group = 4;
            log.files = folder.files();
            log.last_file = log.files.keys().next_back().expect("segments").clone();
            let written = |files: &BTreeMap<String, Vec<u8>>| {
                let bytes = &files[&log.last_file];
                bytes.iter().rposition(|byte| *byte != 0).expect("frames") + 1
            };
            log.last_group_at = (written(&before).next_multiple_of(8), written(&log.files));
        }
        // What is reserved behind is zeros, and all the same however many.
        let end = log.last_group_at.1 + 40;
        log.files.get_mut(&log.last_file).expect("the last segment").truncate(end);
        log
    }

    /// Gives back the files as they are before the group is written.
    fn append_group(
        &mut self,
        folder: &Forgetful,
        engine: &Engine,
        numbers: &[u8],
    ) -> BTreeMap<String, Vec<u8>> {
        // While one sync waits the next group gathers.
        folder.set(|faults| faults.held = numbers.len() > 1);
        let first = (numbers.len() > 1).then(|| self.send(engine, 99));
        if first.is_some() {
            // Taken by the appender, which waits for its sync.
            wait_until(|| folder.is_waiting());
        }
        let before = folder.files();
        let sent: Vec<_> = first.into_iter().chain(numbers.iter().map(|n| self.send(engine, *n))).collect();
        folder.set(|faults| faults.held = false);
        for (partition, bytes, told) in sent {
            let offset = told.recv_timeout(PATIENCE).expect("told").expect("room");
            self.order.push((partition, offset));
            self.records.insert((partition, offset), bytes);
        }
        before
    }

    fn send(&self, engine: &Engine, n: u8) -> (i32, Vec<u8>, Receiver<Result<i64, AppendError>>) {
        let (partition, bytes) = (i32::from(n % 3), vec![n | 1; usize::from(n % 7) * 5 + 1]);
        let told = send(engine, partition, &bytes);
        (partition, bytes, told)
    }
}
