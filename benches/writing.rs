//! The loader's writing beside its limit: what the same rows cost in a plain COPY.
//!
//! Not a criterion bench: it prints a table. Records in memory are prepared, flushed and committed as the loader does it,
//! batches of 10 000 rows, the next one prepared while one is on its way. The limit is COPY BINARY of the same rows, encoded
//! beforehand, one COPY an organization, over as many connections, into the same tables. The two take turns, three times,
//! into empty tables; the table shows medians. Organizations are of Zipf's sizes. CPU is this process's own and that of its
//! backends, in seconds for a million events: on a machine where others work, they say more than the ratio.
//!
//! `./dev bench --bench writing [-- ORGANIZATIONS…]`, a line each; 1, 2, 200 and 2 000 unless told otherwise, and the first
//! once more with 1 % duplicates.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::SinkExt;
use rollbook::loader::direct::{DirectBatch, DirectWay, DirectWriter};
use rollbook::tenant::{Organization, OrganizationId};
use tokio::task::JoinSet;
use tokio_postgres::Client;

mod report;
#[path = "loading/site.rs"]
mod site;
use report::{Section, median};
use site::{BenchSite, EVENTS_A_RECORD, Records};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of one pass.
const EVENTS: usize = 300_000;
const BATCH_RECORDS: usize = 10_000 / EVENTS_A_RECORD;
/// The loader's connections unless told otherwise.
const MOST_STREAMS: usize = 4;
const ROUNDS: usize = 3;
/// For so many flushes a lane asks first once it met a duplicate.
const REMEMBERED_FLUSHES: u32 = 100;

/// What one connection does: the records of some organizations, in order.
type Stream = Vec<(Organization, Vec<Bytes>)>;

/// What COPY is sent of each organization in a stream.
type Encoded = Vec<(String, Vec<Bytes>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duplicates {
    None,
    OnePercent,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    seconds: f64,
    own_cpu: f64,
    server_cpu: f64,
    peak_mib: f64,
}

fn main() -> Result<()> {
    let wanted: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .map(|n| n.parse())
        .collect::<Result<_, _>>()?;
    let wanted = if wanted.is_empty() { vec![1, 2, 200, 2_000] } else { wanted };
    let mut section = Section::default();
    section.line("## From records to rows (`benches/writing.rs`)");
    section.line("");
    section.line(&format!(
        "{EVENTS} events in batches of 10 000 at most, over up to {MOST_STREAMS} connections; organizations are of Zipf's sizes. The limit is COPY BINARY of \
         the same rows, encoded beforehand, over as many connections. Targets: 0.9 of it with 1, 2 and 200 organizations, 0.8 with 2 000, 0.75 with 1 % \
         duplicates."
    ));
    section.line("");
    section.head(&[
        "organizations",
        "events/s",
        "of the limit",
        "own CPU s a million events",
        "Postgres' CPU s",
        "the limit's",
        "MiB above the records",
    ]);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        for (at, organizations) in wanted.into_iter().enumerate() {
            section.row(&measure(organizations, Duplicates::None).await?);
            if at == 0 {
                section.row(&measure(organizations, Duplicates::OnePercent).await?);
            }
        }
        section.line("");
        section.leave_as("3-writing");
        Ok(())
    })
}

