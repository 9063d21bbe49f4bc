//! Files that were cut off, or whose bytes are not what was written.

use std::collections::HashMap;

use super::super::Findings;
use super::forgetful::Forgetful;
use super::random::Random;
use super::support::{Records, SMALL, SMALL_LOGS_PARTITIONS, SmallLog, append, open_in, read_all, read_from};

#[test]
fn a_small_log_is_read_whole() {
    let log = SmallLog::new();
    let (engine, findings) =
        open_in(&Forgetful::with(&log.files), SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
    assert_eq!(findings, Findings::default());
    assert_eq!(read_all(&engine), (log.records, HashMap::new()));
}

#[test]
fn cut_at_every_byte_a_log_keeps_all_before_the_cut_and_invents_nothing() {
    let log = SmallLog::new();
    let whole = log.files[&log.last_file].len();
    let in_last_segment = 5 + 1 + log.last_group;
    let mut kept_before = log.order.len();
    for length in (0..=whole).rev() {
        let mut files = log.files.clone();
        files.get_mut(&log.last_file).expect("the last segment").truncate(length);
        let folder = Forgetful::with(&files);
        let (engine, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
        let (records, damaged) = read_all(&engine);
        assert_eq!(damaged, HashMap::new());
        let kept = records.len();
        let expected: Records = log.order[..kept].iter().map(|at| (*at, log.records[at].clone())).collect();
        assert_eq!(records, expected, "cut at {length}");
        assert!(kept <= kept_before && kept >= log.order.len() - in_last_segment);
        if length >= log.last_group_at.0 {
            assert!(kept >= log.order.len() - log.last_group, "cut at {length}");
        }
        if length >= log.last_group_at.1 {
            assert_eq!((kept, &findings), (log.order.len(), &Findings::default()));
        }
        if kept < kept_before && findings.torn.is_none() {
            // Only where nothing is left of the record that went, or of all.
            assert!(length % 8 == 0 || length < 8192, "cut at {length}");
        }
        kept_before = kept;
        // What went was never acknowledged, as far as can be known: its offsets are given out again.
        if length % 64 == 7 && kept < log.order.len() {
            let partition = log.order[kept].0;
            let offset = append(&engine, partition, b"next").expect("room");
            assert_eq!(offset, log.order[kept].1);
            engine.close();
            let (again, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
            assert_eq!(findings, Findings::default());
            assert_eq!(read_all(&again).0.len(), kept + 1);
        }
    }
}

/// Bits to flip: all where something is written, and some of the zeros that fill headers up.
fn bits(
    files: &std::collections::BTreeMap<String, Vec<u8>>,
    random: &mut Random,
) -> Vec<(String, usize, u8)> {
    let mut bits = Vec::new();
    for (name, bytes) in files {
        for (at, byte) in bytes.iter().enumerate() {
            let is_filling = *byte == 0 && at < 8192 && at % 4096 >= 72;
            match is_filling {
                true if at % 61 == 0 => bits.push((name.clone(), at, 1 << random.below(8))),
                true => {}
                false => bits.extend((0..8).map(|bit| (name.clone(), at, 1 << bit))),
            }
        }
    }
    bits
}

#[test]
fn a_flipped_bit_is_told_or_does_no_harm() {
    let log = SmallLog::new();
    let starts: HashMap<i32, i64> = (0..3).map(|partition| (partition, 0)).collect();
    let mut ends: HashMap<i32, i64> = HashMap::new();
    for (partition, offset) in &log.order {
        let end = ends.entry(*partition).or_default();
        *end = (*end).max(offset + 1);
    }
    let last_group = &log.order[log.order.len() - log.last_group..];
    let mut seen = [0; 3];
    for (name, at, bit) in bits(&log.files, &mut Random::new(1)) {
        let mut files = log.files.clone();
        files.get_mut(&name).expect("a file")[at] ^= bit;
        let folder = Forgetful::with(&files);
        let (engine, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
        let (records, damaged) = read_from(&engine, &starts);
        let what = format!("bit {bit} of byte {at} of {name}");
        for place in &log.order {
            let (partition, offset) = *place;
            match records.get(place) {
                Some(bytes) => assert_eq!(bytes, &log.records[place], "{what}"),
                None if damaged.get(&partition).is_some_and(|from| *from <= offset) => {
                    assert!(findings.damage.iter().any(|found| found.partition == partition), "{what}");
                }
                None => {
                    assert!(findings.torn.is_some(), "{what}: {place:?} is gone in silence");
                    assert!(last_group.contains(place), "{what}: {place:?} was synced before the last group");
                }
            }
        }
        assert!(records.keys().all(|place| log.records.contains_key(place)), "{what}: invented");
        seen[usize::from(findings.torn.is_some()) + 2 * usize::from(!damaged.is_empty())] += 1;
        // No offset is given out twice, and what was told is told again.
        if (at + usize::from(bit)) % 16 == 3 {
            for partition in 0..3 {
                let offset = append(&engine, partition, b"later").expect("room");
                let reused = offset < ends[&partition];
                assert!(
                    !reused || last_group.contains(&(partition, offset)) && findings.torn.is_some(),
                    "{what}"
                );
            }
            engine.close();
            let (again, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
            assert_eq!(findings.torn, None, "{what}");
            let (_, damaged_again) = read_from(&again, &starts);
            assert_eq!(damaged_again, damaged, "{what}");
            again.accept_damage().expect("written");
            drop(again);
            let (after, findings) = open_in(&folder, SMALL_LOGS_PARTITIONS, SMALL).expect("it opens");
            assert_eq!((findings, after.damage()), (Findings::default(), HashMap::new()), "{what}");
            let (kept, damaged) = read_from(&after, &starts);
            assert_eq!(damaged, HashMap::new(), "{what}");
            assert!(kept.len() >= records.len() + 3, "{what}");
        }
    }
    assert!(seen.iter().all(|times| *times > 100), "harmless, torn, damaged: {seen:?}");
}

#[test]
fn whatever_becomes_of_the_bytes_before_the_last_group_it_is_told() {
    let log = SmallLog::new();
    let starts: HashMap<i32, i64> = (0..3).map(|partition| (partition, 0)).collect();
    let names: Vec<&String> = log.files.keys().collect();
    let mut refused = 0;
    for seed in 0..2_000 {
        let random = &mut Random::new(seed);
        let mut files = log.files.clone();
        for _ in 0..=random.below(3) {
            let name = names[random.below(names.len())];
            let bytes = files.get_mut(name).expect("a file");
            let limit = if *name == log.last_file { log.last_group_at.0 } else { bytes.len() };
            let from = random.below(limit.min(bytes.len()));
            let most = if random.percent(20) { 9_000 } else { 60 };
            let to = (from + 1 + random.below(most)).min(limit).min(bytes.len());
            match random.below(4) {
                0 => bytes[from..to].fill(0),
                1 => bytes[from..to].fill_with(|| u8::try_from(random.below(256)).expect("a byte")),
                2 if *name != log.last_file => bytes.truncate(from),
                // Bytes of another place.
                _ => bytes.copy_within(from / 8 * 8..to, (from / 16) * 8),
            }
        }
        if random.percent(10) {
            files.remove(names[random.below(names.len() - 1)]);
        }
        let Ok((engine, _)) = open_in(&Forgetful::with(&files), SMALL_LOGS_PARTITIONS, SMALL) else {
            refused += 1;
            continue;
        };
        // Where the oldest segment is gone the log begins later, and says so.
        let starts: HashMap<i32, i64> = starts
            .keys()
            .map(|partition| (*partition, engine.ends(*partition).expect("a partition").start))
            .collect();
        let (records, damaged) = read_from(&engine, &starts);
        for ((partition, offset), bytes) in &log.records {
            match records.get(&(*partition, *offset)) {
                Some(read) => assert_eq!(read, bytes, "seed {seed}"),
                None => assert!(
                    damaged.get(partition).is_some_and(|from| from <= offset) || *offset < starts[partition],
                    "seed {seed}: record {offset} of {partition} is gone in silence"
                ),
            }
        }
    }
    assert!(refused < 200, "{refused} could not be opened");
}
