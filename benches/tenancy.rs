//! Tenancy at size: what thousands of organizations in one Postgres cost.
//!
//! Not a criterion bench: each thing is done once to each of many organizations, in a database of its own that is
//! dropped at the end, and a table is printed. `cargo bench --bench tenancy -- [ORGANIZATIONS]` with
//! `TEST_POSTGRES_URL`, a superuser's URL of a server on this machine (its memory is read from `/proc`).

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rollbook::config::{DatabaseUrl, Operator, Secret};
use rollbook::store::directory::{View, follow};
use rollbook::store::migrate::{Manner, Mode, Outcome, migrate, select};
use rollbook::store::organizations::Described;
use rollbook::store::setup::{LogIdentity, NewGeneration, Plan, setup};
use rollbook::store::{Admin, Installation, TENANT_SCHEMA_VERSION, TenantNames, connect, provision};
use rollbook::tenant::{Directory, Slug};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

/// How many, when the command line does not say.
const ORGANIZATIONS: usize = 2_000;
/// No more are added after this long; the table says how many it came to.
const LONGEST_PROVISIONING: Duration = Duration::from_secs(360);
/// `migrate --jobs`.
const JOBS: NonZeroUsize = NonZeroUsize::new(2).expect("not 0");

fn main() -> Result<()> {
    // `cargo bench` passes `--bench` along.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let wanted =
        wanted.map_or(Ok(ORGANIZATIONS), |number| number.parse()).context("a number of organizations")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let site = Site::new().await?;
        let measured = measure(&site, wanted).await;
        site.clean_up().await?;
        measured
    })
}

async fn measure(site: &Site, wanted: usize) -> Result<()> {
    let mut admin = Admin::connect(&site.admin, operator()).await?;
    let installation = setup(&mut admin, &site.plan()?).await?.installation;
    let version = connect(&site.admin).await?.query_one("SHOW server_version", &[]).await?;
    say("PostgreSQL", version.get::<_, &str>(0));

    let organizations = provisioning(&mut admin, &installation, wanted).await?;
    let count = organizations.len();
    migrations(site, &admin, &installation, count).await?;
    backend_memory(site, &installation, &organizations).await?;
    snapshot(site, count).await
}

/// A line of the table.
#[allow(clippy::print_stdout, reason = "a bench prints what it measured")]
fn say(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<58} {figure}");
}

async fn provisioning(
    admin: &mut Admin,
    installation: &Installation,
    wanted: usize,
) -> Result<Vec<Described>> {
    let (started, mut each, mut organizations) = (Instant::now(), Vec::new(), Vec::new());
    while each.len() < wanted && started.elapsed() < LONGEST_PROVISIONING {
        let slug: Slug = format!("school_{:05}", each.len()).parse()?;
        let began = Instant::now();
        organizations.push(provision::add(admin, installation, &slug, None).await?.organization);
        each.push(began.elapsed());
    }
    say("organizations", each.len());
    say("provisioning, all", seconds(started.elapsed()));
    // Whether it grows with what is there.
    let tenth = (each.len() / 10).max(1);
    for (what, part) in [
        ("the first tenth", &each[..tenth]),
        ("the last tenth", &each[each.len() - tenth..]),
        ("all", &each[..]),
    ] {
        let mut sorted = part.to_vec();
        sorted.sort();
        let mean = part.iter().sum::<Duration>() / u32::try_from(part.len())?;
        let p99 = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
        say(&format!("provisioning each, {what}: mean / p99"), format!("{} / {}", ms(mean), ms(p99)));
    }
    Ok(organizations)
}

async fn migrations(site: &Site, admin: &Admin, installation: &Installation, count: usize) -> Result<()> {
    let manner = |mode| Manner { jobs: JOBS, lock_timeout: Duration::from_secs(2), mode };
    let run = async |mode| -> Result<(Duration, usize)> {
        let all = select(admin, None).await?;
        let started = Instant::now();
        let reports = migrate(&site.admin, &operator(), installation, all, manner(mode), |_| {}).await?;
        let took = started.elapsed();
        if let Some(failed) = reports.iter().find(|report| matches!(report.outcome, Outcome::Failed(_))) {
            anyhow::bail!("{failed:?}");
        }
        let changed = |outcome: &Outcome| matches!(outcome, Outcome::Migrated | Outcome::WouldMigrate);
        Ok((took, reports.iter().filter(|report| changed(&report.outcome)).count()))
    };
    let (took, changed) = run(Mode::DryRun).await?;
    say(&format!("migrate --jobs {JOBS} --dry-run, {changed} of {count} to do"), seconds(took));
    let (took, changed) = run(Mode::Apply).await?;
    say(&format!("migrate --jobs {JOBS}, {changed} of {count} to do"), seconds(took));

    let (client, newest) = (connect(&site.admin).await?, TENANT_SCHEMA_VERSION);
    // One migration behind: the newest is the report's views, which cost more than a column does.
    let step = "DO $$ DECLARE s text; BEGIN \
        FOR s IN SELECT schema_name FROM rollbook.organization ORDER BY slug OFFSET {from} LIMIT 100 LOOP \
            EXECUTE format('DROP VIEW %1$I.report_viewing, %1$I.report_content, %1$I.report_retention, %1$I.report_item, \
                    %1$I.report_option, %1$I.report_answer, %1$I.report_day; \
                DELETE FROM %1$I.refinery_schema_history WHERE version = {newest}', s); \
        END LOOP; END $$";
    for from in (0..count).step_by(100) {
        // In parts: one transaction would need a lock for each view.
        let step = step.replace("{from}", &from.to_string()).replace("{newest}", &newest.to_string());
        client.batch_execute(&step).await?;
    }
    client
        .batch_execute(&format!("UPDATE rollbook.organization SET schema_version = {}", newest - 1))
        .await?;
    let (took, changed) = run(Mode::Apply).await?;
    let each = took / u32::try_from(count)?;
    say(
        &format!("migrate --jobs {JOBS}, {changed} of {count} one version behind"),
        format!("{} ({} each)", seconds(took), ms(each)),
    );
    Ok(())
}

