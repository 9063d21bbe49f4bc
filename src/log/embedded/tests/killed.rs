//! A process that is killed at any moment: what it had acknowledged is there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::super::{Engine, Findings};
use super::random::Random;
use super::support::{PATIENCE, read_all, read_from, send, settings};

const ROUNDS: u64 = 200;
const PARTITIONS: u32 = 3;
const RETENTION: u64 = 16 << 20;
/// Where the child appends.
const FOLDER: &str = "TEST_EMBEDDED_LOG";
/// Which one it is.
const ROUND: &str = "TEST_EMBEDDED_ROUND";

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let random = &mut Random::new(9);
    let mut ends = HashMap::from([(0, 0), (1, 0), (2, 0)]);
    let mut all = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "log::embedded::tests::killed::the_child", "--ignored", "--nocapture"])
            .envs([
                (FOLDER, folder.path().as_os_str().to_owned()),
                (ROUND, OsString::from(round.to_string())),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = HashMap::new();
        let mut note = |line: Option<Result<String, std::io::Error>>| {
            let line = line.and_then(Result::ok)?;
            let mut words = line.strip_prefix("acknowledged ")?.split(' ');
            // The last line may be cut off, like anything else.
            if let (Some(partition), Some(offset), Some(text), Some(".")) =
                (words.next(), words.next(), words.next(), words.next())
            {
                let place = (partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?);
                assert_eq!(acknowledged.insert(place, text.to_owned()), None, "an offset is given out once");
            }
            Some(())
        };
        let wanted = random.below(60);
        let mut noted = 0;
        while noted < wanted {
            match lines.next() {
                None => panic!("round {round}: the child ended by itself"),
                line => noted += usize::from(note(line).is_some()),
            }
        }
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        for line in lines {
            note(Some(line));
        }

        let (engine, findings) =
            Engine::open(&settings(folder.path(), PARTITIONS, RETENTION)).expect("it opens");
        assert_eq!(findings.damage, Findings::default().damage, "round {round}");
        let (records, damaged) = read_from(&engine, &ends);
        assert_eq!(damaged, HashMap::new(), "round {round}");
        for (place, text) in &acknowledged {
            let stored = records.get(place).map(|bytes| String::from_utf8_lossy(bytes));
            let is_stored = stored.as_ref().is_some_and(|stored| stored.split(' ').next() == Some(text));
            assert!(is_stored, "round {round}: {place:?} is {stored:?}, not {text}");
        }
        for (partition, end) in &mut ends {
            let read = records.keys().filter(|(of, _)| of == partition).count();
            let now = engine.ends(*partition).expect("a partition").end;
            assert_eq!(now - *end, i64::try_from(read).expect("small"), "round {round}: dense");
            *end = now;
        }
        all += records.len();
        engine.close();
    }
    let (engine, _) = Engine::open(&settings(folder.path(), PARTITIONS, RETENTION)).expect("it opens");
    assert_eq!(read_all(&engine).0.len(), all);
    assert!(all > 2_000, "{all}");
}

/// Appends from four threads and says what was acknowledged, until it is killed.
#[test]
#[ignore = "the child of the test above"]
fn the_child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let round = std::env::var(ROUND).expect("set with the folder");
    let (engine, _) = Engine::open(&settings(folder.as_ref(), PARTITIONS, RETENTION)).expect("it opens");
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (engine, round) = (engine.clone(), &round);
            scope.spawn(move || {
                let random = &mut Random::new(thread as u64);
                // More than any round is to see.
                for burst in 0..500 {
                    let sent: Vec<_> = (0..=random.below(4))
                        .map(|n| {
                            let text = format!("{round}/{thread}/{burst}/{n}");
                            let bytes = format!("{text} {}", "x".repeat(random.below(300)));
                            let partition = i32::try_from(random.below(3)).expect("small");
                            (partition, text, send(&engine, partition, bytes.as_bytes()))
                        })
                        .collect();
                    for (partition, text, told) in sent {
                        let offset = told.recv_timeout(PATIENCE).expect("told").expect("room");
                        let line = format!("\nacknowledged {partition} {offset} {text} .\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
                    }
                }
            });
        }
    });
    // Killed, it never comes here.
    std::thread::sleep(PATIENCE);
}
