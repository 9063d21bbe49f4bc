//! What it costs to keep reports: the loader with and without a reporter beside it, a rebuild, and how far reports lag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rollbook::ops::Health;
use rollbook::report::{Condition, Parts, Reports, TURNS, rebuild, run};
use rollbook::store::{Pool, PoolSettings};
use rollbook::tenant::{Directory, Snapshot};
use tokio_util::sync::CancellationToken;

use crate::loading::{Kind, Watched, batches, load, reports};
use crate::process::float;
use crate::report::{Section, median};
use crate::site::BenchSite;

const EVENTS: usize = 400_000;
const ROUNDS: usize = 3;
/// Between two turns while all is loaded as fast as it goes: what is new by then is as much as in ten seconds of everyday.
const PAUSE: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(10);
const LAG_SECONDS: usize = 35;
/// Half of what one connection loads.
const HALF_RATE: usize = 40_000;
/// The least that any report could do: reads the same events and counts what was watched, for each viewer and content.
const LIMIT: &str = "SELECT count(*), max(watched) FROM ( \
     SELECT viewer_id, content_id, count(*) AS events, sum(upper(watched[1]) - lower(watched[1])) AS watched, max(occurred_at) \
     FROM {schema}.event GROUP BY viewer_id, content_id) AS viewings";

#[derive(Clone, Copy, Debug, Default)]
struct Pass {
    rate: f64,
    loader_cpu: f64,
    reporter_cpu: f64,
    rebuild_rate: f64,
    rebuild_cpu: f64,
    limit_rate: f64,
}

/// The loader's rate and the server's CPU with a reporter and without, and then a rebuild of the same.
pub(crate) async fn costs(section: &mut Section) -> Result<()> {
    section.line(&format!(
        "Keeping them: {EVENTS} events in batches of 10 000 over one connection, alone and with a reporter that has a turn a second; \
         then a rebuild, beside one statement that reads the same events and only counts them by viewer and content. Medians of \
         {ROUNDS}. Targets: at most 10 % more CPU for watch events, 15 % in all; a rebuild of 300 000 events/s."
    ));
    section.line("");
    section.head(&[
        "events",
        "loaded/s alone",
        "with reporter",
        "CPU s/M alone",
        "loader's with",
        "reporter's",
        "more CPU",
        "rebuilt/s",
        "CPU s/M",
        "of the statement",
    ]);
    for (kind, name) in [(Kind::Watch, "watch"), (Kind::Mixed, "mixed")] {
        let (mut alone, mut both) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(pass(kind, false).await?);
            both.push(pass(kind, true).await?);
        }
        let of = |passes: &[Pass], figure: fn(&Pass) -> f64| median(passes.iter().map(figure).collect());
        let before = of(&alone, |pass| pass.loader_cpu);
        let after = of(&both, |pass| pass.loader_cpu + pass.reporter_cpu);
        section.row(&[
            name.to_owned(),
            format!("{:.0}", of(&alone, |pass| pass.rate)),
            format!("{:.0}", of(&both, |pass| pass.rate)),
            format!("{before:.2}"),
            format!("{:.2}", of(&both, |pass| pass.loader_cpu)),
            format!("{:.2}", of(&both, |pass| pass.reporter_cpu)),
            format!("{:.0} %", 100.0 * (after / before - 1.0)),
            format!("{:.0}", of(&both, |pass| pass.rebuild_rate)),
            format!("{:.2}", of(&both, |pass| pass.rebuild_cpu)),
            format!("{:.2}", of(&both, |pass| pass.rebuild_rate / pass.limit_rate)),
        ]);
    }
    section.line("");
    Ok(())
}

