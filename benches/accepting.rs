//! The accepting path without HTTP and log: from a body's bytes to sealed records.
//!
//! What `intake` does with a request, on one thread: headers and key, unpacking, cutting, every rule, the record. Beside it,
//! in turn with it and over the same bytes, the least that reading them could take: `serde_json` reading JSON into nothing, prost's
//! generated code reading a protobuf body; packed bodies are unpacked first there too. Both in CPU time of the thread, so
//! that other work on the machine does not count. A bench that timed refusals would end with an error: every event must be in a
//! record.

mod batches;
mod report;

use std::hint::black_box;
use std::io::Read as _;
use std::time::{Duration, Instant};

use batches::{Batch, Case, Form, Packing};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use prost::Message as _;
use report::{Section, median};
use rollbook::event::{UnixMillis, proto};
use rollbook::intake::direct;
use rollbook::log::record::RecordView;
use rollbook::tenant::{Directory, Organization, OrganizationId, Snapshot, State, WriteKey};
use rustix::time::{ClockId, clock_gettime};
use serde::de::IgnoredAny;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
/// What one side of a round takes: long against the clock's grain, short against what changes on a machine.
const ROUND: Duration = Duration::from_millis(60);
/// As intake's default.
const MAX_UNPACKED_BYTES: usize = 2 * 1024 * 1024;
/// What a connection reads at once at most: NDJSON arrives in such pieces.
const PIECE_BYTES: usize = 32 * 1024;

fn main() {
    let mut section = Section::default();
    section.line("## From bytes to a sealed record (`benches/accepting.rs`)\n");
    section.line("One thread, in CPU time. The limit reads the same bytes (unpacked, where they are packed) into nothing: `serde_json`");
    section.line("for JSON; for protobuf the generated reader, which builds its messages. `read` is the record on its way to the loader.\n");
    section.head(&[
        "form / events / encoding",
        "bytes an event",
        "ns an event",
        "limit",
        "times the limit",
        "read",
    ]);
    for case in Case::all().filter(Case::is_asked_for) {
        let door = Door::new(&case);
        let batch = case.batch();
        let record = door.accept(&case, &batch);
        let (mut ours, mut limits, mut ratios, mut reads) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let per_event = |work: &mut dyn FnMut()| cpu_ns(work) / case.events as f64;
            let own = per_event(&mut || drop(door.accept(&case, &batch)));
            let limit = per_event(&mut || read_into_nothing(&case, &batch));
            ours.push(own);
            limits.push(limit);
            ratios.push(own / limit);
            reads.push(per_event(&mut || read_record(&record)));
        }
        section.row(&[
            case.name(),
            (batch.plain.len() / case.events).to_string(),
            format!("{:.0}", median(ours)),
            format!("{:.0}", median(limits)),
            format!("{:.2}", median(ratios)),
            format!("{:.0}", median(reads)),
        ]);
    }
    section.line("");
    section.leave_as("1-accepting");
}

/// CPU nanoseconds of this thread that one call takes, over as many as fill a round.
fn cpu_ns(work: &mut dyn FnMut()) -> f64 {
    let cpu = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
    };
    let (started, before, mut calls) = (Instant::now(), cpu(), 0_u32);
    while started.elapsed() < ROUND {
        work();
        calls += 1;
    }
    (cpu() - before) / f64::from(calls)
}

/// One organization, and the headers of those who write for it.
struct Door {
    directory: Directory,
    headers: HeaderMap,
}

impl Door {
    fn new(case: &Case) -> Self {
        let key = WriteKey::generate().expect("randomness");
        let acme = Organization {
            id: OrganizationId(Uuid::now_v7()),
            slug: "acme".parse().expect("a slug"),
            schema_name: "org_acme".to_owned(),
            state: State::Active,
            schema_version: 1,
            completion: rollbook::tenant::Completion::default(),
            rate_limit: None,
            origins: Vec::new(),
        };
        let keys = [(key.digest(), acme.id)];
        let directory = Directory::default();
        directory.replace(Snapshot::new([acme], keys, Instant::now()));
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", key.reveal());
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).expect("a key is ASCII"));
        headers.insert("organization", HeaderValue::from_static("acme"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(case.content_type()));
        if case.packing == Packing::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Self { directory, headers }
    }

    /// What intake does, and the one record that came of it.
    fn accept(&self, case: &Case, batch: &Batch) -> Vec<u8> {
        // As hyper hands it over: bytes that are nobody else's.
        let wire = Bytes::copy_from_slice(black_box(&batch.wire));
        let now = UnixMillis::now();
        let records =
            direct::records(&self.directory, &self.headers, wire, MAX_UNPACKED_BYTES, PIECE_BYTES, now);
        let [record] = <[_; 1]>::try_from(records.expect("a batch that is taken")).expect("one record");
        assert_eq!(record.events.len(), case.events);
        record.bytes
    }
}

/// Reads a batch and keeps nothing.
fn read_into_nothing(case: &Case, batch: &Batch) {
    let unpacked;
    let plain = match case.packing {
        Packing::Plain => &batch.plain,
        Packing::Gzip => {
            let mut buffer = Vec::with_capacity(batch.plain.len());
            flate2::bufread::GzDecoder::new(black_box(&batch.wire[..]))
                .read_to_end(&mut buffer)
                .expect("in memory");
            unpacked = buffer;
            &unpacked
        }
    };
    let plain = black_box(&plain[..]);
    match case.form {
        Form::Json | Form::Ndjson => {
            let values = serde_json::Deserializer::from_slice(plain).into_iter::<IgnoredAny>();
            let read = values.filter(|value| value.is_ok()).count();
            assert_eq!(read, if case.form == Form::Json { 1 } else { case.events });
        }
        Form::Protobuf => {
            let request = proto::IngestRequest::decode(plain).expect("our own");
            assert_eq!(request.events.len(), case.events);
        }
    }
}

/// Reads a record back as the loader does.
fn read_record(bytes: &[u8]) {
    let view = RecordView::parse(black_box(bytes)).expect("a record of ours");
    for event in view.events() {
        black_box(event.expect("a record of ours"));
    }
}