/// A row of the table.
async fn measure(organizations: usize, duplicates: Duplicates) -> Result<[String; 7]> {
    let site = BenchSite::with(organizations).await;
    let streams = Arc::new(streams(&site.organizations, duplicates)?);
    let events: usize = streams.iter().flatten().map(|(_, records)| records.len() * EVENTS_A_RECORD).sum();
    let limits = Arc::new(streams.iter().map(encoded).collect::<Result<Vec<_>>>()?);
    let (mut loads, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        empty(&site).await?;
        loads.push(pass(&site, streams.len(), |n, client| load(client, lanes(&site, &streams[n]))).await?);
        empty(&site).await?;
        copies.push(pass(&site, limits.len(), |n, client| copy(client, Arc::clone(&limits), n)).await?);
    }
    let median = |passes: &[Pass], of: fn(&Pass) -> f64| median(passes.iter().map(of).collect());
    let million = count(events) / 1e6;
    let (load_s, copy_s) = (median(&loads, |pass| pass.seconds), median(&copies, |pass| pass.seconds));
    let with = match duplicates {
        Duplicates::None => "",
        Duplicates::OnePercent => " and 1 % duplicates",
    };
    let row = [
        format!("{organizations}{with}"),
        format!("{:.0}", count(events) / load_s),
        format!("{:.2}", copy_s / load_s),
        format!("{:.2}", median(&loads, |pass| pass.own_cpu) / million),
        format!("{:.2}", median(&loads, |pass| pass.server_cpu) / million),
        format!("{:.2}", median(&copies, |pass| pass.server_cpu) / million),
        format!("{:.0}", median(&loads, |pass| pass.peak_mib)),
    ];
    site.drop_database().await;
    Ok(row)
}

fn count(events: usize) -> f64 {
    f64::from(u32::try_from(events).unwrap_or(u32::MAX))
}

/// Shares the organizations out: the next largest goes to the stream that has least.
fn streams(organizations: &[Organization], duplicates: Duplicates) -> Result<Vec<Stream>> {
    let weights: Vec<f64> = (1..=organizations.len()).map(|rank| 1.0 / count(rank)).collect();
    let all: f64 = weights.iter().sum();
    let records = EVENTS / EVENTS_A_RECORD;
    let mut streams = vec![Stream::new(); organizations.len().min(MOST_STREAMS)];
    let mut made = Records::new();
    for (organization, weight) in organizations.iter().zip(weights) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand at most")]
        let share = ((count(records) * weight / all) as usize).max(1);
        let mut own: Vec<Bytes> = (0..share).map(|_| made.next(organization.id).into()).collect();
        // Records that were sent again by clients that heard no answer: their first copies are in the batch before.
        if duplicates == Duplicates::OnePercent {
            let earlier = BATCH_RECORDS + 50;
            (earlier..own.len()).step_by(100).for_each(|at| own[at] = own[at - earlier].clone());
        }
        let size = |stream: &Stream| stream.iter().map(|(_, records)| records.len()).sum::<usize>();
        let least = streams.iter_mut().min_by_key(|stream| size(stream)).context("a stream")?;
        least.push((organization.clone(), own));
    }
    Ok(streams)
}

/// What COPY is sent of each organization, as one.
fn encoded(stream: &Stream) -> Result<Encoded> {
    let one = |(organization, records): &(Organization, Vec<Bytes>)| {
        let batch = DirectBatch::new(organization.id, 0, records.clone())?;
        let sql = format!("COPY {}.event ({COLUMNS}) FROM STDIN (FORMAT binary)", organization.schema_name);
        Ok((sql, batch.copy_frames()))
    };
    stream.iter().map(one).collect()
}

const COLUMNS: &str = "event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, client_occurred_at, \
     received_at, seq, position_ms, rate, watched, played_ms, answer, correct, score, attempt, elapsed_ms, details";

async fn empty(site: &BenchSite) -> Result<()> {
    let client = site.connect().await;
    for organization in &site.organizations {
        let schema = &organization.schema_name;
        let empty = format!("TRUNCATE {schema}.event; DELETE FROM {schema}.ingest_watermark");
        client.batch_execute(&empty).await?;
    }
    Ok(client.batch_execute("CHECKPOINT").await?)
}

