//! What the demo stands on: a folder, a PostgreSQL, a log, a `rollbook serve`. Nothing of it is left when it ends.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ground::{self, Cleared, Ground};
use super::part::Part;
use super::postgres::{self, Cluster, NoPostgres, end_of, free_port, parsed};
use crate::cli::failure::Failure;
use crate::config::log::{EmbeddedSettings, KafkaSettings, LogSettings};
use crate::config::{DatabaseUrl, Operator};
use crate::log::{self, Readable};
use crate::ops::chain;
use crate::store::setup::{self, LogIdentity, NewGeneration, Plan};
use crate::store::{Admin, Installation, provision};
use crate::tenant::{Organization, Slug, WriteKey};

/// The schools of the demo, the busiest first.
pub(super) const SCHOOLS: [&str; 3] = ["maple_school", "river_college", "harbor_academy"];
/// The embedded log may take this much of the disk.
const LOG_BYTES: u64 = 256 * 1024 * 1024;
const PARTITIONS: i32 = 12;
/// How long the service may take until it takes batches and loads them.
const READY: Duration = Duration::from_secs(30);
/// Longer than a drain takes.
const STOP: Duration = Duration::from_secs(75);
const SERVE_LOG: &str = "serve.log";
/// How the settings of a service begin. What it sends to a collector is a setting, too.
const SETTINGS: [&str; 2] = ["ROLLBOOK_", "OTEL_"];
const STOP_DRAIN_SECONDS: &str = "10";

/// A school, with what its players send.
#[derive(Debug)]
pub(super) struct School {
    pub(super) organization: Organization,
    pub(super) key: WriteKey,
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) schools: Vec<School>,
    pub(super) intake: SocketAddr,
    pub(super) operator: SocketAddr,
    pub(super) admin_url: DatabaseUrl,
    pub(super) log: LogSettings,
    group: String,
    service: Part,
    cluster: Cluster,
    folder: Ground,
}

/// What the demo was asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) postgres_bin: Option<PathBuf>,
    /// The brokers and properties to use instead of a log of our own.
    pub(super) kafka: Option<KafkaSettings>,
}

impl From<NoPostgres> for Failure {
    fn from(error: NoPostgres) -> Self {
        let code = match error {
            NoPostgres::NotFound | NoPostgres::NotThere(_) => "no_postgres",
            _ => "postgres_not_started",
        };
        Self::new(code, chain(&error))
    }
}

fn not_started(doing: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new("demo_not_started", format!("cannot {doing}: {error}"))
}

impl Site {
    /// Starts everything, and says what it does. Whether it fails or is stopped half-way, nothing of it is left.
    pub(super) async fn start(
        wanted: Wanted,
        stop: &CancellationToken,
        say: impl Fn(&str),
    ) -> Result<Self, Failure> {
        let bin = postgres::find(wanted.postgres_bin.as_deref())?;
        for Cleared { folder, removed } in
            tokio::task::spawn_blocking(ground::clear).await.unwrap_or_default()
        {
            let folder = folder.display();
            match removed {
                Ok(()) => say(&format!("removed {folder}, which a demo left that was killed")),
                Err(error) => say(&format!("{folder}, which a demo left that was killed, stays: {error}")),
            }
        }
        let folder = Ground::make().map_err(not_started("make a folder"))?;
        let id = Uuid::now_v7().simple().to_string();
        let log = match wanted.kafka {
            Some(kafka) => {
                LogSettings::Kafka(KafkaSettings { topic: format!("rollbook.demo.{id}"), ..kafka })
            }
            None => LogSettings::Embedded(EmbeddedSettings {
                folder: folder.path().join("log"),
                partitions: PARTITIONS.unsigned_abs(),
                retention_bytes: LOG_BYTES,
            }),
        };
        let group = format!("rollbook-demo-{id}");
        let has_topic = AtomicBool::new(false);
        let building = Self::build(&bin, folder, log.clone(), group, &has_topic, say);
        let failed = match stop.run_until_cancelled(building).await {
            Some(Ok(site)) => return Ok(site),
            Some(Err(failed)) => failed,
            None => Failure::new("interrupted", "stopped while it was starting; nothing is left behind"),
        };
        if has_topic.into_inner() {
            remove(&log).await?;
        }
        Err(failed)
    }

