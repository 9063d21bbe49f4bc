//! The embedded log beside its limits: how fast records are durable, and how fast a reader far behind reads them.
//!
//! Appending: publishers that each wait for one record before the next, as connections do. The limit beside it is the
//! same bytes written and synced by one thread with nothing else to do, as many at a time as there are publishers.
//! Reading: a cursor over all partitions, its files in the page cache; beside it the same files read in pieces of 1 MiB
//! and looked at by nobody. Records are of zeros and ones: nothing here depends on what they hold. CPU is this process's own,
//! the kernel's for it included.
//!
//! `cargo bench --bench embedded`; in a folder under `target/`, so on the disk that holds it.

mod report;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use report::{Section, median};
use rollbook::log::embedded::{Engine, EngineSettings};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 12;
/// A record of one event, and one of fifty.
const RECORD_BYTES: [usize; 2] = [500, 17_000];
const PUBLISHERS: [usize; 3] = [1, 8, 64];
const APPENDING: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// What is read.
const READ_BYTES: usize = 512 << 20;

fn main() -> Result<()> {
    let mut section = Section::default();
    section.line("## The embedded log");
    section.line("");
    section.line("Publishers that wait for each record: records/s that are durable, beside one thread that writes and syncs as many.");
    section.line("");
    section.head(&[
        "publishers",
        "record",
        "records/s",
        "of the limit",
        "MB/s",
        "µs CPU a record",
        "p50 ms",
        "p99 ms",
    ]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for bytes in RECORD_BYTES {
        for publishers in PUBLISHERS {
            let rounds = (0..ROUNDS).map(|_| {
                let limit = write_and_sync(publishers, bytes)?;
                let appended = runtime.block_on(append(publishers, bytes))?;
                Ok((appended, limit))
            });
            let rounds = rounds.collect::<Result<Vec<_>>>()?;
            let of = |figure: fn(&(Appended, f64)) -> f64| median(rounds.iter().map(figure).collect());
            section.row(&[
                publishers.to_string(),
                format!("{bytes} B"),
                format!("{:.0}", of(|(appended, _)| appended.a_second)),
                format!("{:.2}", of(|(appended, limit)| appended.a_second / limit)),
                format!("{:.0}", of(|(appended, _)| appended.a_second) * float(bytes) / 1e6),
                format!("{:.1}", of(|(appended, _)| appended.cpu_micros)),
                format!("{:.2}", of(|(appended, _)| appended.p50_ms)),
                format!("{:.2}", of(|(appended, _)| appended.p99_ms)),
            ]);
        }
    }
    section.line("");
    section.line("A reader far behind, from the page cache:");
    section.line("");
    section.head(&["record", "MB/s", "of plain reads", "ns CPU a record", "opening, ms"]);
    for bytes in RECORD_BYTES {
        let read = runtime.block_on(read(bytes))?;
        section.row(&[
            format!("{bytes} B"),
            format!("{:.0}", read.megabytes_a_second),
            format!("{:.2}", read.megabytes_a_second / read.plain),
            format!("{:.0}", read.cpu_nanos),
            format!("{:.0}", read.opening_ms),
        ]);
    }
    section.line("");
    section.leave_as("embedded");
    Ok(())
}

struct Appended {
    a_second: f64,
    cpu_micros: f64,
    p50_ms: f64,
    p99_ms: f64,
}

struct Read {
    megabytes_a_second: f64,
    plain: f64,
    cpu_nanos: f64,
    opening_ms: f64,
}

fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?)
}

fn open(folder: &Path) -> Result<Engine> {
    let settings =
        EngineSettings { folder: folder.to_owned(), partitions: PARTITIONS, retention_bytes: 4 << 30 };
    Ok(Engine::open(&settings)?.0)
}

/// Appends and waits until the record is durable.
async fn append_one(engine: &Engine, partition: i32, record: Bytes) -> Result<i64> {
    let (tell, told) = tokio::sync::oneshot::channel();
    // Whoever went away needs not be told.
    engine.append(partition, record, Box::new(move |outcome| drop(tell.send(outcome))));
    Ok(told.await.context("every append is told")??)
}

