//! Wires the rooms together and runs them until told to stop.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::logins::{self, Checked, Login, Rights};
use super::{IntakeRole, LoaderRole, ReporterRole, Settings, spans};
use crate::cli::Failure;
use crate::config::ConfigError;
use crate::intake;
use crate::loader::{self, Condition, Heartbeats};
use crate::log::{ConsumerSettings, Log};
use crate::ops::admin::{Admin, Pages};
use crate::ops::metrics::Exporter;
use crate::ops::{Health, Role, descriptors, signals, supervise};
use crate::report;
use crate::store::directory::{View, follow};
use crate::store::{Pool, PoolSettings};
use crate::tenant::Directory;

/// What flushing and closing may take after the last request is finished.
const CLOSE_GRACE: Duration = Duration::from_secs(45);
/// What of it flushing may take: all that is waited for has been answered, and the loader is to have its time.
const FLUSH_GRACE: Duration = Duration::from_secs(10);
/// What the log took last reaches a loader of the same process within this, most of the time; otherwise after the next start.
const HAND_OVER: Duration = Duration::from_millis(250);
/// A loader's connection is closed after so long: backends remember every table that they touched.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long a new connection may take, or one that others have: longer than a statement may, and then Postgres is away.
const CONNECTION_WAIT: Duration = Duration::from_secs(12);
/// Bytes of records that the consumer may have handed over and the loader has not yet taken.
const HANDED_OVER_BYTES: usize = 16 * 1024 * 1024;
/// The loader's receive loop turns every second; a rebalance waits for open transactions.
const LOADER_SILENCE: Duration = Duration::from_secs(60);
/// Of its quick side, which beats with each of its turns, there is always one that ends sooner.
const REPORTER_SILENCE: Duration = Duration::from_secs(900);

type Parts = JoinSet<anyhow::Result<()>>;

/// When what ends. The process is unready from the first moment; what follows in the order of an event's walk, so that what
/// intake took last is still loaded.
#[derive(Clone)]
struct Ends {
    /// Told to end, or a part has failed.
    stop: CancellationToken,
    /// Intake has nothing more for the log.
    intake: CancellationToken,
}

impl Ends {
    fn new(stop: CancellationToken, has_intake: bool) -> Self {
        let intake = if has_intake { CancellationToken::new() } else { stop.clone() };
        Self { stop, intake }
    }
}

/// Runs the service until a signal, or until a part of it fails.
pub(super) async fn run(mut settings: Settings) -> Result<(), Failure> {
    limit_connections(&mut settings);
    let stop = CancellationToken::new();
    // Before anything that may take a while: whoever starts a service may want it to end again.
    signals::stop_on_signal(stop.clone())
        .map_err(|error| Failure::new("service_failed", format!("listening for signals: {error}")))?;
    let checked = stop.run_until_cancelled(refuse_unfit_logins(&settings)).await;
    let Some(unchecked) = checked.transpose()? else { return Ok(()) };
    spans::start(settings.spans.take());
    let served = serve(settings, unchecked, stop).await;
    spans::finish().await;
    served.map_err(|error| match error.downcast::<ConfigError>() {
        Ok(config) => config.into(),
        Err(error) => Failure::new("service_failed", format!("{error:#}")),
    })
}

/// Gives back the logins that Postgres, being away, says nothing about yet.
async fn refuse_unfit_logins(settings: &Settings) -> Result<Vec<Login>, ConfigError> {
    let rights = if settings.allow_privileged_login { Rights::Any } else { Rights::Needed };
    if rights == Rights::Any {
        tracing::warn!(
            "logins are not checked for their rights: the second fence between organizations is down"
        );
    }
    let intake = settings.intake.as_ref().map(|intake| logins::Role::Intake(intake.database.clone()));
    let of_loader = settings.loader.as_ref().map(|loader| &loader.database);
    let of_loader = of_loader.or(settings.reporter.as_ref().map(|reporter| &reporter.database));
    let loader = of_loader.map(|database| logins::Role::Loader(database.clone(), settings.prefix.clone()));
    let logins: Vec<Login> = intake.into_iter().chain(loader).map(|role| Login { role, rights }).collect();
    let checked = join_all(logins.iter().map(Login::check)).await;
    let mut unchecked = Vec::new();
    for (login, checked) in logins.into_iter().zip(checked) {
        match checked {
            Checked::Fitting => {}
            Checked::Refused(error) => return Err(error),
            Checked::Unanswered(reason) => {
                tracing::warn!(reason, "a login's rights could not be checked yet");
                unchecked.push(login);
            }
        }
    }
    Ok(unchecked)
}