/// One backend of the loader's login that writes to every organization, as a lane does.
async fn backend_memory(site: &Site, installation: &Installation, organizations: &[Described]) -> Result<()> {
    let login = &installation.loader_login;
    // Nothing that the loader has otherwise: the figures come from inside the backend.
    let grant = format!(
        "GRANT USAGE ON SCHEMA pg_catalog TO {login}; GRANT SELECT ON pg_backend_memory_contexts TO {login}; \
         GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts() TO {login}"
    );
    connect(&site.admin).await?.batch_execute(&grant).await?;
    let mut client = connect(&site.loader).await?;
    // The first statements load what every backend has.
    client.batch_execute("SELECT FROM rollbook.organization LIMIT 1").await?;
    let before = memory(&client).await?;
    say("loader backend, fresh", &before);

    // Alone, so that what reading all memberships costs is not lost in the first write.
    for which in ["first", "second"] {
        let took = become_writer(&mut client, installation, &organizations[0]).await?;
        say(&format!("the backend's {which} SET ROLE, of {} memberships", organizations.len()), ms(took));
    }

    let mut rounds = Vec::new();
    for round in 0..2 {
        let (started, mut each) = (Instant::now(), Vec::with_capacity(organizations.len()));
        for organization in organizations {
            let began = Instant::now();
            write_one(&mut client, installation, organization, round).await?;
            each.push(began.elapsed());
        }
        rounds.push(started.elapsed());
        let first = each[0];
        each.sort();
        let (median, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
        let which = if round == 0 { "first touch" } else { "again" };
        say(
            &format!("one event to each, {which}: first / median / p99"),
            format!("{} / {} / {}", ms(first), ms(median), ms(p99)),
        );
        say(&format!("loader backend after that, {which}"), memory(&client).await?);
    }
    let after = memory(&client).await?;
    let each = (after.contexts_bytes - before.contexts_bytes) / i64::try_from(organizations.len())?;
    say("memory contexts, an organization", format!("{} kB", each / 1_000));
    Ok(())
}

/// Takes an organization's role and nothing else; gives the time of that one statement.
async fn become_writer(
    client: &mut Client,
    installation: &Installation,
    organization: &Described,
) -> Result<Duration> {
    let TenantNames { writer, .. } = TenantNames::new(installation, &organization.organization.slug);
    let transaction = client.transaction().await?;
    let began = Instant::now();
    transaction.batch_execute(&format!("SET LOCAL ROLE {writer}")).await?;
    let took = began.elapsed();
    transaction.rollback().await?;
    Ok(took)
}

async fn write_one(
    client: &mut Client,
    installation: &Installation,
    organization: &Described,
    round: i64,
) -> Result<()> {
    let organization = &organization.organization;
    let TenantNames { schema, writer, .. } = TenantNames::new(installation, &organization.slug);
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "SET LOCAL ROLE {writer}; SET LOCAL search_path = ''; \
             SELECT next_offset FROM {schema}.ingest_watermark WHERE generation = 1 AND partition = 0 FOR UPDATE; \
             INSERT INTO {schema}.event (event_id, type, session_id, viewer_id, content_id, occurred_at, \
                 client_occurred_at, received_at) \
             VALUES (gen_random_uuid(), 'video.played', 's', 'v', 'c', now(), now(), now()) ON CONFLICT DO NOTHING; \
             INSERT INTO {schema}.ingest_watermark (generation, partition, organization_id, next_offset, last_record_id) \
             VALUES (1, 0, '{}', {round}, gen_random_uuid()) \
             ON CONFLICT (generation, partition) DO UPDATE SET next_offset = excluded.next_offset",
            organization.id
        ))
        .await?;
    Ok(transaction.commit().await?)
}

