//! A database, a role prefix, logins, a topic and a consumer group of one test's own. What is in Postgres is dropped at
//! the test's end however it ends; the topic stays until the throwaway broker goes.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rollbook::config::{DatabaseUrl, Secret};
use rollbook::store::TENANT_SCHEMA_VERSION;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::{Ran, Rollbook, eventually};

/// Names the server that the tests use; its login is a superuser.
const SERVER: &str = "TEST_POSTGRES_URL";
/// Names the brokers that the tests use.
const BROKERS: &str = "TEST_KAFKA_BROKERS";
/// More than one, so that organizations can share a partition or not; few, for one broker carries every test's topic.
const PARTITIONS: &str = "3";

/// Where one test works.
#[derive(Debug)]
pub(crate) struct Site {
    server: tokio_postgres::Config,
    /// `host:port` for URLs.
    address: String,
    pub(crate) database: String,
    /// Goes before every role name of this site, the logins' too.
    pub(crate) prefix: String,
    pub(crate) brokers: String,
}

/// An organization as whoever added it knows it.
#[derive(Clone, Debug)]
pub(crate) struct Organization {
    pub(crate) slug: String,
    pub(crate) key: String,
    pub(crate) key_id: String,
}

impl Site {
    /// A database with nothing in it.
    pub(crate) async fn empty() -> Self {
        let setting =
            |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./dev test"));
        Self::empty_at(&setting(SERVER), &setting(BROKERS)).await
    }

