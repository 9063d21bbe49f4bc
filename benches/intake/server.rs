//! The servers, each a process of its own: this program once more, with its role in the environment.

use std::convert::Infallible;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rollbook::config::intake::IntakeArgs;
use rollbook::config::log::{LogArgs, LogSettings, PublishArgs, RetentionArg, TopicArgs};
use rollbook::config::ops::DrainSettings;
use rollbook::intake::Server;
use rollbook::log::{self, Log};
use rollbook::ops::Health;
use rollbook::ops::metrics::Exporter;
use rollbook::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ROLE: &str = "TEST_BENCH_ROLE";
/// Where the embedded log is.
const DATA_DIR: &str = "TEST_BENCH_DATA_DIR";
/// `/proc` counts in hundredths of a second, whatever the kernel's own clock does.
const TICKS_A_SECOND: f64 = 100.0;
/// Says how many events a body holds: the bare server looks into none.
pub(crate) const EVENTS: &str = "x-events";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The real one, before Kafka.
    Intake,
    /// The same before the embedded log.
    Embedded,
    /// The limit: it reads a body and answers.
    Bare,
}

/// A running server. It ends with its standard input, and so with this process at the latest.
pub(crate) struct Process {
    child: Child,
    /// The process that keeps its log, if that is another one.
    broker: Option<u32>,
    _alive: ChildStdin,
    /// Its log, if it keeps that itself.
    _data: Option<TempDir>,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// What its clients show.
    pub(crate) key: String,
}

impl Kind {
    /// What this process was started as; none for the bench itself.
    pub(crate) fn of_this_process() -> Option<Self> {
        match std::env::var(ROLE).ok()?.as_str() {
            "intake" => Some(Self::Intake),
            "embedded" => Some(Self::Embedded),
            _ => Some(Self::Bare),
        }
    }
}

impl Process {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(kind: Kind) -> anyhow::Result<Self> {
        let role = match kind {
            Kind::Intake => "intake",
            Kind::Embedded => "embedded",
            Kind::Bare => "bare",
        };
        let data = match kind {
            Kind::Embedded => Some(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?),
            Kind::Intake | Kind::Bare => None,
        };
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, role)
            .envs(data.iter().map(|data| (DATA_DIR, data.path())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let alive = child.stdin.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line).await?;
        let (address, key) = line.trim().split_once(' ').context("the server did not start")?;
        let broker = match kind {
            Kind::Intake => std::env::var("TEST_KAFKA_PID").ok().and_then(|id| id.parse().ok()),
            Kind::Embedded | Kind::Bare => None,
        };
        Ok(Self {
            address: address.to_owned(),
            key: key.to_owned(),
            child,
            broker,
            _alive: alive,
            _data: data,
        })
    }

    /// User and system time of the process so far.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds_of(self.child.id().context("the server ended")?)
    }

    /// The same of the process that keeps its log.
    pub(crate) fn broker_cpu_seconds(&self) -> anyhow::Result<f64> {
        self.broker.map_or(Ok(0.0), cpu_seconds_of)
    }
}

fn cpu_seconds_of(id: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name before the last parenthesis may hold spaces; times are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(") ").context("a line of /proc")?;
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

/// Serves until standard input ends.
pub(crate) fn run(kind: Kind) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let key = WriteKey::generate()?;
        let address = listener.local_addr()?;
        match kind {
            Kind::Intake => {
                tokio::spawn(intake(&key, before_kafka().await?)?.run(listener, CancellationToken::new()))
            }
            Kind::Embedded => {
                tokio::spawn(intake(&key, before_its_own_log()?)?.run(listener, CancellationToken::new()))
            }
            Kind::Bare => tokio::spawn(bare(listener)),
        };
        say(&format!("{address} {}", key.reveal()));
        let end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(end).await??;
        Ok(())
    })
}

#[allow(clippy::print_stdout, reason = "the bench reads it")]
fn say(line: &str) {
    println!("{line}");
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    intake: IntakeArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    topic: TopicArgs,
    #[command(flatten)]
    retention: RetentionArg,
    #[command(flatten)]
    publish: PublishArgs,
}

async fn before_kafka() -> anyhow::Result<(Flags, LogSettings)> {
    let brokers = std::env::var("TEST_KAFKA_BROKERS")
        .context("TEST_KAFKA_BROKERS is not set: run ./dev bench --bench intake")?;
    let topic = format!("bench.{}", Uuid::now_v7());
    let properties = std::env::var("TEST_KAFKA_PROPERTIES").unwrap_or_default();
    let flags = Flags::parse_from([
        "bench",
        "--log=kafka",
        &format!("--kafka-brokers={brokers}"),
        &format!("--kafka-topic={topic}"),
        &format!("--kafka-properties={properties}"),
    ]);
    let settings = flags.log.set_up(&flags.topic.partitions)?;
    log::ensure(&settings, &flags.topic).await?;
    Ok((flags, settings))
}

/// There is no loader, so that nothing of it goes; its folder goes with the bench.
fn before_its_own_log() -> anyhow::Result<(Flags, LogSettings)> {
    let folder = std::env::var(DATA_DIR).context("the bench says where")?;
    let flags = Flags::parse_from([
        "bench",
        "--log=embedded",
        &format!("--data-dir={folder}"),
        &format!("--log-retention-bytes={}", 64_u64 << 30),
    ]);
    let settings = flags.log.resolve(&flags.topic.partitions, &flags.retention)?;
    Ok((flags, settings))
}

/// As `rollbook serve` makes it, for one organization that stands in no database.
fn intake(key: &WriteKey, (flags, settings): (Flags, LogSettings)) -> anyhow::Result<Server> {
    let log = Log::open(&settings, "nobody")?;
    let exporter = Exporter::install()?;
    tokio::spawn(exporter.upkeep(CancellationToken::new()));
    let acme = Organization {
        id: OrganizationId(Uuid::now_v7()),
        slug: "acme".parse().expect("a slug"),
        schema_name: "org_acme".to_owned(),
        state: State::Active,
        schema_version: 1,
        completion: rollbook::tenant::Completion::default(),
        rate_limit: None,
        origins: Vec::new(),
    };
    let keys = [(key.digest(), acme.id)];
    let directory = Arc::new(Directory::default());
    directory.replace(Snapshot::new([acme], keys, Instant::now()));
    Ok(Server {
        settings: flags.intake.resolve()?,
        drain: DrainSettings { limit: Duration::from_secs(1), pause: Duration::ZERO },
        directory,
        publisher: log.publisher(flags.publish.timeout())?,
        health: Health::new(),
    })
}

/// What hyper takes to read a body and to answer.
async fn bare(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(read_and_answer);
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
    }
}

async fn read_and_answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let _read = body.collect().await;
    let events = head.headers.get(EVENTS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let reply = format!(r#"{{"accepted":{events},"duplicate":0,"rejected":0,"retry":0,"results":[]}}"#);
    Ok(Response::new(Full::new(Bytes::from(reply))))
}