async fn append(publishers: usize, bytes: usize) -> Result<Appended> {
    let folder = folder()?;
    let engine = open(folder.path())?;
    let record = Bytes::from(vec![1; bytes]);
    let (started, before) = (Instant::now(), cpu_seconds());
    let mut tasks = JoinSet::new();
    for publisher in 0..publishers {
        let (engine, record) = (engine.clone(), record.clone());
        let partition = i32::try_from(publisher % PARTITIONS as usize)?;
        tasks.spawn(async move {
            let mut waited = Vec::new();
            while started.elapsed() < APPENDING {
                let since = Instant::now();
                append_one(&engine, partition, record.clone()).await?;
                waited.push(since.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(waited)
        });
    }
    let mut waited = Vec::new();
    while let Some(task) = tasks.join_next().await {
        waited.extend(task??);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - before);
    waited.sort_by(f64::total_cmp);
    let records = float(waited.len());
    Ok(Appended {
        a_second: records / seconds,
        cpu_micros: cpu * 1e6 / records,
        p50_ms: waited[waited.len() / 2],
        p99_ms: waited[waited.len() * 99 / 100],
    })
}

/// Records a second of a thread that writes so many at a time into a file with room for them, and syncs.
fn write_and_sync(records: usize, bytes: usize) -> Result<f64> {
    let folder = folder()?;
    let file = File::create(folder.path().join("file"))?;
    let room = 64 << 20;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, room)?;
    let group = vec![1; records * (bytes + 32)];
    let (started, mut written, mut at) = (Instant::now(), 0, 0);
    while started.elapsed() < APPENDING / 2 {
        if at + group.len() as u64 > room {
            at = 0;
        }
        file.write_all_at(&group, at)?;
        file.sync_data()?;
        at += group.len() as u64;
        written += records;
    }
    Ok(float(written) / started.elapsed().as_secs_f64())
}

async fn read(bytes: usize) -> Result<Read> {
    let folder = folder()?;
    let engine = open(folder.path())?;
    let record = Bytes::from(vec![1; bytes]);
    let records = READ_BYTES / bytes;
    let mut last = Vec::new();
    for n in 0..records {
        let (tell, told) = tokio::sync::oneshot::channel();
        let partition = i32::try_from(n % PARTITIONS as usize)?;
        engine.append(partition, record.clone(), Box::new(move |outcome| drop(tell.send(outcome))));
        last.push(told);
        if last.len() == 1_000 || n + 1 == records {
            for told in last.drain(..) {
                told.await??;
            }
        }
    }
    engine.close();
    let started = Instant::now();
    let engine = open(folder.path())?;
    let opening_ms = started.elapsed().as_secs_f64() * 1e3;
    let starts: HashMap<i32, i64> = (0..engine.partitions()).map(|partition| (partition, 0)).collect();
    let (mut rates, mut plain, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (started, before) = (Instant::now(), cpu_seconds());
        let mut cursor = engine.cursor(&starts);
        let (mut seen, mut seen_bytes) = (0, 0);
        while let Some(frame) = cursor.next(Duration::ZERO)? {
            seen += 1;
            seen_bytes += frame.bytes.len();
        }
        ensure!(seen == records, "{seen} of {records} records were read");
        cpus.push((cpu_seconds() - before) * 1e9 / float(records));
        rates.push(float(seen_bytes) / started.elapsed().as_secs_f64() / 1e6);
        plain.push(read_plainly(folder.path())?);
    }
    Ok(Read { megabytes_a_second: median(rates), plain: median(plain), cpu_nanos: median(cpus), opening_ms })
}

/// Megabytes a second of all files.
fn read_plainly(folder: &Path) -> Result<f64> {
    let (started, mut total) = (Instant::now(), 0);
    let mut piece = vec![0; 1 << 20];
    for entry in std::fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        let mut at = 0;
        loop {
            let read = file.read_at(&mut piece, at)?;
            if read == 0 {
                break;
            }
            at += read as u64;
            total += read;
        }
    }
    Ok(float(total) / started.elapsed().as_secs_f64() / 1e6)
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)).as_secs_f64()
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