    /// The same on servers that are not everybody's: a superuser's URL, and brokers.
    pub(crate) async fn empty_at(server: &str, brokers: &str) -> Self {
        let server: tokio_postgres::Config =
            server.parse().unwrap_or_else(|error| panic!("the server's URL: {error}"));
        let host = match server.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host)] => host.clone(),
            _ => panic!("the server's URL names one host"),
        };
        let address = format!("{host}:{}", server.get_ports().first().expect("a port"));
        let prefix = format!("t{:05x}_", rand::random_range(0..0x10_0000));
        let database = format!("rollbook_test_{prefix}");
        let site = Self { server, address, database, prefix, brokers: brokers.to_owned() };
        // Several tests may copy template1 at once only while nobody is connected to it; nobody ever is to template0.
        let create = format!("CREATE DATABASE {} TEMPLATE template0", site.database);
        connect(&site.server).await.batch_execute(&create).await.expect("a database of one's own");
        site
    }

    /// A database where `rollbook setup` has run.
    pub(crate) async fn set_up() -> Self {
        let site = Self::empty().await;
        site.run("setup").await.done();
        site
    }

    /// A site with these organizations.
    pub(crate) async fn with(slugs: &[&str]) -> Self {
        let site = Self::set_up().await;
        for slug in slugs {
            site.add(slug).await;
        }
        site
    }

    /// A run of the program with this site's settings.
    pub(crate) fn rollbook(&self, words: &str) -> Rollbook {
        Rollbook::new(words)
            .env("ROLLBOOK_ADMIN_DATABASE_URL", &self.admin_url())
            .env("ROLLBOOK_INTAKE_DATABASE_URL", &self.url(&self.role("intake"), "intake password"))
            .env("ROLLBOOK_LOADER_DATABASE_URL", &self.url(&self.role("loader"), "loader password"))
            .env("ROLLBOOK_ROLE_PREFIX", &self.prefix)
            .env("ROLLBOOK_KAFKA_BROKERS", &self.brokers)
            .env("ROLLBOOK_KAFKA_TOPIC", &self.database)
            .env("ROLLBOOK_KAFKA_GROUP", &self.database)
            .env("ROLLBOOK_LOG_PARTITIONS", PARTITIONS)
    }

    /// A service to be, on free ports, with these words after `serve`.
    pub(crate) fn serve(&self, words: &str) -> Rollbook {
        self.rollbook(&format!("serve {words}"))
    }

    /// Changes a setting of this site's topic, as an administrator of Kafka does.
    pub(crate) async fn set_topic(&self, name: &str, value: &str) {
        let admin: AdminClient<_> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a client of Kafka");
        let change = AlterConfig::new(ResourceSpecifier::Topic(&self.database)).set(name, value);
        let changed = admin.alter_configs(&[change], &AdminOptions::new()).await.expect("Kafka answers");
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    }

    /// Runs the program with this site's settings.
    pub(crate) async fn run(&self, words: &str) -> Ran {
        self.rollbook(words).run().await
    }

    /// Adds an organization, and gives what `org add --json` says.
    pub(crate) async fn add(&self, slug: &str) -> Value {
        self.run(&format!("org add {slug} --json")).await.done().json()
    }

    /// Adds an organization that will send events.
    pub(crate) async fn organization(&self, slug: &str) -> Organization {
        let added = self.add(slug).await;
        let text = |name: &str| added[name].as_str().expect("org add says it").to_owned();
        Organization { slug: text("organization"), key: text("key"), key_id: text("key_id") }
    }

    /// Adds an organization whose records go to another partition than those of `slug`.
    pub(crate) async fn organization_beside(&self, slug: &str) -> Organization {
        let count = PARTITIONS.parse().expect("a number");
        let place = |slug: &str| rollbook::log::partition_of(slug, count);
        let mut names = (0..).map(|n| format!("birch{n}"));
        let other = names.find(|name| place(name) != place(slug)).expect("there are others");
        self.organization(&other).await
    }

    /// Takes an organization's schema back to before its newest migration, as the release before has it.
    pub(crate) async fn take_back(&self, slug: &str) {
        let views = include_str!("../../migrations/tenant/V7__report_views.sql");
        self.execute(&format!(
            "DROP VIEW org_{slug}.report_viewing, org_{slug}.report_content, org_{slug}.report_retention, \
                       org_{slug}.report_item, org_{slug}.report_option, org_{slug}.report_answer, org_{slug}.report_day; \
             DROP TABLE org_{slug}.report_curve, org_{slug}.report_elapsed_part; \
             ALTER TABLE org_{slug}.report_viewer_content DROP COLUMN session_ids, DROP COLUMN session_days; \
             ALTER TABLE org_{slug}.report_item_sum DROP COLUMN counted_attempts, DROP COLUMN counted_times; \
             ALTER TABLE org_{slug}.report_further_session RENAME TO report_session; \
             DELETE FROM org_{slug}.refinery_schema_history WHERE version = {TENANT_SCHEMA_VERSION}; \
             UPDATE rollbook.organization SET schema_version = {} WHERE slug = '{slug}'; \
             SET LOCAL search_path = org_{slug}; \
             SELECT set_config('role', tableowner, true) FROM pg_tables \
             WHERE schemaname = 'org_{slug}' AND tablename = 'report_state'; \
             {views}",
            TENANT_SCHEMA_VERSION - 1
        ))
        .await;
    }

    /// Waits until so many events of an organization have their fate, and gives the watermarks' `(stored, duplicate)`.
    pub(crate) async fn loaded(&self, slug: &str, events: i64) -> (i64, i64) {
        let client = self.superuser().await;
        let sums = format!(
            "SELECT coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, \
                    coalesce(sum(dead), 0)::bigint FROM org_{slug}.ingest_watermark"
        );
        let mut totals = (0, 0);
        eventually(&format!("the fate of {events} events of {slug}"), async || {
            let row = client.query_one(&sums, &[]).await.expect("watermarks");
            totals = (row.get(0), row.get(1));
            assert_eq!(row.get::<_, i64>(2), 0, "dead events of {slug}");
            totals.0 + totals.1 >= events
        })
        .await;
        assert_eq!(totals.0 + totals.1, events, "no event has two fates");
        totals
    }

    /// The ids of the events in an organization's schema, sorted.
    pub(crate) async fn stored_ids(&self, slug: &str) -> Vec<String> {
        let mut ids = self.texts(&format!("SELECT event_id::text FROM org_{slug}.event")).await;
        ids.sort_unstable();
        ids
    }

    /// The brokers that this site's topic is on.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A role's full name.
    pub(crate) fn role(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The superuser's URL of this site's database.
    pub(crate) fn admin_url(&self) -> String {
        let password = self.server.get_password().unwrap_or_default();
        self.url(self.server.get_user().expect("a user"), &String::from_utf8_lossy(password))
    }

    /// Somebody's URL of this site's database.
    pub(crate) fn url(&self, login: &str, password: &str) -> String {
        format!("postgres://{login}:{}@{}/{}", password.replace(' ', "%20"), self.address, self.database)
    }

    /// Intake's own URL, as the service takes it.
    pub(crate) fn intake_database(&self) -> DatabaseUrl {
        self.parsed(&self.url(&self.role("intake"), "intake password"))
    }

    /// The loader's own URL, as the service takes it.
    pub(crate) fn loader_database(&self) -> DatabaseUrl {
        self.parsed(&self.url(&self.role("loader"), "loader password"))
    }

    fn parsed(&self, url: &str) -> DatabaseUrl {
        let secret: Secret = url.parse().expect("a secret takes every text");
        DatabaseUrl::parse(&secret).expect("a good URL")
    }

    /// The superuser in this site's database.
    pub(crate) async fn superuser(&self) -> Client {
        connect(&self.admin_url().parse().expect("a good URL")).await
    }

    /// Intake's own login.
    pub(crate) async fn intake(&self) -> Client {
        connect(self.intake_database().config()).await
    }

    /// The loader's own login.
    pub(crate) async fn loader(&self) -> Client {
        connect(self.loader_database().config()).await
    }

    /// A session with the rights of a role that nobody can log in as.
    pub(crate) async fn session_of(&self, role: &str) -> Client {
        let client = self.superuser().await;
        let role = self.role(role);
        client
            .batch_execute(&format!("SET SESSION AUTHORIZATION {role}"))
            .await
            .expect("a role of this site");
        client
    }

    /// Puts another database in the place of this site's, made with these options.
    pub(crate) async fn make_anew(&self, options: &str) {
        self.in_cluster(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await;
        self.in_cluster(&format!("CREATE DATABASE {} TEMPLATE template0 {options}", self.database)).await;
    }

    /// Does something in the cluster, outside of this site's database.
    pub(crate) async fn in_cluster(&self, sql: &str) {
        let client = connect(&self.server).await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// A copy of this site's database under another name, in the same cluster; it is dropped with the site that is given
    /// back, and so are the roles.
    pub(crate) async fn copied(&self) -> Self {
        let database = format!("{}copy", self.database);
        eventually("the site can be copied", async || {
            let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
            self.number(idle).await == 1
        })
        .await;
        self.in_cluster(&format!("CREATE DATABASE {database} TEMPLATE {}", self.database)).await;
        Self {
            server: self.server.clone(),
            address: self.address.clone(),
            database,
            prefix: self.prefix.clone(),
            brokers: self.brokers.clone(),
        }
    }

    /// Where the server is: `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The superuser's name and password.
    pub(crate) fn superusers_login(&self) -> (&str, String) {
        let password = self.server.get_password().unwrap_or_default();
        (self.server.get_user().expect("a user"), String::from_utf8_lossy(password).into_owned())
    }

    /// Does something as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        self.superuser().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of what the superuser sees, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.superuser().await.query(sql, &[]).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
    }

    /// A number that the superuser sees.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = self.superuser().await.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }
}

impl Drop for Site {
    /// Also when the test panicked. In a thread of its own, because the test's runtime may be going down.
    fn drop(&mut self) {
        let (server, database, prefix) = (self.server.clone(), self.database.clone(), self.prefix.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_everything(&server, &database, &prefix))
        });
        match cleaning.join() {
            Ok(Ok(())) => {}
            failed => eprintln!("{} was not cleaned up: {failed:?}", self.database),
        }
    }
}

async fn drop_everything(
    server: &tokio_postgres::Config,
    database: &str,
    prefix: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, driver) = server.connect(NoTls).await?;
    let driver = tokio::spawn(driver);
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    let roles =
        client.query("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", &[&prefix]).await?;
    for role in roles {
        client.batch_execute(&format!("DROP ROLE {}", role.get::<_, &str>(0))).await?;
    }
    drop(client);
    Ok(driver.await??)
}

async fn connect(config: &tokio_postgres::Config) -> Client {
    let (client, driver) = config.connect(NoTls).await.expect("a login that works");
    tokio::spawn(driver);
    client
}

/// How Postgres refused something; `None`: it did not.
pub(crate) fn sqlstate<T>(result: &Result<T, tokio_postgres::Error>) -> Option<&str> {
    result.as_ref().err().map(|error| error.code().map_or("not from Postgres", |code| code.code()))
}
