//! Every metric: its name, what it counts, and in which unit.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// One metric as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of thing it is.
    pub kind: Kind,
    /// What one of it is.
    pub unit: Unit,
    /// What it says, with its labels.
    pub help: &'static str,
}

/// What kind of thing a metric is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size; these are the upper bounds.
    Histogram(&'static [f64]),
}

impl Metric {
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram(_) => describe_histogram!(self.name, self.unit, self.help),
        }
    }
}

/// How long something took that a client or a connection waits for.
const LATENCY_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How long something took that may wait for a schema to come back.
const FRESHNESS_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0];
const BODY_BYTES: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 131_072.0, 262_144.0, 524_288.0, 1_048_576.0, 2_097_152.0];
const BATCH_ROWS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0];

/// Replies of `/v1/events` and of everything that is no route; labels `status`, `code`.
pub const INTAKE_REQUESTS: &str = "rollbook_intake_requests_total";
/// From a request's headers to its reply.
pub const INTAKE_REQUEST_SECONDS: &str = "rollbook_intake_request_seconds";
/// Verdicts; labels `organization`, `verdict`.
pub const INTAKE_EVENTS: &str = "rollbook_intake_events_total";
/// Refused events; label `code`.
pub const INTAKE_REJECTIONS: &str = "rollbook_intake_rejections_total";
/// Bodies; label `form`: `wire`, `unpacked`.
pub const INTAKE_BODY_BYTES: &str = "rollbook_intake_body_bytes";
/// From handing a record over to its acknowledgement or failure.
pub const LOG_PUBLISH_SECONDS: &str = "rollbook_log_publish_seconds";
/// Records handed over; label `outcome`: `acked`, `failed`, `timed_out`.
pub const LOG_PUBLISH: &str = "rollbook_log_publish_total";
/// Records waiting for their acknowledgement.
pub const LOG_QUEUE_BYTES: &str = "rollbook_log_queue_bytes";
/// What the embedded log takes on disk.
pub const LOG_BYTES: &str = "rollbook_log_bytes";
/// What of it cannot go to make room.
pub const LOG_UNLOADED_BYTES: &str = "rollbook_log_unloaded_bytes";
/// What the embedded log may take on disk.
pub const LOG_LIMIT_BYTES: &str = "rollbook_log_limit_bytes";
/// Fates; labels `organization`, `fate`: `stored`, `duplicate`, `dead`, `held`, `unattributed`.
pub const LOADER_EVENTS: &str = "rollbook_loader_events_total";
/// Records that could not be read.
pub const LOADER_UNREADABLE_RECORDS: &str = "rollbook_loader_unreadable_records_total";
/// Database errors that no scope is known for; label `sqlstate`. The one metric without samples from the start: which codes
/// there will be is what nobody knows.
pub const LOADER_UNKNOWN_ERRORS: &str = "rollbook_loader_unknown_errors_total";
/// Rows of one flush.
pub const LOADER_BATCH_ROWS: &str = "rollbook_loader_batch_rows";
/// One flush, from its begin to its commit.
pub const LOADER_BATCH_SECONDS: &str = "rollbook_loader_batch_seconds";
/// Records behind the log's end; label `partition`.
pub const LOADER_LAG_RECORDS: &str = "rollbook_loader_lag_records";
/// Age of the oldest record that is not yet safe; label `partition`.
pub const LOADER_LAG_SECONDS: &str = "rollbook_loader_lag_seconds";
/// Lanes; label `state`: `live`, `held`.
pub const LOADER_LANES: &str = "rollbook_loader_lanes";
/// Assigned partitions; label `state`: `running`, `stopped`.
pub const LOADER_PARTITIONS: &str = "rollbook_loader_partitions";
/// Partitions, or schemas, where Postgres had forgotten what it once confirmed: the log brings it again.
pub const LOADER_REWINDS: &str = "rollbook_loader_rewinds_total";
/// Age of the oldest organization's reports where something waits to be taken in; 0: nothing does.
pub const REPORT_LAG_SECONDS: &str = "rollbook_report_lag_seconds";
/// An organization's turn that took something in.
pub const REPORT_RUN_SECONDS: &str = "rollbook_report_run_seconds";
/// Events that were taken into reports.
pub const REPORT_EVENTS: &str = "rollbook_report_events_total";
/// Age of the snapshot of organizations.
pub const SNAPSHOT_AGE_SECONDS: &str = "rollbook_snapshot_age_seconds";
/// From an event's receipt to its commit.
pub const FRESHNESS: &str = "rollbook_freshness_seconds";
/// Connections to Postgres; label `state`: `idle`, `busy`.
pub const DB_CONNECTIONS: &str = "rollbook_db_connections";
/// Lines of the process's own log that could not be written.
pub const STDERR_LINES_LOST: &str = "rollbook_stderr_lines_lost_total";
/// Whether a role would take work now; label `role`: `intake`, `loader`, `reporter`.
pub const READY: &str = "rollbook_ready";
/// Always 1; label `version`.
pub const BUILD_INFO: &str = "rollbook_build_info";

