//! From records to rows: COPY encoding alone, and the loader's whole transaction against a real Postgres.
//!
//! Records of 50 simulated viewers' events (about 300 bytes of JSON each), one organization. Postgres is the one that
//! `TEST_POSTGRES_URL` names, in a database of the bench's own; every row is new, so the table grows as it is measured.
//! Throughput is in events. Making the records is outside of what is timed. What the same costs beside plain COPY, and for
//! many organizations, is `benches/writing.rs`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rollbook::loader::direct::{DirectBatch, DirectWay};
use rollbook::tenant::OrganizationId;
use tokio::runtime::Runtime;
use uuid::Uuid;

#[path = "loading/site.rs"]
mod site;
use site::{BenchSite, EVENTS_A_RECORD, Records};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn of_events(records: &mut Records, organization: OrganizationId, events: usize) -> Vec<Bytes> {
    (0..events.div_ceil(EVENTS_A_RECORD)).map(|_| records.next(organization).into()).collect()
}

fn copy_encode(criterion: &mut Criterion) {
    let organization = OrganizationId(Uuid::now_v7());
    let mut group = criterion.benchmark_group("copy encode");
    for events in [500, 10_000] {
        let records = of_events(&mut Records::new(), organization, events);
        group.throughput(Throughput::Elements(events as u64));
        group.bench_with_input(BenchmarkId::from_parameter(events), &records, |bencher, records| {
            bencher.iter(|| DirectBatch::new(organization, 0, black_box(records.clone())));
        });
    }
    group.finish();
}

fn records_to_postgres(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let site = runtime.block_on(BenchSite::with(1));
    let organization = &site.organizations[0];
    let mut client = runtime.block_on(site.connect());
    let (mut writer, mut records) = (site.writer(organization), Records::new());
    let mut group = criterion.benchmark_group("records to postgres");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for events in [50, 1_000, 10_000] {
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(BenchmarkId::from_parameter(events), |bencher| {
            bencher.iter_custom(|iterations| {
                let batches: Vec<_> =
                    (0..iterations).map(|_| of_events(&mut records, organization.id, events)).collect();
                let started = Instant::now();
                for batch in batches {
                    let batch = DirectBatch::new(organization.id, writer.next_offset(), batch);
                    let batch = batch.expect("good records");
                    let written = runtime.block_on(writer.write(&mut client, &batch, DirectWay::AskFirst));
                    assert_eq!(written.expect("stored").stored, events as u64);
                }
                started.elapsed()
            });
        });
    }
    group.finish();
    runtime.block_on(site.drop_database());
}

criterion_group!(benches, copy_encode, records_to_postgres);
criterion_main!(benches);
