//! From records to rows: COPY encoding alone, and the loader's whole transaction against a real Postgres.
//!
//! Records of 50 simulated viewers' events (about 300 bytes of JSON each), one organization. Postgres is the one that
//! `TEST_POSTGRES_URL` names, in a database of the bench's own; every row is new, so the table grows as it is measured.
//! Throughput is in events. Making the records is outside of what is timed.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Parser;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rollbook::cli::load::sessions::{Generator, Settings};
use rollbook::config::loader::LoaderArgs;
use rollbook::config::{DatabaseUrl, Operator, Secret};
use rollbook::event::{Clock, Envelope, UnixMillis, Verdict, check_batch};
use rollbook::loader::direct::{DirectBatch, DirectWay, DirectWriter};
use rollbook::log::RecordBuilder;
use rollbook::store::setup::{LogIdentity, NewGeneration, Plan, setup};
use rollbook::store::{Admin, connect, provision};
use rollbook::tenant::{Directory, OrganizationId, RecordOwner, RolePrefix, Snapshot, Tenant};
use tokio::runtime::Runtime;
use tokio_postgres::Client;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS_A_RECORD: usize = 50;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    loader: LoaderArgs,
}

/// Records of an organization, without end, each event once.
struct Records {
    generator: Generator,
    organization: OrganizationId,
}

impl Records {
    fn new(organization: OrganizationId) -> Self {
        let settings = Settings {
            seed: 1,
            organizations: NonZeroUsize::MIN,
            expected_events: 1_000_000,
            now: UnixMillis::now(),
        };
        Self { generator: Generator::new(settings), organization }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut body = String::from(r#"{"events":["#);
        for n in 0..EVENTS_A_RECORD {
            body.push_str(if n == 0 { "" } else { "," });
            body.push_str(self.generator.next_event().json);
        }
        body.push_str("]}");
        let envelope = Envelope::from_json(body.as_bytes()).expect("a good envelope");
        let received_at = UnixMillis::now();
        let mut builder = RecordBuilder::new(self.organization, Uuid::now_v7(), received_at);
        for verdict in check_batch(&envelope, Clock { received_at, sent_at: None }) {
            match verdict {
                Verdict::Accepted(event) => builder.push(&event),
                refused => panic!("the generator's event was refused: {refused:?}"),
            }
        }
        builder.finish().pop().expect("one record").bytes
    }

    fn of_events(&mut self, events: usize) -> Vec<Vec<u8>> {
        (0..events.div_ceil(EVENTS_A_RECORD)).map(|_| self.next()).collect()
    }
}

fn copy_encode(criterion: &mut Criterion) {
    let organization = OrganizationId(Uuid::now_v7());
    let mut records = Records::new(organization);
    let mut group = criterion.benchmark_group("copy encode");
    for events in [500, 10_000] {
        let records = records.of_events(events);
        group.throughput(Throughput::Elements(events as u64));
        group.bench_with_input(BenchmarkId::from_parameter(events), &records, |bencher, records| {
            bencher.iter(|| DirectBatch::new(organization, 0, black_box(records)).expect("good records"));
        });
    }
    group.finish();
}

fn records_to_postgres(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut schema = runtime.block_on(BenchSchema::new());
    let mut group = criterion.benchmark_group("records to postgres");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for events in [50, 1_000, 10_000] {
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(BenchmarkId::from_parameter(events), |bencher| {
            bencher.iter_custom(|iterations| {
                let batches: Vec<_> = (0..iterations).map(|_| schema.records.of_events(events)).collect();
                let started = Instant::now();
                for batch in &batches {
                    let id = schema.records.organization;
                    let batch =
                        DirectBatch::new(id, schema.writer.next_offset(), batch).expect("good records");
                    let written = schema.writer.write(&mut schema.client, &batch, DirectWay::AskFirst);
                    let stored = runtime.block_on(written);
                    assert_eq!(stored.expect("stored"), events as u64);
                }
                started.elapsed()
            });
        });
    }
    group.finish();
    runtime.block_on(schema.drop_database());
}

/// An organization in a database of its own.
struct BenchSchema {
    server: tokio_postgres::Config,
    database: String,
    client: Client,
    writer: DirectWriter,
    records: Records,
}

impl BenchSchema {
    async fn new() -> Self {
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
        let slug = "bench".parse().expect("a slug");
        let made = provision::add(&mut admin, &installation, &slug, None).await.expect("an organization");
        let organization = made.organization.organization;
        let id = organization.id;
        let tenant = tenant(organization);
        let settings = Flags::parse_from(["bench"]).loader.resolve().expect("the defaults go together");
        Self {
            server,
            database,
            client: connect(&url).await.expect("a connection"),
            writer: DirectWriter::new(&tenant, &prefix, &settings),
            records: Records::new(id),
        }
    }

    async fn drop_database(self) {
        let (admin, driver) = self.server.connect(tokio_postgres::NoTls).await.expect("a login that works");
        tokio::spawn(driver);
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        admin.batch_execute(&drop).await.expect("dropped");
    }
}

/// Through the loader's own door: there is no other.
fn tenant(organization: rollbook::tenant::Organization) -> Tenant {
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

criterion_group!(benches, copy_encode, records_to_postgres);
criterion_main!(benches);
