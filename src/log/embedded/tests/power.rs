//! Power cuts: a disk that keeps what was synced, and any part of what was not; also where the process was killed before,
//! and another one read what it had written.

use std::collections::HashMap;

use super::super::Findings;
use super::forgetful::Forgetful;
use super::random::Random;
use super::support::{PATIENCE, open_in, read_all, send};

const ROUNDS: u64 = 1_000;
const PARTITIONS: u32 = 3;
/// A log lives for so many power cuts.
const LIVES: u64 = 20;
/// So little that loaded segments have to go.
const RETENTION: u64 = 150 << 10;

#[test]
fn what_was_acknowledged_outlives_a_thousand_power_cuts() {
    let random = &mut Random::new(12);
    let mut folder = Forgetful::default();
    let mut acknowledged: HashMap<(i32, i64), Vec<u8>> = HashMap::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    // Below it the log may forget a partition's records.
    let mut loaded = [0; 3];
    let (mut torn, mut unacknowledged, mut removed) = (0, 0, 0);
    let mut was_killed = false;
    for round in 0..ROUNDS {
        if round % LIVES == 0 {
            folder = Forgetful::default();
            acknowledged.clear();
            sent.clear();
            loaded = [0; 3];
        }
        folder.set(|faults| faults.stops_after = Some(2 + random.number() % 40));
        // The power may go while the log is opened, too.
        if let Ok((engine, _)) = open_in(&folder, PARTITIONS, RETENTION) {
            if was_killed {
                let (records, damaged) = read_all(&engine);
                assert_eq!(damaged, HashMap::new(), "round {round}");
                let start = |partition| engine.ends(partition).expect("a partition").start;
                for (place, bytes) in acknowledged.iter().filter(|((of, offset), _)| *offset >= start(*of)) {
                    assert_eq!(records.get(place), Some(bytes), "round {round}: {place:?}");
                }
                // Whoever reads them loads them.
                acknowledged = records;
            }
            let mut waiting = Vec::new();
            for burst in 0..30 {
                for (partition, mark) in (0..3).zip(&mut loaded) {
                    if random.percent(20) {
                        *mark = engine.ends(partition).expect("a partition").end;
                        engine.loaded(&[(partition, *mark)]);
                    }
                }
                for n in 0..=random.below(5) {
                    let mut bytes = format!("{round} {burst} {n} ").into_bytes();
                    let most = if random.percent(5) { 3_000 } else { 400 };
                    bytes.resize(bytes.len() + random.below(most), b'x');
                    let partition = i32::try_from(random.below(3)).expect("small");
                    sent.push(bytes.clone());
                    waiting.push((partition, send(&engine, partition, &bytes), bytes));
                }
                for (partition, told, bytes) in waiting.drain(..) {
                    if let Ok(offset) = told.recv_timeout(PATIENCE).expect("every append is told") {
                        assert_eq!(acknowledged.insert((partition, offset), bytes), None, "round {round}");
                    }
                }
            }
            engine.close();
        }
        was_killed = round % LIVES != LIVES - 1 && random.percent(30);
        if was_killed {
            folder = folder.after_kill();
            continue;
        }
        folder = folder.after_power_cut(random);

        let (engine, findings) = open_in(&folder, PARTITIONS, RETENTION).expect("it opens");
        torn += u64::from(findings.torn.is_some());
        assert_eq!(findings.damage, Findings::default().damage, "round {round}");
        let (records, damaged) = read_all(&engine);
        assert_eq!(damaged, HashMap::new(), "round {round}");
        let starts = [0, 1, 2].map(|partition| engine.ends(partition).expect("a partition").start);
        let is_kept = |place: &(i32, i64)| place.1 >= starts[usize::try_from(place.0).expect("small")];
        for (place, bytes) in acknowledged.iter().filter(|(place, _)| is_kept(place)) {
            assert_eq!(records.get(place), Some(bytes), "round {round}: {place:?}");
        }
        // What was sent and not acknowledged may be there, once.
        let mut others: Vec<&Vec<u8>> = records
            .iter()
            .filter(|(place, _)| !acknowledged.contains_key(*place))
            .map(|(_, bytes)| bytes)
            .collect();
        unacknowledged += others.len();
        assert!(others.iter().all(|bytes| sent.contains(bytes)), "round {round}: invented");
        others.sort_unstable();
        assert!(others.is_sorted_by(|a, b| a < b), "round {round}: twice");
        for partition in 0..3 {
            let ends = engine.ends(partition).expect("a partition");
            let read = records.keys().filter(|(of, _)| *of == partition).count();
            assert_eq!(ends.end - ends.start, i64::try_from(read).expect("small"), "round {round}: dense");
            let mark = loaded[usize::try_from(partition).expect("small")];
            assert!(ends.start <= mark, "round {round}: what is not loaded is kept");
            removed += u64::from(ends.start > 0);
        }
        // They count from now on.
        acknowledged = records;
        engine.close();
    }
    assert!(torn > 50 && unacknowledged > 20, "{torn} torn, {unacknowledged} unacknowledged");
    assert!(removed > 100, "{removed}");
}