/// What a backend holds, by its own account and by the kernel's.
struct Memory {
    contexts_bytes: i64,
    cache_bytes: i64,
    resident_kb: i64,
    anonymous_kb: i64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { contexts_bytes, cache_bytes, resident_kb, anonymous_kb } = self;
        write!(
            f,
            "{:.1} MB in contexts ({:.1} MB of them the cache), VmRSS {:.1} MB (RssAnon {:.1} MB)",
            *contexts_bytes as f64 / 1e6,
            *cache_bytes as f64 / 1e6,
            *resident_kb as f64 / 1e3,
            *anonymous_kb as f64 / 1e3
        )
    }
}

async fn memory(client: &Client) -> Result<Memory> {
    let sql = "SELECT pg_backend_pid(), sum(total_bytes)::bigint, \
                      coalesce(sum(total_bytes) FILTER (WHERE name = 'CacheMemoryContext' OR parent = 'CacheMemoryContext'), 0)::bigint \
               FROM pg_backend_memory_contexts";
    let row = client.query_one(sql, &[]).await?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", row.get::<_, i32>(0)))
        .context("the server is not on this machine")?;
    let of_status = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or_default()
    };
    Ok(Memory {
        contexts_bytes: row.get(1),
        cache_bytes: row.get(2),
        resident_kb: of_status("VmRSS:"),
        anonymous_kb: of_status("RssAnon:"),
    })
}

/// From nothing to a first snapshot, a connection included; and what it takes in this process.
async fn snapshot(site: &Site, count: usize) -> Result<()> {
    for (what, url, view) in [("intake", &site.intake, View::Intake), ("loader", &site.loader, View::Loader)]
    {
        let mut times = Vec::new();
        for _ in 0..10 {
            let (directory, stop) = (Directory::default(), CancellationToken::new());
            let started = Instant::now();
            let first = async {
                while directory.taken_at().is_none() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                let took = started.elapsed();
                stop.cancel();
                took
            };
            times.push(tokio::join!(follow(url, view, &directory, &stop), first).1);
        }
        times.sort();
        say(&format!("first snapshot of {what}, login included: median of 10"), ms(times[5]));
    }
    // Many at once, so that the allocator's own steps do not matter.
    const COPIES: usize = 20;
    let before = own_resident_kb();
    let mut kept = Vec::new();
    for _ in 0..COPIES {
        let (directory, stop) = (Directory::default(), CancellationToken::new());
        let first = async {
            while directory.taken_at().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        };
        tokio::join!(follow(&site.intake, View::Intake, &directory, &stop), first);
        kept.push(directory);
    }
    let each_kb = (own_resident_kb() - before) / i64::try_from(COPIES)?;
    say(
        "a snapshot of intake in memory, about",
        format!("{each_kb} kB ({} bytes an organization)", each_kb * 1024 / i64::try_from(count)?),
    );
    Ok(())
}

fn own_resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn operator() -> Operator {
    Operator { os_user: None }
}

/// A database, a role prefix and logins of the bench's own.
struct Site {
    server: DatabaseUrl,
    database: String,
    prefix: String,
    admin: DatabaseUrl,
    intake: DatabaseUrl,
    loader: DatabaseUrl,
}

impl Site {
    async fn new() -> Result<Self> {
        let written =
            std::env::var("TEST_POSTGRES_URL").context("TEST_POSTGRES_URL is not set: run ./dev bench")?;
        let server = parsed(&written)?;
        let prefix = format!("b{:05x}_", rand::random_range(0..0x10_0000));
        let database = format!("rollbook_bench_{prefix}");
        connect(&server)
            .await?
            .batch_execute(&format!("CREATE DATABASE {database} TEMPLATE template0"))
            .await?;
        let (base, _) = written.rsplit_once('/').context("a URL with a database")?;
        let (_, address) = base.rsplit_once('@').context("a URL with a password")?;
        let login = |name: &str| parsed(&format!("postgres://{prefix}{name}:{name}@{address}/{database}"));
        Ok(Self {
            admin: parsed(&format!("{base}/{database}"))?,
            intake: login("intake")?,
            loader: login("loader")?,
            server,
            database,
            prefix,
        })
    }

    fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            intake: self.intake.clone(),
            loader: self.loader.clone(),
            prefix: Some(self.prefix.parse().map_err(anyhow::Error::msg)?),
            log: LogIdentity { kind: "kafka", name: "rollbook.events".to_owned() },
            new_generation: NewGeneration::Keep,
        })
    }

    async fn clean_up(&self) -> Result<()> {
        let client = connect(&self.server).await?;
        client.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await?;
        let sql = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1)";
        let roles: Vec<String> =
            client.query(sql, &[&self.prefix]).await?.iter().map(|row| row.get(0)).collect();
        for some in roles.chunks(500) {
            client.batch_execute(&format!("DROP ROLE {}", some.join(", "))).await?;
        }
        Ok(())
    }
}

fn parsed(url: &str) -> Result<DatabaseUrl> {
    let secret: Secret = url.parse().expect("a secret takes every text");
    Ok(DatabaseUrl::parse(&secret)?)
}