/// Lets in no more clients than the system has descriptors for, and says so once.
fn limit_connections(settings: &mut Settings) {
    let limit = descriptors::raise_limit();
    let writers = settings.loader.as_ref().map_or(0, |loader| loader.settings.connections.get());
    let Some(intake) = &mut settings.intake else { return };
    let wanted = intake.settings.connections;
    intake.settings.connections = descriptors::connections_that_fit(wanted, limit, writers);
    if intake.settings.connections < wanted {
        tracing::warn!(
            ROLLBOOK_HTTP_CONNECTIONS = wanted,
            let_in = intake.settings.connections,
            descriptors = limit,
            "the system gives too few file descriptors (`ulimit -n`, LimitNOFILE) for so many connections: fewer are let in"
        );
    }
}

async fn serve(settings: Settings, unchecked: Vec<Login>, stop: CancellationToken) -> anyhow::Result<()> {
    let health = Health::new();
    let mut exporter = Exporter::install().context("installing the metrics recorder")?;
    let mut parts = Parts::new();
    for login in unchecked {
        parts.spawn(login.check_until_answered(stop.clone()));
    }
    let ends = Ends::new(stop.clone(), settings.intake.is_some());
    parts.spawn({
        let (stop, health) = (stop.clone(), health.clone());
        async move {
            stop.cancelled().await;
            health.start_drain();
            Ok(())
        }
    });
    let log = open_log(&settings).await?;
    let admin_listener = bind(settings.ops.admin.admin_addr).await?;
    let admin_addr = admin_listener.local_addr().context("asking for the operator's address")?;
    let grace = settings.drain.limit + CLOSE_GRACE;
    if let (Some(intake), Some(log)) = (&settings.intake, &log) {
        let directory = Arc::new(Directory::default());
        exporter = exporter.with_snapshot_age(Arc::clone(&directory));
        start_intake(&settings, intake, log, directory, &health, &ends, &mut parts).await?;
    }
    // Loader and reporter log in as the same, and see the same.
    let organizations = Arc::new(Directory::default());
    let follower = settings.loader.as_ref().map(|loader| &loader.database);
    if let Some(database) = follower.or(settings.reporter.as_ref().map(|reporter| &reporter.database)) {
        let directory = Arc::clone(&organizations);
        parts.spawn(follow_until(database.clone(), View::Loader, directory, ends.intake.clone()));
        if settings.intake.is_none() {
            exporter = exporter.with_snapshot_age(Arc::clone(&organizations));
        }
    }
    if let (Some(loader), Some(log)) = (&settings.loader, &log) {
        start_loader(&settings, loader, log, Arc::clone(&organizations), &health, &ends, &mut parts)?;
    }
    if let Some(reporter) = &settings.reporter {
        start_reporter(&settings, reporter, organizations, &health, &ends, &mut parts)?;
    }
    let upkeep = exporter.clone().upkeep(stop.clone());
    parts.spawn(async {
        upkeep.await;
        Ok(())
    });

    // The operator's listener outlives the drain, so that it can be watched.
    let drained = CancellationToken::new();
    let exporter = exporter.with_readiness(health.clone());
    let admin = Admin { exporter, health, pages: log.as_ref().and_then(pages_of) };
    let admin = tokio::spawn(admin.run(admin_listener, drained.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %admin_addr, "serving");
    let outcome = supervise(parts, stop, grace).await;
    drained.cancel();
    let _ = admin.await;
    if let Some(log) = log {
        let _closed = tokio::task::spawn_blocking(move || log.close()).await;
    }
    tracing::info!("stopped");
    outcome
}

/// A log of our own is read through before anything else begins.
async fn open_log(settings: &Settings) -> anyhow::Result<Option<Log>> {
    let (Some(log), group) = (settings.log.clone(), settings.group.clone()) else { return Ok(None) };
    let opening = tokio::task::spawn_blocking(move || Log::open(&log, &group)).await;
    Ok(Some(opening.context("opening the log")??))
}

/// What the operator's listener tells of the log, where nobody else can look at it.
fn pages_of(log: &Log) -> Option<Pages> {
    let pages = log.pages()?;
    Some(Arc::new(move |uri: &hyper::Uri| pages.answer(uri)))
}

async fn start_intake(
    settings: &Settings,
    role: &IntakeRole,
    log: &Log,
    directory: Arc<Directory>,
    health: &Health,
    ends: &Ends,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let listener = bind(role.http_addr).await?;
    tracing::info!(http_addr = %listener.local_addr()?, "intake is listening");
    let publisher = log.publisher(role.publish.timeout()).context("making the log's producer")?;
    let ended = ends.intake.clone();
    parts.spawn(follow_until(role.database.clone(), View::Intake, Arc::clone(&directory), ended.clone()));
    let probe = publisher.clone().probe(ended.clone());
    parts.spawn(async {
        probe.await;
        Ok(())
    });
    let server = intake::Server {
        settings: role.settings.clone(),
        drain: settings.drain,
        directory,
        publisher: publisher.clone(),
        health: health.clone(),
    };
    let (stop, flush_timeout) = (ends.stop.clone(), role.publish.timeout().min(FLUSH_GRACE));
    let hand_over = settings.loader.as_ref().map_or(Duration::ZERO, |_| HAND_OVER);
    parts.spawn(async move {
        // However it ends.
        let _ended = ended.drop_guard();
        let served = server.run(listener, stop).await;
        tokio::task::spawn_blocking(move || publisher.flush(flush_timeout))
            .await
            .context("flushing the producer")?;
        tokio::time::sleep(hand_over).await;
        served
    });
    Ok(())
}

fn start_loader(
    settings: &Settings,
    role: &LoaderRole,
    log: &Log,
    directory: Arc<Directory>,
    health: &Health,
    ends: &Ends,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let pool = Pool::new(
        &role.database,
        PoolSettings {
            connections: role.settings.most_connections(),
            max_lifetime: CONNECTION_LIFETIME,
            wait: CONNECTION_WAIT,
        },
    )?;
    let condition = Arc::new(Condition::default());
    health.answer_for(Role::Loader, {
        let (condition, directory) = (Arc::clone(&condition), Arc::clone(&directory));
        move || condition.trouble(&directory).map_or(Ok(()), |trouble| Err(Cow::Owned(trouble)))
    });
    let loader = loader::Parts {
        settings: role.settings.clone(),
        log: log.clone(),
        consumer: ConsumerSettings { consume: role.consume.clone(), budget_bytes: HANDED_OVER_BYTES },
        pool,
        directory,
        roles: settings.prefix.clone(),
        condition,
        heartbeats: Heartbeats {
            turns: health.watch("loader", LOADER_SILENCE),
            moves: health.watch("partitions", role.settings.stuck_after),
        },
    };
    parts.spawn(loader::run(loader, ends.intake.clone()));
    Ok(())
}

fn start_reporter(
    settings: &Settings,
    role: &ReporterRole,
    directory: Arc<Directory>,
    health: &Health,
    ends: &Ends,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let connections = std::num::NonZeroU32::new(report::TURNS).context("the reporter needs a connection")?;
    let pool = Pool::new(
        &role.database,
        PoolSettings { connections, max_lifetime: CONNECTION_LIFETIME, wait: CONNECTION_WAIT },
    )?;
    let condition = Arc::new(report::Condition::default());
    health.answer_for(Role::Reporter, {
        let (condition, directory) = (Arc::clone(&condition), Arc::clone(&directory));
        move || condition.trouble(&directory).map_or(Ok(()), |trouble| Err(Cow::Owned(trouble)))
    });
    let reporter = report::Parts {
        pool,
        directory,
        roles: settings.prefix.clone(),
        period: role.period,
        condition,
        heartbeat: health.watch("reporter", REPORTER_SILENCE),
    };
    let stop = ends.stop.clone();
    parts.spawn(async move {
        report::run(reporter, stop).await;
        Ok(())
    });
    Ok(())
}

async fn follow_until(
    database: crate::config::DatabaseUrl,
    view: View,
    directory: Arc<Directory>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    follow(&database, view, &directory, &stop).await;
    Ok(())
}

async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("listening on {addr}"))
}
