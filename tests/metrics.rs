//! What Prometheus finds on the operator's listener: contract 6.

use std::collections::HashSet;
use std::io::Read;

use rollbook::ops::metrics::catalogue;

use crate::harness::{Form, Service, Site, eventually, played};

/// Samples of a service that nothing has happened to yet. A partition's come with the partition.
const FROM_THE_START: [&str; 45] = [
    "rollbook_intake_requests_total{status=\"200\",code=\"ok\"}",
    "rollbook_intake_requests_total{status=\"429\",code=\"rate_limited\"}",
    "rollbook_intake_request_seconds_count",
    "rollbook_intake_events_total{organization=\"_other\",verdict=\"accepted\"}",
    "rollbook_intake_events_total{organization=\"_other\",verdict=\"duplicate\"}",
    "rollbook_intake_events_total{organization=\"_other\",verdict=\"rejected\"}",
    "rollbook_intake_events_total{organization=\"_other\",verdict=\"retry\"}",
    "rollbook_intake_rejections_total{code=\"missing_field\"}",
    "rollbook_intake_body_bytes_count{form=\"wire\"}",
    "rollbook_intake_body_bytes_count{form=\"unpacked\"}",
    "rollbook_log_publish_seconds_count",
    "rollbook_log_publish_total{outcome=\"acked\"}",
    "rollbook_log_publish_total{outcome=\"failed\"}",
    "rollbook_log_publish_total{outcome=\"timed_out\"}",
    "rollbook_log_queue_bytes",
    "rollbook_loader_events_total{organization=\"_other\",fate=\"stored\"}",
    "rollbook_loader_events_total{organization=\"_other\",fate=\"duplicate\"}",
    "rollbook_loader_events_total{organization=\"_other\",fate=\"dead\"}",
    "rollbook_loader_events_total{organization=\"_other\",fate=\"held\"}",
    "rollbook_loader_events_total{organization=\"_other\",fate=\"unattributed\"}",
    "rollbook_loader_unreadable_records_total",
    "rollbook_loader_batch_rows_count",
    "rollbook_loader_batch_seconds_count",
    "rollbook_loader_rewinds_total",
    "rollbook_loader_lag_records{partition=\"0\"}",
    "rollbook_loader_lag_seconds{partition=\"0\"}",
    "rollbook_loader_lanes{state=\"live\"}",
    "rollbook_loader_lanes{state=\"held\"}",
    "rollbook_loader_partitions{state=\"running\"}",
    "rollbook_loader_partitions{state=\"stopped\"}",
    "rollbook_report_lag_seconds",
    "rollbook_report_run_seconds_count",
    "rollbook_report_run_seconds_sum",
    "rollbook_report_events_total",
    "rollbook_snapshot_age_seconds",
    "rollbook_freshness_seconds_bucket{le=\"1\"}",
    "rollbook_freshness_seconds_sum",
    "rollbook_freshness_seconds_count",
    "rollbook_db_connections{state=\"idle\"}",
    "rollbook_db_connections{state=\"busy\"}",
    "rollbook_ready{role=\"intake\"}",
    "rollbook_ready{role=\"loader\"}",
    "rollbook_ready{role=\"reporter\"}",
    "rollbook_stderr_lines_lost_total",
    concat!("rollbook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
];

/// Those that this service has none of: codes of Postgres that nobody has met, and what an embedded log takes.
const NOT_YET: [&str; 4] = [
    catalogue::LOADER_UNKNOWN_ERRORS,
    catalogue::LOG_BYTES,
    catalogue::LOG_UNLOADED_BYTES,
    catalogue::LOG_LIMIT_BYTES,
];

#[tokio::test]
async fn every_metric_is_there_before_anything_happened() {
    let site = Site::set_up().await;
    let service = Service::ready(site.serve("")).await;
    let samples = async || {
        let reply = service.admin.get("/metrics").await;
        let text = std::str::from_utf8(&reply.body).expect("metrics are text");
        text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<HashSet<_>>()
    };
    eventually("the loader has a partition", async || {
        samples().await.contains("rollbook_loader_lag_seconds{partition=\"0\"}")
    })
    .await;
    let samples = samples().await;
    let missing: Vec<_> = FROM_THE_START.iter().filter(|sample| !samples.contains(**sample)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let has_none = |name: &&str| !samples.iter().any(|sample| sample.starts_with(*name));
    let missing: Vec<_> = catalogue::CATALOGUE.iter().map(|metric| metric.name).filter(has_none).collect();
    assert!(missing.iter().all(|name| NOT_YET.contains(name)), "{missing:#?}");
    service.stop().await;
}

#[tokio::test]
async fn an_organizations_fates_are_all_there_with_its_first_record() {
    let site = Site::set_up().await;
    let acme = site.organization("acme").await;
    let service = Service::ready(site.serve("")).await;
    service.post(&acme, Form::Json, &played(1)).await.accepts(1);
    site.loaded("acme", 1).await;
    let text = String::from_utf8(service.admin.get("/metrics").await.body.to_vec()).expect("text");
    for fate in ["stored", "duplicate", "dead", "held", "unattributed"] {
        let sample = format!("rollbook_loader_events_total{{organization=\"acme\",fate=\"{fate}\"}} ");
        assert!(text.contains(&sample), "{sample} in {text}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_scraper_gets_the_form_that_it_asks_for() {
    let site = Site::set_up().await;
    let service = Service::start(site.serve("--role intake")).await;
    let asked = async |headers: &[(&str, &str)]| service.admin.send("GET", "/metrics", headers, "").await;
    let plain = asked(&[]).await;
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(plain.headers.get("content-encoding").is_none());
    let prometheus = [
        ("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"),
        ("accept-encoding", "gzip"),
    ];
    let packed = asked(&prometheus).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).expect("gzip");
    assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"), "{text}");
    assert!(
        text.contains("# TYPE rollbook_intake_requests counter\nrollbook_intake_requests_total{"),
        "{text}"
    );
    service.stop().await;
}
