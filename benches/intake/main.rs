//! Intake over HTTP, to the acknowledgement of a real Kafka (`acks=all`), and of the embedded log (`fdatasync`).
//!
//! Two servers, each a process of its own on loopback: the real one, and its limit, a bare hyper server that reads the same
//! bodies and answers. 64 connections each send their next batch when they have read the last reply. The two take turns, case by
//! case, so that what else the machine does meets both. CPU seconds are the server process's own, threads of librdkafka included, from
//! `/proc`: on a machine that is shared they are worth more than what the clock says. Every reply must accept every event.
//!
//! `./dev bench --bench intake -- json/1 ndjson/50` measures these cases alone.

#[path = "../batches.rs"]
#[expect(dead_code, reason = "the other bench looks into unpacked bodies")]
mod batches;
mod client;
mod logs;
#[path = "../report.rs"]
mod report;
mod server;

use std::time::Duration;

use batches::Case;
use client::Load;
use report::{Section, median};
use server::{Kind, Process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(400);
const MEASURED: Duration = Duration::from_millis(1_500);
/// The limit is steady, and needs no long look.
const LIMIT_MEASURED: Duration = Duration::from_millis(700);

fn main() -> anyhow::Result<()> {
    if let Some(kind) = Kind::of_this_process() {
        return server::run(kind);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let ours = Process::start(Kind::Intake).await?;
    let limit = Process::start(Kind::Bare).await?;
    let mut section = Section::default();
    section.line("## Over HTTP to the log's acknowledgement (`benches/intake.rs`)\n");
    section.line(&format!(
        "{} connections that each wait for their reply; clients, service and Kafka share the machine. The limit is a bare hyper server",
        client::CONNECTIONS
    ));
    section.line(
        "that reads the same bodies. CPU is the server process's own; what it takes a million events is the figure to trust.\n",
    );
    section.head(&[
        "form / events / encoding",
        "CPU s a million events",
        "limit",
        "times the limit",
        "events/s",
        "limit",
        "of the limit",
        "p50 ms",
        "p99 ms",
        "limit p50",
    ]);
    for case in Case::all().filter(Case::is_asked_for) {
        let (mut own, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            own.push(Load::new(&case, &ours).run(&ours, WARM_UP, MEASURED).await?);
            bare.push(Load::new(&case, &limit).run(&limit, WARM_UP, LIMIT_MEASURED).await?);
        }
        let of = |side: &[client::Measured], figure: fn(&client::Measured) -> f64| {
            median(side.iter().map(figure).collect())
        };
        let ratio = |figure: fn(&client::Measured) -> f64| {
            median(own.iter().zip(&bare).map(|(own, bare)| figure(own) / figure(bare)).collect())
        };
        section.row(&[
            case.name(),
            format!("{:.2}", of(&own, |m| m.cpu_seconds_a_million)),
            format!("{:.2}", of(&bare, |m| m.cpu_seconds_a_million)),
            format!("{:.1}", ratio(|m| m.cpu_seconds_a_million)),
            format!("{:.0}", of(&own, |m| m.events_a_second)),
            format!("{:.0}", of(&bare, |m| m.events_a_second)),
            format!("{:.2}", ratio(|m| m.events_a_second)),
            format!("{:.2}", of(&own, |m| m.p50_ms)),
            format!("{:.2}", of(&own, |m| m.p99_ms)),
            format!("{:.2}", of(&bare, |m| m.p50_ms)),
        ]);
    }
    section.line("");
    logs::compare(&ours, &mut section).await?;
    section.leave_as("2-intake");
    Ok(())
}