    async fn build(
        bin: &Path,
        folder: Ground,
        log: LogSettings,
        group: String,
        has_topic: &AtomicBool,
        say: impl Fn(&str),
    ) -> Result<Self, Failure> {
        say(&format!("PostgreSQL from {} in {}", bin.display(), folder.path().display()));
        let own = folder.path().join("postgres");
        fs::create_dir(&own).map_err(not_started("make a folder"))?;
        let cluster = Cluster::start(bin, &own).await?;
        say("roles, schemas and three schools");
        let urls = Urls::new(&cluster);
        has_topic.store(true, Ordering::Relaxed);
        let topic = crate::config::log::TopicArgs::with_partitions(PARTITIONS);
        if let Err(error) = log::ensure(&log, &topic).await {
            has_topic.store(false, Ordering::Relaxed);
            return Err(Failure::new("log_unavailable", chain(&error)));
        }
        let (admin_url, schools) = set_up(&urls, &log).await?;
        let port = || free_port().map_err(not_started("find a free port"));
        let (intake, operator) = (
            SocketAddr::from((Ipv4Addr::LOCALHOST, port()?)),
            SocketAddr::from((Ipv4Addr::LOCALHOST, port()?)),
        );
        say(&format!("rollbook serve: intake on {intake}, metrics on {operator}"));
        let service = serve(folder.path(), &urls, &log, &group, intake, operator)?;
        let mut site = Self { schools, intake, operator, admin_url, log, group, service, cluster, folder };
        site.is_ready().await?;
        Ok(site)
    }

    /// What players send with.
    pub(super) fn keys(&self) -> Vec<(Slug, WriteKey)> {
        self.schools.iter().map(|one| (one.organization.slug.clone(), one.key.clone())).collect()
    }

    /// For the audit.
    pub(super) fn readable(&self) -> Result<Readable, Failure> {
        Readable::of(&self.log, &self.group, self.operator)
            .map_err(|error| Failure::new("log_unavailable", chain(&error)))
    }

