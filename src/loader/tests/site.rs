//! A database with organizations, dropped at the end of its test however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use super::super::Shared;
use super::super::lane::Expected;
use super::super::position::{Position, Watermark};
use super::super::server::ServerIdentity;
use super::super::writer::{Fates, FlushError, Flushed, Prepared, Source, Statements, Way, flush};
use super::driver::Driver;
use crate::config::loader::{LoaderSettings, TransactionLimits};
use crate::config::{DatabaseUrl, Operator, Secret};
use crate::log::LogRecord;
use crate::log::record::RecordView;
use crate::store::setup::{LogIdentity, NewGeneration, Plan, setup};
use crate::store::{Admin, Installation, Pool, PoolSettings, connect, provision, removal};
use crate::tenant::{
    Directory, Organization, OrganizationId, RecordOwner, RolePrefix, Slug, Snapshot, State, Tenant,
};

/// Names the server; its login is a superuser.
const SERVER: &str = "TEST_POSTGRES_URL";

/// Where every test works in the log.
pub(super) const POSITION: Position = Position { generation: 1, partition: 3 };

/// A database of one test's own.
pub(super) struct Site {
    server: Config,
    address: String,
    database: String,
    pub(super) prefix: RolePrefix,
    installation: Installation,
    organizations: Vec<Organization>,
    identity: Option<ServerIdentity>,
}

