//! What the benches of the loader share: records of simulated viewers, and a database of their own.

use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Parser;
use rollbook::cli::load::sessions::{Generator, Settings};
use rollbook::config::loader::{LoaderArgs, LoaderSettings};
use rollbook::config::{DatabaseUrl, Operator, Secret};
use rollbook::event::{Clock, Envelope, UnixMillis, Verdict, check_batch};
use rollbook::loader::direct::DirectWriter;
use rollbook::log::RecordBuilder;
use rollbook::store::setup::{LogIdentity, NewGeneration, Plan, setup};
use rollbook::store::{Admin, connect, provision};
use rollbook::tenant::{Directory, Organization, OrganizationId, RecordOwner, RolePrefix, Snapshot, Tenant};
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) const EVENTS_A_RECORD: usize = 50;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    loader: LoaderArgs,
}

/// Records without end, each event once.
pub(crate) struct Records {
    generator: Generator,
    /// Whether an event, as JSON, is one of them.
    pub(crate) keeps: fn(&str) -> bool,
}

impl Records {
    pub(crate) fn new() -> Self {
        let settings = Settings {
            seed: 1,
            organizations: NonZeroUsize::MIN,
            expected_events: 1_000_000,
            now: UnixMillis::now(),
        };
        Self { generator: Generator::new(settings), keeps: |_| true }
    }

    /// One record of an organization.
    pub(crate) fn next(&mut self, organization: OrganizationId) -> Vec<u8> {
        let mut body = String::from(r#"{"events":["#);
        let mut events = 0;
        while events < EVENTS_A_RECORD {
            let event = self.generator.next_event().json;
            if (self.keeps)(event) {
                body.push_str(if events == 0 { "" } else { "," });
                body.push_str(event);
                events += 1;
            }
        }
        body.push_str("]}");
        let envelope = Envelope::from_json(body.as_bytes()).expect("a good envelope");
        let received_at = UnixMillis::now();
        let mut builder = RecordBuilder::new(organization, Uuid::now_v7(), received_at);
        for verdict in check_batch(&envelope, Clock { received_at, sent_at: None }) {
            match verdict {
                Verdict::Accepted(event) => builder.push(&event),
                refused => panic!("the generator's event was refused: {refused:?}"),
            }
        }
        builder.finish().pop().expect("one record").bytes
    }
}

/// Organizations in a database of their own, on the server that `TEST_POSTGRES_URL` names.
pub(crate) struct BenchSite {
    server: tokio_postgres::Config,
    database: String,
    pub(crate) url: DatabaseUrl,
    pub(crate) prefix: RolePrefix,
    settings: LoaderSettings,
    pub(crate) organizations: Vec<Organization>,
}

impl BenchSite {
    pub(crate) async fn with(organizations: usize) -> Self {
        let server =
            std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL is not set: run ./dev bench");
        let server: tokio_postgres::Config = server.parse().expect("a Postgres URL");
        let prefix: RolePrefix =
            format!("b{:05x}_", rand::random_range(0..0x10_0000)).parse().expect("a prefix");
        let database = format!("rollbook_bench_{}", prefix.as_str());
        let (admin, driver) = server.connect(tokio_postgres::NoTls).await.expect("a login that works");
        tokio::spawn(driver);
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await.expect("a database");

        let url = url_of(&server, &database);
        let mut admin = Admin::connect(&url, Operator::from_environment()).await.expect("an administrator");
        let plan = Plan {
            intake: url.clone(),
            loader: url.clone(),
            prefix: Some(prefix.clone()),
            log: LogIdentity { kind: "kafka", name: "bench".to_owned() },
            new_generation: NewGeneration::Keep,
        };
        let installation = setup(&mut admin, &plan).await.expect("set up").installation;
        let mut made = Vec::with_capacity(organizations);
        for n in 0..organizations {
            let slug = format!("bench_{n:05}").parse().expect("a slug");
            let added = provision::add(&mut admin, &installation, &slug, None).await;
            made.push(added.expect("an organization").organization.organization);
        }
        let settings = Flags::parse_from(["bench"]).loader.resolve().expect("the defaults go together");
        Self { server, database, url, prefix, settings, organizations: made }
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await.expect("a connection")
    }

    /// Writes into an organization's schema, which has seen nothing yet.
    pub(crate) fn writer(&self, organization: &Organization) -> DirectWriter {
        DirectWriter::new(&tenant(organization.clone()), &self.prefix, &self.settings)
    }

    pub(crate) async fn drop_database(self) {
        let (admin, driver) = self.server.connect(tokio_postgres::NoTls).await.expect("a login that works");
        tokio::spawn(driver);
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        admin.batch_execute(&drop).await.expect("dropped");
    }
}

/// Through the loader's own door: there is no other.
fn tenant(organization: Organization) -> Tenant {
    let id = organization.id;
    let directory = Directory::default();
    directory.replace(Snapshot::new([organization], [], Instant::now()));
    match directory.of_record(id) {
        Some(RecordOwner::Tenant(tenant)) => tenant,
        other => panic!("no tenant: {other:?}"),
    }
}

fn url_of(server: &tokio_postgres::Config, database: &str) -> DatabaseUrl {
    let [tokio_postgres::config::Host::Tcp(host)] = server.get_hosts() else { panic!("one TCP host") };
    let url: Secret = format!(
        "postgres://{}:{}@{host}:{}/{database}",
        server.get_user().expect("a user"),
        String::from_utf8_lossy(server.get_password().unwrap_or_default()),
        server.get_ports().first().expect("a port"),
    )
    .parse()
    .expect("a secret takes every text");
    DatabaseUrl::parse(&url).expect("a good URL")
}