/// All streams at once, each over a connection of its own.
async fn pass<W>(site: &BenchSite, streams: usize, work: impl Fn(usize, Client) -> W) -> Result<Pass>
where
    W: Future<Output = Result<Client>> + Send + 'static,
{
    let mut clients = Vec::new();
    let mut backends = Vec::new();
    for _ in 0..streams {
        let client = site.connect().await;
        backends.push(client.query_one("SELECT pg_backend_pid()", &[]).await?.get::<_, i32>(0));
        clients.push(client);
    }
    let server = || backends.iter().map(|pid| cpu_seconds(&pid.to_string())).sum::<Result<f64>>();
    fs::write("/proc/self/clear_refs", "5").context("forgetting the peak of memory")?;
    let (before_mib, own_before, server_before) = (status_mib("VmRSS")?, cpu_seconds("self")?, server()?);
    let started = Instant::now();
    let mut running: JoinSet<_> =
        clients.into_iter().enumerate().map(|(n, client)| work(n, client)).collect();
    // Connections end with their backends, whose CPU is read first.
    let mut done = Vec::new();
    while let Some(client) = running.join_next().await {
        done.push(client??);
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Pass {
        seconds,
        own_cpu: cpu_seconds("self")? - own_before,
        server_cpu: server()? - server_before,
        peak_mib: status_mib("VmHWM")? - before_mib,
    })
}

/// One organization's schema, and what goes there.
struct Lane {
    id: OrganizationId,
    writer: DirectWriter,
    records: Vec<Bytes>,
    at: usize,
    asks_first: u32,
}

impl Lane {
    /// Takes the next batch; `None`: there is none.
    fn take(&mut self) -> Option<impl FnOnce() -> Result<DirectBatch> + Send + 'static> {
        let end = (self.at + BATCH_RECORDS).min(self.records.len());
        let records = self.records.get(self.at..end).filter(|records| !records.is_empty())?.to_vec();
        let (id, offset) = (self.id, i64::try_from(self.at).ok()?);
        self.at = end;
        Some(move || DirectBatch::new(id, offset, records))
    }
}

fn lanes(site: &BenchSite, stream: &Stream) -> Vec<Lane> {
    let lane = |(organization, records): &(Organization, Vec<Bytes>)| Lane {
        id: organization.id,
        writer: site.writer(organization),
        records: records.clone(),
        at: 0,
        asks_first: 0,
    };
    stream.iter().map(lane).collect()
}

/// The loader's way, batches of the organizations in turn.
async fn load(mut client: Client, mut lanes: Vec<Lane>) -> Result<Client> {
    let mut turns: VecDeque<usize> = (0..lanes.len()).collect();
    let mut next = None;
    loop {
        // The next batch is made ready while one is on its way.
        let following = loop {
            let Some(lane) = turns.pop_front() else { break None };
            if let Some(prepare) = lanes[lane].take() {
                turns.push_back(lane);
                break Some((lane, tokio::task::spawn_blocking(prepare)));
            }
        };
        if let Some((lane, batch)) = next {
            let (lane, batch): (&mut Lane, DirectBatch) = (&mut lanes[lane], batch);
            let way = if lane.asks_first > 0 { DirectWay::AskFirst } else { DirectWay::Copy };
            lane.asks_first = lane.asks_first.saturating_sub(1);
            let outcome = lane.writer.write(&mut client, &batch, way).await?;
            if outcome.has_met_duplicates {
                lane.asks_first = REMEMBERED_FLUSHES;
            }
        }
        let Some((lane, batch)) = following else { return Ok(client) };
        next = Some((lane, batch.await??));
    }
}

/// The limit: what is encoded already, one COPY an organization.
async fn copy(client: Client, limits: Arc<Vec<Encoded>>, stream: usize) -> Result<Client> {
    for (sql, frames) in &limits[stream] {
        let mut sink = std::pin::pin!(client.copy_in(sql).await?);
        for frame in frames {
            sink.feed(frame.clone()).await?;
        }
        sink.finish().await?;
    }
    Ok(client)
}

/// CPU that a process has used.
fn cpu_seconds(process: &str) -> Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the CPU of a process")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap_or_default()).sum();
    Ok(f64::from(ticks) / TICKS_A_SECOND)
}

fn status_mib(name: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).context("memory")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}
