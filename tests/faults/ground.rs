//! A site on servers that may be killed, with a proxy on every way: clients to intake, both sides to Kafka, the loader to
//! Postgres. Its log is Kafka, or a folder of one process that is intake and loader.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rollbook::config::log::LogKind;
use tokio::sync::MutexGuard;

use super::client::Client;
use super::ledger::{Ledger, Reckoning};
use super::servers::{Kafka, Postgres, Side};
use super::{Clients, DataFolder, Habit, Proxy, Servers};
use crate::harness::{Http, Organization, Ran, Rollbook, Service, Site, eventually, id_of, played, within};

/// For everything to be loaded once all is well. A loader asks more and more rarely for what is away, and comes back to
/// held records after half a minute at the latest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a fault happens. Dereferences to its site.
#[derive(Debug)]
pub(super) struct Ground {
    // In this order: the site needs its servers to clean up, and nobody else may be at them before.
    site: Site,
    pub(super) servers: Arc<Servers>,
    pub(super) organizations: Vec<Organization>,
    pub(super) ledger: Arc<Ledger>,
    /// Clients to intake.
    pub(super) door: Proxy,
    pub(super) intake_to_kafka: Proxy,
    pub(super) loader_to_kafka: Proxy,
    pub(super) loader_to_postgres: Proxy,
    /// The embedded log's, if that is the log.
    data: Option<DataFolder>,
    /// The operator's listener of the process that started last: an embedded log is asked for there.
    admin: Mutex<Option<String>>,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Ground {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Ground {
    /// On Kafka, with these organizations.
    pub(super) async fn with(slugs: &[&str]) -> Self {
        Self::on(LogKind::Kafka, slugs).await
    }

    /// On either log.
    pub(super) async fn on(log: LogKind, slugs: &[&str]) -> Self {
        Self::with_log(
            match log {
                LogKind::Kafka => None,
                LogKind::Embedded => Some(DataFolder::new()),
            },
            slugs,
        )
        .await
    }

    /// On an embedded log here, or on Kafka; on shared servers, once it is this test's turn.
    pub(super) async fn with_log(data: Option<DataFolder>, slugs: &[&str]) -> Self {
        let (servers, turn) = Servers::shared().await;
        let between = async |side| {
            let (outside, inside) = servers.kafka.door(side);
            Proxy::new(&outside, &inside).await
        };
        let (intake_to_kafka, loader_to_kafka) = (between(Side::Intake).await, between(Side::Loader).await);
        let loader_to_postgres = Proxy::new("127.0.0.1:0", &servers.postgres.address()).await;
        let door = Proxy::new("127.0.0.1:0", "127.0.0.1:1").await;
        let site = Site::empty_at(&servers.postgres.url(), &servers.kafka.address()).await;
        let mut ground = Self {
            site,
            servers,
            organizations: Vec::new(),
            ledger: Arc::default(),
            door,
            intake_to_kafka,
            loader_to_kafka,
            loader_to_postgres,
            data,
            admin: Mutex::default(),
            _turn: turn,
        };
        ground.run("setup").await.done();
        for slug in slugs {
            ground.organizations.push(ground.organization(slug).await);
        }
        ground
    }

    pub(super) fn kafka(&self) -> &Kafka {
        &self.servers.kafka
    }

    pub(super) fn postgres(&self) -> &Postgres {
        &self.servers.postgres
    }

    /// The folder of the embedded log, if that is the log.
    pub(super) fn data(&self) -> Option<&DataFolder> {
        self.data.as_ref()
    }

    /// A run of the program with this site's settings, its log's among them.
    pub(super) fn rollbook(&self, words: &str) -> Rollbook {
        let Some(data) = &self.data else { return self.site.rollbook(words) };
        let admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let run = self.site.rollbook(words).with_embedded_log(&data.path());
        admin.into_iter().fold(run, |run, admin| run.env("ROLLBOOK_ADMIN_ADDR", &admin))
    }

    /// Runs the program with them.
    pub(super) async fn run(&self, words: &str) -> Ran {
        self.rollbook(words).run().await
    }

    /// Intake on Kafka to be, behind its proxy.
    pub(super) fn intake_to_be(&self) -> Rollbook {
        self.site
            .serve("--role intake")
            .env("ROLLBOOK_KAFKA_BROKERS", self.intake_to_kafka.address())
            .env("ROLLBOOK_KAFKA_PUBLISH_TIMEOUT_MS", "4000")
            .env("ROLLBOOK_DRAIN_SECONDS", "10")
    }

    /// Starts intake on Kafka, and leads clients to it.
    pub(super) async fn intake(&self) -> Service {
        self.start(self.intake_to_be()).await
    }

    /// A loader to be, behind its proxies; on the embedded log it is intake, too.
    pub(super) fn loader_to_be(&self) -> Rollbook {
        let url = self.url(&self.role("loader"), "loader password");
        let url = url.replace(&self.servers.postgres.address(), self.loader_to_postgres.address());
        let serve = match &self.data {
            None => self
                .rollbook("serve --role loader")
                .env("ROLLBOOK_KAFKA_BROKERS", self.loader_to_kafka.address()),
            // Small segments: a disk without room has none for the next one soon.
            Some(data) if data.disk().is_some() => {
                self.rollbook("serve").env("ROLLBOOK_LOG_RETENTION_BYTES", "16777216")
            }
            Some(_) => self.rollbook("serve"),
        };
        serve.env("ROLLBOOK_LOADER_DATABASE_URL", &url).env("ROLLBOOK_DRAIN_SECONDS", "10")
    }

    /// Starts a loader and waits until it takes records.
    pub(super) async fn loader(&self) -> Service {
        let loader = self.start(self.loader_to_be()).await;
        loader.becomes_ready().await;
        loader
    }

    /// Starts what serves: intake and a loader, or on the embedded log the one process that is both.
    pub(super) async fn running(&self) -> (Option<Service>, Service) {
        let intake = match self.data {
            None => Some(self.intake().await),
            Some(_) => None,
        };
        (intake, self.loader().await)
    }

    /// Starts a process, and leads clients to it if it is intake.
    pub(super) async fn start(&self, serve: Rollbook) -> Service {
        let service = Service::start(serve).await;
        if let Some(intake) = &service.intake {
            self.door.lead_to(intake.address());
        }
        let admin = service.admin.address().to_owned();
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = Some(admin);
        service
    }

    /// A client of one organization.
    pub(super) fn client(&self, organization: &Organization) -> Client {
        Client {
            http: Http::new(self.door.address()),
            ledger: Arc::clone(&self.ledger),
            organization: organization.clone(),
        }
    }

    /// The client of the first organization.
    pub(super) fn first(&self) -> Client {
        self.client(&self.organizations[0])
    }

    /// Two clients for each organization: one that retries, one that gives up.
    pub(super) fn load(&self) -> Clients {
        let mut clients = Clients::new();
        for organization in &self.organizations {
            clients.add(self.client(organization), Habit::Retries, 200, Duration::from_millis(100));
            clients.add(self.client(organization), Habit::GivesUp, 7, Duration::from_millis(20));
        }
        clients
    }

    /// Rows of an organization.
    pub(super) async fn rows(&self, slug: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM org_{slug}.event")).await
    }

    /// Waits until clients were promised so many events more, by whoever still answers.
    pub(super) async fn promises(&self, events: usize) {
        let promised = || {
            self.organizations
                .iter()
                .map(|organization| self.ledger.accepted(&organization.slug))
                .sum::<usize>()
        };
        let before = promised();
        eventually(&format!("{events} more promises"), async || promised() >= before + events).await;
    }

    /// The highest anchor: where the next loader begins in that partition.
    pub(super) async fn anchored(&self) -> i64 {
        self.number("SELECT coalesce(max(next_offset), 0) FROM rollbook.partition_anchor").await
    }

    /// Postgres takes no writes, or takes them again.
    pub(super) async fn read_only(&self, is_so: bool) {
        let setting = if is_so {
            "SET default_transaction_read_only = on"
        } else {
            "RESET default_transaction_read_only"
        };
        self.execute(&format!("ALTER SYSTEM {setting}")).await;
        self.postgres().reload();
    }

    /// Waits until every organization got so many rows more.
    pub(super) async fn gains(&self, rows: i64) {
        for organization in &self.organizations {
            self.gains_of(&organization.slug, rows).await;
        }
    }

    /// Waits until one got so many rows more.
    pub(super) async fn gains_of(&self, slug: &str, rows: i64) {
        let before = self.rows(slug).await;
        let more = async || self.rows(slug).await >= before + rows;
        eventually(&format!("{rows} more rows of {slug}"), more).await;
    }

    /// The end of every fault: everybody is heard, everything is loaded, and the books are compared by `rollbook audit`
    /// and against the ledger. Intake and a loader must be running.
    pub(super) async fn reckon(&self, clients: Clients) -> Reckoning {
        clients.stop().await;
        for organization in &self.organizations {
            self.last_is_loaded(organization).await;
        }
        let held = "SELECT count(*) FROM rollbook.held_record";
        within(PATIENCE, "nothing is held", async || self.number(held).await == 0).await;
        let audit = self.run("audit --json").await.done().json();
        assert_eq!(audit["ok"], true, "{audit}");
        // A log on a small disk may have let go of what is loaded, and cannot say how much that was.
        let may_forget = self.data().is_some_and(|data| data.disk().is_some());
        assert!(may_forget || audit["counts"] == "checked", "{audit}");
        self.ledger.compare(self).await
    }

    /// Sends one event, which goes into the partition behind everything else of the organization, and waits for it.
    async fn last_is_loaded(&self, organization: &Organization) {
        let last = played(1);
        self.client(organization).insist(&last).await;
        let (slug, id) = (&organization.slug, id_of(&last[0]));
        let arrived = format!("SELECT count(*) FROM org_{slug}.event WHERE event_id = '{id}'");
        within(PATIENCE, &format!("the last event of {slug}"), async || self.number(&arrived).await == 1)
            .await;
    }
}