/// All of them.
#[rustfmt::skip] // One metric a line: it is read as a table.
pub const CATALOGUE: [Metric; 30] = [
    counter(INTAKE_REQUESTS, "Replies of intake, by status and by the problem's code (`ok` and `preflight` where there is none)."),
    histogram(INTAKE_REQUEST_SECONDS, LATENCY_SECONDS, Unit::Seconds, "From a request's headers to its reply."),
    counter(INTAKE_EVENTS, "Verdicts on events, by organization (the first 100 since the start, then `_other`)."),
    counter(INTAKE_REJECTIONS, "Events refused for good, by code."),
    histogram(INTAKE_BODY_BYTES, BODY_BYTES, Unit::Bytes, "Bodies as they arrived (`wire`) and unpacked."),
    histogram(LOG_PUBLISH_SECONDS, LATENCY_SECONDS, Unit::Seconds, "From handing a record to the log to its acknowledgement or failure."),
    counter(LOG_PUBLISH, "Records handed to the log, by outcome."),
    gauge(LOG_QUEUE_BYTES, Unit::Bytes, "Records that wait for the log's acknowledgement."),
    gauge(LOG_BYTES, Unit::Bytes, "What the embedded log takes on disk."),
    gauge(LOG_UNLOADED_BYTES, Unit::Bytes, "What the embedded log keeps because it is not loaded, in whole segments."),
    gauge(LOG_LIMIT_BYTES, Unit::Bytes, "What the embedded log may take on disk, before batches are answered 503."),
    counter(LOADER_EVENTS, "Fates of events, by organization (the first 100 since the start, then `_other`)."),
    counter(LOADER_UNREADABLE_RECORDS, "Records that cannot be decoded, or that name an organization nobody ever had."),
    counter(LOADER_UNKNOWN_ERRORS, "Database errors that we do not know, by SQLSTATE; each held its organization's records."),
    histogram(LOADER_BATCH_ROWS, BATCH_ROWS, Unit::Count, "Rows of one flush."),
    histogram(LOADER_BATCH_SECONDS, LATENCY_SECONDS, Unit::Seconds, "One flush, from its begin to its commit."),
    gauge(LOADER_LAG_RECORDS, Unit::Count, "Records between what is safe and the log's end, by partition."),
    gauge(LOADER_LAG_SECONDS, Unit::Seconds, "Age of the oldest record that is not yet safe, by partition."),
    gauge(LOADER_LANES, Unit::Count, "Lanes, one per organization and partition, by state."),
    gauge(LOADER_PARTITIONS, Unit::Count, "Partitions assigned to this process, by state; a stopped one needs a person."),
    counter(LOADER_REWINDS, "Partitions and schemas found to have less than Postgres once confirmed."),
    gauge(REPORT_LAG_SECONDS, Unit::Seconds, "Age of the oldest organization's reports where something waits to be taken in; 0 when nothing does."),
    histogram(REPORT_RUN_SECONDS, LATENCY_SECONDS, Unit::Seconds, "An organization's turn of the reporter that took something in."),
    counter(REPORT_EVENTS, "Events that were taken into reports."),
    gauge(SNAPSHOT_AGE_SECONDS, Unit::Seconds, "Age of the snapshot of organizations; grows while Postgres is away."),
    histogram(FRESHNESS, FRESHNESS_SECONDS, Unit::Seconds, "From an event's receipt to being visible in its schema."),
    gauge(DB_CONNECTIONS, Unit::Count, "Connections to Postgres, by state."),
    counter(STDERR_LINES_LOST, "Lines of the process's own log that its reader did not take: gone, or too slow."),
    gauge(READY, Unit::Count, "1 where this role would take work now, as `/readyz` says it; 0 where it would not, and why stands there."),
    gauge(BUILD_INFO, Unit::Count, "Always 1, with the version of this build."),
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help }
}

const fn histogram(name: &'static str, buckets: &'static [f64], unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), unit, help }
}