impl Site {
    /// A site with these organizations.
    pub(super) async fn with(slugs: &[&str]) -> Self {
        let server: Config = std::env::var(SERVER)
            .unwrap_or_else(|_| panic!("{SERVER} is not set: run ./dev test"))
            .parse()
            .unwrap_or_else(|error| panic!("{SERVER}: {error}"));
        let host = match server.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host)] => host.clone(),
            _ => panic!("{SERVER} names one host"),
        };
        let address = format!("{host}:{}", server.get_ports().first().expect("a port"));
        let prefix = format!("u{:05x}_", rand::random_range(0..0x10_0000));
        let database = format!("rollbook_test_{prefix}");
        // Several tests may copy template1 at once only while nobody is connected to it; nobody ever is to template0.
        let create = format!("CREATE DATABASE {database} TEMPLATE template0");
        session(&server).await.batch_execute(&create).await.expect("a database of one's own");

        let prefix: RolePrefix = prefix.parse().expect("a prefix");
        let installation = Installation {
            intake_login: format!("{}intake", prefix.as_str()),
            loader_login: format!("{}loader", prefix.as_str()),
            prefix: prefix.clone(),
        };
        // From here on the site is dropped also when something below fails.
        let organizations = Vec::new();
        let mut site =
            Self { server, address, database, prefix, installation, organizations, identity: None };
        let plan = Plan {
            intake: site.url(&site.installation.intake_login, "intake"),
            loader: site.loader_url(),
            prefix: Some(site.prefix.clone()),
            log: LogIdentity { kind: "kafka", name: "rollbook.events".to_owned() },
            new_generation: NewGeneration::Keep,
        };
        let mut admin = site.admin().await;
        setup(&mut admin, &plan).await.expect("setup");
        for slug in slugs {
            let slug: Slug = slug.parse().expect("a slug");
            let added =
                provision::add(&mut admin, &site.installation, &slug, None).await.expect("provisioning");
            site.organizations.push(added.organization.organization);
        }
        site.identity =
            Some(ServerIdentity::of(&site.loader().await).await.expect("the server says who it is"));
        site
    }

    async fn admin(&self) -> Admin {
        let password = String::from_utf8_lossy(self.server.get_password().unwrap_or_default()).into_owned();
        let url = self.url(self.server.get_user().expect("a user"), &password);
        Admin::connect(&url, Operator { os_user: None }).await.expect("an administrator")
    }

    fn url(&self, login: &str, password: &str) -> DatabaseUrl {
        let url = format!("postgres://{login}:{password}@{}/{}", self.address, self.database);
        let url: Secret = url.parse().expect("a secret takes every text");
        DatabaseUrl::parse(&url).expect("a good URL")
    }

    /// The loader's own URL.
    pub(super) fn loader_url(&self) -> DatabaseUrl {
        self.url(&self.loader_login(), "loader")
    }

    /// The loader's login.
    pub(super) fn loader_login(&self) -> String {
        self.installation.loader_login.clone()
    }

    /// A connection as the loader has it.
    pub(super) async fn loader(&self) -> Client {
        connect(&self.loader_url()).await.expect("the loader's login")
    }

    /// A connection of a login that may do nothing here but connect.
    pub(super) async fn stranger(&self) -> Client {
        let login = format!("stranger_{}", Uuid::now_v7().simple());
        self.execute(&format!("CREATE ROLE {login} LOGIN PASSWORD 'stranger'")).await;
        self.execute(&format!("GRANT CONNECT ON DATABASE {} TO {login}", self.database)).await;
        connect(&self.url(&login, "stranger")).await.expect("a login")
    }

    /// The superuser in this database.
    pub(super) async fn superuser(&self) -> Client {
        let mut config = self.server.clone();
        config.dbname(&self.database);
        session(&config).await
    }

    /// Does something as the superuser.
    pub(super) async fn execute(&self, sql: &str) {
        self.superuser().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A number that the superuser sees.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        let row = self.superuser().await.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// The first column of what the superuser sees, as text.
    pub(super) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.superuser().await.query(sql, &[]).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
    }

    /// How much is in an organization's schema: events, dead letters, watermarks.
    pub(super) async fn contents(&self, slug: &str) -> [i64; 3] {
        let count =
            async |table: &str| self.number(&format!("SELECT count(*) FROM org_{slug}.{table}")).await;
        [count("event").await, count("dead_letter").await, count("ingest_watermark").await]
    }

    /// `partition|next_offset|stored|duplicate|dead` of every watermark.
    pub(super) async fn totals(&self, slug: &str) -> Vec<String> {
        self.texts(&format!(
            "SELECT concat_ws('|', partition, next_offset, stored, duplicate, dead) FROM org_{slug}.ingest_watermark \
             ORDER BY generation, partition"
        ))
        .await
    }

    /// `offset|events|reason` of every held record.
    pub(super) async fn held(&self) -> Vec<String> {
        self.texts(
            "SELECT concat_ws('|', log_offset, events, reason) FROM rollbook.held_record ORDER BY log_offset",
        )
        .await
    }

    /// An organization as provisioning made it.
    pub(super) fn organization(&self, slug: &str) -> &Organization {
        let found = self.organizations.iter().find(|organization| organization.slug.as_str() == slug);
        found.expect("an organization of this site")
    }

    /// Names an organization for good.
    pub(super) fn id(&self, slug: &str) -> OrganizationId {
        self.organization(slug).id
    }

    /// Removes an organization, as `org remove` does.
    pub(super) async fn remove(&self, slug: &str) {
        let slug = slug.parse().expect("a slug");
        removal::remove(&mut self.admin().await, &self.installation, &slug).await.expect("removal");
    }

    /// Every organization as it is; a test may tell lies about them.
    pub(super) fn organizations(&self) -> Vec<Organization> {
        self.organizations.clone()
    }

    /// The SQL for an organization as it is.
    pub(super) fn statements(&self, slug: &str) -> Statements {
        self.statements_of(self.organization(slug).clone())
    }

    /// The SQL for an organization as a test says it is.
    pub(super) fn statements_of(&self, organization: Organization) -> Statements {
        Statements::new(&tenant(organization), &self.prefix, &settings().transaction)
    }

    /// The SQL for an organization as it is, with other limits.
    pub(super) fn statements_with(&self, slug: &str, settings: &LoaderSettings) -> Statements {
        Statements::new(&tenant(self.organization(slug).clone()), &self.prefix, &settings.transaction)
    }

    /// Waits until a statement of the loader's login waits for somebody's lock.
    pub(super) async fn until_the_loader_waits_for_a_lock(&self) {
        let login = self.loader_login();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        self.until(&format!("{waits} AND usename = '{login}'")).await;
    }

    /// Waits until the superuser counts something.
    pub(super) async fn until(&self, count: &str) {
        let superuser = self.superuser().await;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let row = superuser.query_one(count, &[]).await;
            if row.unwrap_or_else(|error| panic!("{count}: {error:?}")).get::<_, i64>(0) > 0 {
                return;
            }
            assert!(Instant::now() < deadline, "never came: {count}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The server of the tests, as the loader sees it.
    pub(super) fn identity(&self) -> ServerIdentity {
        self.identity.clone().expect("asked when the site was made")
    }

    /// What lanes share, with a snapshot of what a test says.
    pub(super) fn shared(&self, organizations: Vec<Organization>) -> Arc<Shared> {
        self.shared_with(organizations, |_| ())
    }

    /// The same, with other limits.
    pub(super) fn shared_with(
        &self,
        organizations: Vec<Organization>,
        change: impl FnOnce(&mut LoaderSettings),
    ) -> Arc<Shared> {
        let directory = Directory::default();
        directory.replace(Snapshot::new(organizations, [], Instant::now()));
        let mut settings = settings();
        change(&mut settings);
        let pool = PoolSettings {
            connections: settings.most_connections(),
            max_lifetime: Duration::from_secs(60),
            wait: Duration::from_secs(10),
        };
        Arc::new(Shared {
            settings,
            pool: Pool::new(&self.loader_url(), pool).expect("a pool"),
            directory: Arc::new(directory),
            roles: self.prefix.clone(),
            generation: POSITION.generation,
            identity: self.identity(),
            condition: Arc::default(),
            draining_former: tokio::sync::Mutex::default(),
        })
    }

    /// An owner of the partition is given these records, and then has to give it up; gives the offset that is safe then.
    pub(super) async fn through_a_lane(&self, shared: &Arc<Shared>, records: Vec<LogRecord>) -> i64 {
        let mut driver = Driver::starting_at(shared, records.first().expect("a record").offset);
        driver.give_all(records);
        driver.close().await
    }

    /// Flushes one record, asking first what is there. `None`: the watermark was not as expected.
    pub(super) async fn flush(
        &self,
        slug: &str,
        expected: Option<Watermark>,
        source: Source<Vec<u8>>,
    ) -> Result<Option<Fates>, FlushError> {
        let expected = Expected::Watermark(expected);
        let (mut loader, statements, batch) = (self.loader().await, self.statements(slug), prepared(source));
        match flush(&mut loader, &statements, expected, &batch, Way::AskFirst).await? {
            Flushed::Committed(committed) => Ok(Some(committed.fates)),
            Flushed::Stale { .. } => Ok(None),
            Flushed::Held => panic!("held records are looked for by lanes that know nothing"),
        }
    }
}

/// A batch of one record, as the lane of the organization that it names has it.
pub(super) fn prepared(source: Source<Vec<u8>>) -> Prepared<Vec<u8>> {
    let organization = RecordView::parse(&source.bytes).expect("a record of ours").organization_id;
    let prepared = Prepared::take(organization, POSITION, [source]);
    prepared.expect("a record that fits").expect("a record")
}

/// The id of the record that a test's rows stand for.
pub(super) fn record_id(offset: i64) -> Uuid {
    Uuid::from_u128(0xfeed_0000 + u128::from(offset.unsigned_abs()))
}

/// Limits that make waiting short.
pub(super) fn settings() -> LoaderSettings {
    LoaderSettings {
        transaction: TransactionLimits {
            batch_rows: 10_000,
            batch_bytes: 8 * 1024 * 1024,
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(2),
        },
        connections: std::num::NonZeroU32::new(2).expect("not 0"),
        memory_bytes: 128 * 1024 * 1024,
        lane_memory_bytes: 16 * 1024 * 1024,
        log_check: Duration::from_secs(30),
        stuck_after: Duration::from_secs(120),
    }
}

/// Through the door that records take, with a snapshot of this organization only.
fn tenant(organization: Organization) -> Tenant {
    assert_ne!(organization.state, State::Removed);
    let id = organization.id;
    let directory = Directory::default();
    directory.replace(Snapshot::new([organization], [], Instant::now()));
    match directory.of_record(id) {
        Some(RecordOwner::Tenant(tenant)) => tenant,
        other => panic!("{other:?}"),
    }
}

async fn session(config: &Config) -> Client {
    let (client, driver) = config.connect(NoTls).await.expect("a login that works");
    tokio::spawn(driver);
    client
}

impl Drop for Site {
    /// In a thread of its own, because the test's runtime may be going down.
    fn drop(&mut self) {
        let (server, database, prefix) = (self.server.clone(), self.database.clone(), self.prefix.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_everything(&server, &database, prefix.as_str()))
        });
        match cleaning.join() {
            Ok(Ok(())) => {}
            failed => eprintln!("{} was not cleaned up: {failed:?}", self.database),
        }
    }
}

async fn drop_everything(
    server: &Config,
    database: &str,
    prefix: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = session(server).await;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    let roles =
        client.query("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", &[&prefix]).await?;
    for role in roles {
        client.batch_execute(&format!("DROP ROLE {}", role.get::<_, &str>(0))).await?;
    }
    Ok(())
}