async fn pass(kind: Kind, with_reporter: bool) -> Result<Pass> {
    let site = BenchSite::with(1).await;
    let organization = &site.organizations[0];
    let reports = reports(&site, organization);
    let million = float(EVENTS) / 1e6;
    let all = batches(organization, kind, EVENTS);
    let mut loader = Watched::connect(&site).await?;
    let mut writer = site.writer(organization);
    let mut pass = Pass::default();
    let is_loaded = CancellationToken::new();
    let reporter = Watched::connect(&site).await?;
    let loading = async {
        let seconds = load(&mut loader.client, &mut writer, organization, all, None).await?;
        is_loaded.cancel();
        anyhow::Ok(seconds)
    };
    let keeping = async {
        if with_reporter {
            while is_loaded.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
                while reports.turn(&reporter.client).await?.has_more {}
            }
            while reports.turn(&reporter.client).await?.has_more {}
        }
        anyhow::Ok(())
    };
    let (seconds, kept) = tokio::join!(loading, keeping);
    kept?;
    pass.rate = float(EVENTS) / seconds?;
    pass.loader_cpu = loader.cpu()? / million;
    pass.reporter_cpu = reporter.cpu()? / million;
    if with_reporter {
        (pass.rebuild_rate, pass.rebuild_cpu) = rebuilt(&site, &reports, EVENTS).await?;
        let limit = LIMIT.replace("{schema}", &organization.schema_name);
        let client = site.connect().await;
        client
            .batch_execute("SET jit = off; SET max_parallel_workers_per_gather = 0; SET enable_sort = off")
            .await?;
        client.query(&limit, &[]).await?;
        let started = Instant::now();
        client.query(&limit, &[]).await?;
        pass.limit_rate = float(EVENTS) / started.elapsed().as_secs_f64();
    }
    site.drop_database().await;
    Ok(pass)
}

/// Rebuilds, and gives events a second and the server's CPU for a million.
pub(crate) async fn rebuilt(site: &BenchSite, reports: &Reports, events: usize) -> Result<(f64, f64)> {
    let builder = Watched::connect(site).await?;
    let started = Instant::now();
    rebuild(&builder.client, reports, |_| {}).await?;
    Ok((float(events) / started.elapsed().as_secs_f64(), builder.cpu()? / (float(events) / 1e6)))
}

/// How old reports become at half of the load that one connection takes, kept by the role itself.
pub(crate) async fn lag(section: &mut Section) -> Result<()> {
    let site = BenchSite::with(1).await;
    let organization = &site.organizations[0];
    let all = batches(organization, Kind::Mixed, HALF_RATE * LAG_SECONDS);
    let directory = Arc::new(Directory::default());
    directory.replace(Snapshot::new([organization.clone()], [], Instant::now()));
    let connections = TURNS.try_into()?;
    let settings =
        PoolSettings { connections, max_lifetime: Duration::from_secs(600), wait: Duration::from_secs(10) };
    let parts = Parts {
        pool: Pool::new(&site.url, settings)?,
        directory,
        roles: site.prefix.clone(),
        period: PERIOD,
        condition: Arc::new(Condition::default()),
        heartbeat: Health::default().watch("reporter", Duration::from_secs(60)),
    };
    let stop = CancellationToken::new();
    let reporter = tokio::spawn(run(parts, stop.clone()));
    let (mut client, observer) = (site.connect().await, site.connect().await);
    let mut writer = site.writer(organization);
    let is_loaded = CancellationToken::new();
    let loading = async {
        let rate = Some(float(HALF_RATE));
        let seconds = load(&mut client, &mut writer, organization, all, rate).await?;
        is_loaded.cancel();
        anyhow::Ok(seconds)
    };
    let observing = async {
        let age = format!(
            "SELECT extract(epoch FROM clock_timestamp() - taken_until)::float8 FROM {}.report_state",
            organization.schema_name
        );
        let mut oldest: f64 = 0.0;
        while is_loaded.run_until_cancelled(tokio::time::sleep(Duration::from_millis(100))).await.is_some() {
            oldest = oldest.max(observer.query_one(&age, &[]).await?.get(0));
        }
        anyhow::Ok(oldest)
    };
    let (seconds, oldest) = tokio::join!(loading, observing);
    stop.cancel();
    reporter.await?;
    section.line(&format!(
        "Lag: at {:.0} events/s for {LAG_SECONDS} s, with the role's period of {} s, reports were at most **{:.1} s** old \
         (target: the period and 5 s).",
        float(HALF_RATE * LAG_SECONDS) / seconds?,
        PERIOD.as_secs(),
        oldest?
    ));
    section.line("");
    site.drop_database().await;
    Ok(())
}