    /// Waits until the service loads: intake is ready before.
    async fn is_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY;
        loop {
            let ready = super::observe::get(self.operator, "/readyz").await.unwrap_or_default();
            if ready.contains(r#""intake":{"ready":true}"#) && ready.contains(r#""loader":{"ready":true}"#) {
                return Ok(());
            }
            if self.service.has_ended() || Instant::now() > deadline {
                let said = end_of(&self.folder.path().join(SERVE_LOG));
                return Err(Failure::new(
                    "service_not_started",
                    format!("rollbook serve is not ready: {said}"),
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails if a part of it has ended by itself, with what that part said last: its log goes with the folder.
    pub(super) fn still_runs(&mut self) -> Result<(), Failure> {
        let (code, program, log) = if self.cluster.has_ended() {
            ("postgres_failed", "PostgreSQL", "postgres/postgres.log")
        } else if self.service.has_ended() {
            ("service_failed", "rollbook serve", SERVE_LOG)
        } else {
            return Ok(());
        };
        let said = end_of(&self.folder.path().join(log));
        Err(Failure::new(code, format!("{program} ended by itself: {said}")))
    }

    /// Ends everything, in order, and removes it.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        // In this order, so that they are dropped in the right one: the folder last.
        let Self { folder, log, cluster, service, .. } = self;
        let ended = service.stop(STOP).await;
        cluster.stop().await;
        clear_away(&log, folder).await?;
        match ended {
            Some(status) if status.success() => Ok(()),
            _ => Err(Failure::new("service_failed", "rollbook serve did not end as it should")),
        }
    }

    /// Ends everything without its order, and removes it.
    pub(super) async fn end_at_once(self) -> Result<(), Failure> {
        let Self { folder, log, cluster, service, .. } = self;
        drop((service, cluster));
        clear_away(&log, folder).await
    }
}

async fn clear_away(log: &LogSettings, folder: Ground) -> Result<(), Failure> {
    remove(log).await?;
    folder.close().map_err(|error| Failure::new("folder_left_behind", error.to_string()))
}

async fn remove(log: &LogSettings) -> Result<(), Failure> {
    log::remove(log).await.map_err(|error| {
        let message = format!("the demo's topic could not be removed: {}", chain(&error));
        Failure::new("topic_left_behind", message)
    })
}

/// The three logins, as text for the service and read for us.
struct Urls {
    admin: String,
    intake: String,
    loader: String,
}

impl Urls {
    fn new(cluster: &Cluster) -> Self {
        let login = |name| cluster.url(name, &Uuid::new_v4().simple().to_string());
        Self {
            admin: cluster.url("rollbook", cluster.password()),
            intake: login("rollbook_intake"),
            loader: login("rollbook_loader"),
        }
    }
}

async fn set_up(urls: &Urls, settings: &LogSettings) -> Result<(DatabaseUrl, Vec<School>), Failure> {
    let admin_url = parsed(&urls.admin);
    let (kind, name) = settings.identity();
    let plan = Plan {
        intake: parsed(&urls.intake),
        loader: parsed(&urls.loader),
        prefix: None,
        log: LogIdentity { kind, name: name.to_owned() },
        new_generation: NewGeneration::Keep,
    };
    let mut admin = Admin::connect(&admin_url, Operator::from_environment()).await?;
    setup::setup(&mut admin, &plan).await?;
    let installation = Installation::load(&admin, None).await?;
    let mut schools = Vec::new();
    for slug in SCHOOLS {
        let slug: Slug = slug.parse().expect("a slug");
        let made = provision::add(&mut admin, &installation, &slug, None).await?;
        schools.push(School { organization: made.organization.organization, key: made.key.key });
    }
    Ok((admin_url, schools))
}

/// This very program, as a process of its own, that knows nothing of the settings in our environment.
fn serve(
    folder: &Path,
    urls: &Urls,
    log: &LogSettings,
    group: &str,
    intake: SocketAddr,
    operator: SocketAddr,
) -> Result<Part, Failure> {
    let program = std::env::current_exe().map_err(not_started("find this program"))?;
    let said = fs::File::create(folder.join(SERVE_LOG)).map_err(not_started("write a log"))?;
    let mut command = Part::command(&program, "TERM");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| SETTINGS.iter().any(|ours| name.starts_with(ours))) {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        // So it is found by who clears up after us, should it outlive us.
        .current_dir(folder)
        .env("ROLLBOOK_ADMIN_DATABASE_URL", &urls.admin)
        .env("ROLLBOOK_INTAKE_DATABASE_URL", &urls.intake)
        .env("ROLLBOOK_LOADER_DATABASE_URL", &urls.loader)
        .env("ROLLBOOK_HTTP_ADDR", intake.to_string())
        .env("ROLLBOOK_ADMIN_ADDR", operator.to_string())
        .env("ROLLBOOK_DRAIN_SECONDS", STOP_DRAIN_SECONDS)
        .env("ROLLBOOK_REPORT_PERIOD_SECONDS", "1")
        .env("RUST_LOG", "info")
        .stdout(Stdio::null())
        .stderr(said);
    match log {
        LogSettings::Embedded(settings) => command
            .env("ROLLBOOK_LOG", "embedded")
            .env("ROLLBOOK_DATA_DIR", &settings.folder)
            .env("ROLLBOOK_LOG_PARTITIONS", settings.partitions.to_string())
            .env("ROLLBOOK_LOG_RETENTION_BYTES", settings.retention_bytes.to_string()),
        LogSettings::Kafka(settings) => command
            .env("ROLLBOOK_LOG", "kafka")
            .env("ROLLBOOK_KAFKA_BROKERS", &settings.brokers)
            .env("ROLLBOOK_KAFKA_TOPIC", &settings.topic)
            .env("ROLLBOOK_KAFKA_GROUP", group)
            .env("ROLLBOOK_KAFKA_PROPERTIES", settings.written_properties()),
    };
    Part::start(&mut command, Signal::KILL).map_err(not_started("start rollbook serve"))
}
